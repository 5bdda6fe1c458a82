"""What a measurement ran on: machine, system, versions, commit."""

from __future__ import annotations

import os
import pickle
import platform
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from . import gpu

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
    properties = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": properties.name if properties else None,
        "gpu_memory_bytes": properties.total_memory if properties else None,
        "driver": _driver() if properties else None,
        "cuda": torch.version.cuda,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_git": torch.version.git_version,
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "gpu_limits": gpu.limits(gpu.gpu()) if properties else {},
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


# The global state that no case may change, by name.
LOOKS: dict[str, Callable[[], Any]] = {
    "forward-AD level": lambda: torch.autograd.forward_ad._current_level,
    "transform level": torch._C._functorch.maybe_current_level,
    "dispatch modes": torch._C._len_torch_dispatch_stack,
    "default dtype": torch.get_default_dtype,
    "default device": torch.get_default_device,
    "threads": torch.get_num_threads,
    "grad mode": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "autocast": lambda: torch.is_autocast_enabled("cpu"),
    "anomaly mode": torch.is_anomaly_enabled,
    "matmul precision": torch.get_float32_matmul_precision,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "RNG": lambda: torch.get_rng_state().numpy().tobytes(),
    "Python's RNG": random.getstate,
    "NumPy's RNG": lambda: pickle.dumps(np.random.get_state()),  # noqa: NPY002, the global one
}


def surroundings() -> dict[str, Any]:
    """What every look at global state sees."""
    return {name: _seen(look) for name, look in LOOKS.items()}


def changed_since(before: dict[str, Any]) -> str:
    """The names of what is no longer as it was, or an empty text."""
    now = surroundings()
    return ", ".join(name for name, value in before.items() if now[name] != value)


def _seen(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Exception as error:
        # In a mode or a transform that was left behind even looking may fail.
        return f"cannot be read: {error}"
