"""What counting instructions needs of the machine and of torch."""

from __future__ import annotations

import shutil

import torch


class InstructionsError(RuntimeError):
    """Instructions cannot be counted here; the message is one line and says why."""


def require(device: str) -> None:
    """Raise `InstructionsError` where instructions cannot be counted."""
    if device != "cpu":
        raise InstructionsError(f"--instructions counts on the CPU, not on {device}")
    for program, package in (("valgrind", "valgrind"), ("setarch", "util-linux")):
        if not shutil.which(program):
            raise InstructionsError(
                f"--instructions needs {program}, which is not here: apt-get install {package}"
            )
    supported = getattr(torch._C, "_valgrind_supported_platform", None)
    if supported is None or not supported():
        raise InstructionsError(
            f"torch {torch.__version__} is built without callgrind's toggles here:"
            " --instructions cannot be asked of it"
        )
