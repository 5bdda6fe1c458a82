"""What NVIDIA's management library says of the device: how fast it runs now, and may at most.

The library is optional (`pip install '.[gpu]'`). Without it, or where the driver refuses (inside a
slice of a GPU, in some containers), nothing is said; a measurement never fails for it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

# Between two looks a GPU that is not throttled moves by a step or two of 15 MHz.
STEADY = 0.05


@dataclass(frozen=True)
class Gpu:
    """The library, and the device as it knows it."""

    library: Any
    handle: Any


@cache
def gpu() -> Gpu | None:
    """torch's current CUDA device; None where the library is not there or does not know it."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
        # By its own name: CUDA_VISIBLE_DEVICES renumbers torch's devices and not the library's.
        uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
        return Gpu(library, library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except library.NVMLError:
        return None


def clocks(of: Gpu | None) -> dict[str, int]:
    """`sm_hz` and `memory_hz` at this moment; empty where they cannot be known."""
    return _clocks(of, "nvmlDeviceGetClockInfo")


def limits(of: Gpu | None) -> dict[str, int]:
    """The highest `sm_hz` and `memory_hz`, and the power that is allowed, `power_w`."""
    found = _clocks(of, "nvmlDeviceGetMaxClockInfo")
    watts = _asked(of, lambda g: g.library.nvmlDeviceGetPowerManagementLimit(g.handle) // 1000)
    return found if watts is None else {**found, "power_w": watts}


def _clocks(of: Gpu | None, name: str) -> dict[str, int]:
    found = {}
    for clock, which in (("sm_hz", "NVML_CLOCK_SM"), ("memory_hz", "NVML_CLOCK_MEM")):
        megahertz = _asked(of, partial(_clock, name, which))
        if megahertz is not None:
            found[clock] = megahertz * 1_000_000
    return found


def _clock(name: str, which: str, of: Gpu) -> int:
    return int(getattr(of.library, name)(of.handle, getattr(of.library, which)))


def _asked(of: Gpu | None, look: Callable[[Gpu], int]) -> int | None:
    if of is None:
        return None
    try:
        return look(of)
    except of.library.NVMLError:
        return None


@contextmanager
def steady(look: Callable[[], Mapping[str, int]], row: dict[str, Any]) -> Iterator[None]:
    """Clocks before and after the body, as the row's `clocks`; a warning where one changed much.

    A device that heats up or idles between cases slows down, and its times with it.
    """
    before = look()
    yield
    after = look()
    row["clocks"] = {name: [hz, after[name]] for name, hz in before.items() if name in after}
    for name, (was, is_) in row["clocks"].items():
        if abs(is_ - was) > STEADY * was:
            said = f"{name.removesuffix('_hz')} clock went from {was / 1e6:.0f} to {is_ / 1e6:.0f}"
            warnings.warn(f"{said} MHz while this was timed", stacklevel=3)
