"""What a measurement ran on: machine, system, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

ROOT = Path(__file__).resolve().parent.parent


def cpu_model() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def environment(device: str, threads: int, pinned: list[int]) -> dict[str, Any]:
    """The fields of the run line that tell one machine from another; bytes and counts."""
    gpu = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": gpu.name if gpu else None,
        "gpu_memory_bytes": gpu.total_memory if gpu else None,
        "driver": _driver() if gpu else None,
        "cuda": torch.version.cuda,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_git": torch.version.git_version,
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "threads": threads,
        "pinned": pinned,
    }


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return _output(query)


def commit() -> tuple[str | None, bool]:
    """The checked-out commit of this suite and whether files differ from it."""
    revision = _output(["git", "-C", str(ROOT), "rev-parse", "HEAD"])
    status = _output(["git", "-C", str(ROOT), "status", "--porcelain"])
    return revision, bool(status)


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def core_to_pin() -> list[int]:
    """The last core this process may use: the first one serves the system's own work."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return [max(os.sched_getaffinity(0))]


def surroundings() -> dict[str, Any]:
    """The global state that no case may change, by name."""
    return {
        "forward-AD level": torch.autograd.forward_ad._current_level,
        "transform level": torch._C._functorch.maybe_current_level(),
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "RNG": torch.get_rng_state().numpy().tobytes(),
    }


def changed_since(before: dict[str, Any]) -> str:
    """The names of what is no longer as it was, or an empty text."""
    now = surroundings()
    return ", ".join(name for name, value in before.items() if now[name] != value)
