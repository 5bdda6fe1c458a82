"""The cases that a command line asks for."""

from __future__ import annotations

import argparse

import torch

from strategies import load_installed, load_strategies

from .case import Case
from .grid import OWN, blocks, cases, choosers_in, user_blocks
from .workloads import load_workload


class NoDevice(RuntimeError):
    """The device that was asked for is not there."""


def require(device: str) -> None:
    """Raise `NoDevice` where the device is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NoDevice("no CUDA device here; try --device cpu")


def selected(given: argparse.Namespace, *, choosers: bool = False) -> list[Case]:
    """The cases that the command line asks for. choosers: with those of what chooses, where the
    grid has such."""
    require(given.device)
    load_installed()
    for path in given.strategies:
        load_strategies(path)
    mine = [load_workload(spec).name for spec in given.workload]
    chosen = user_blocks(mine, given.dtype) if mine else blocks(given.grid)
    return cases(
        chosen,
        device=given.device,
        threads=given.threads,
        only=given.only,
        choosers=choosers_in(grid(given)) if choosers else (),
    )


def grid(given: argparse.Namespace) -> str:
    """The name of the grid that the cases are of."""
    return OWN if given.workload else given.grid
