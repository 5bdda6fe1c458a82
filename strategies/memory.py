"""How much memory one evaluation takes: sizes as text, what the allocator gave out, a limit.

NOTE [what is counted]
Bytes that torch's allocator holds at once during a call, above those that it held before. On CPU
they come from the events that torch's profiler keeps of every allocation, the scratch memory of
kernels included, which no operation returns; on CUDA from the allocator's own statistics. Not seen
on CPU: what libraries (oneDNN, MKL) and other threads take from the system by themselves.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import ProfilerConfig, ProfilerState
from torch.utils._python_dispatch import TorchDispatchMode

from .counting import zeros_known
from .registry import Unsupported
from .storages import Storages, strided

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

Call = Callable[[], object]


def bytes_of(budget: str) -> int:
    """A number of bytes as text, `8 GiB` or `500MB`; `Options` has checked its form."""
    found = re.fullmatch(r"\s*([\d.]+)\s*(\w+)\s*", budget)
    assert found
    return int(float(found[1]) * _UNITS[found[2]])


def readable(size: int) -> str:
    """The bytes in the unit in which people give them: `3.2 GiB`."""
    unit = next((u for u in ("GiB", "MiB", "KiB") if size >= _UNITS[u]), "B")
    return f"{size / _UNITS[unit]:.4g} {unit}"


def peak_bytes(call: Call, device: torch.device) -> int:
    """Bytes allocated at once during a call, its result included, above those from before it."""
    if device.type not in _PEAKS:
        raise Unsupported(
            f"a memory budget is kept on {' and '.join(_PEAKS)}, not on {device.type};"
            " give a number of directions"
        )
    return _PEAKS[device.type](call)


def peak_within(call: Call, device: torch.device, limit: int) -> int | None:
    """As `peak_bytes`; None where the call was stopped at the operation that passed the limit."""

    def watched() -> object:
        with _Alive(limit):
            return call()

    try:
        return peak_bytes(watched, device)
    except _OverLimit:
        return None


def estimated_peak(run: Callable[..., object], inputs: tuple[Tensor, ...]) -> int | None:
    """About what a call takes, from shapes alone: nothing is allocated, nothing computed.

    None where f cannot go without values.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with fake, _Alive(None) as alive:
            run(*map(fake.from_tensor, inputs))
    except Exception:  # a branch on values, an operation without a rule for shapes, …
        return None
    return alive.storages.peak_bytes


def _cpu_peak(call: Call) -> int:
    if torch.autograd._profiler_enabled():
        raise Unsupported(
            "a memory budget is measured by torch's profiler, which is on already; prepare before"
        )
    # The profiler without kineto: it prints nothing, and other threads go on unrecorded.
    experimental = torch._C._profiler._ExperimentalConfig()
    config = ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, experimental)
    torch.autograd._enable_profiler_legacy(config)
    try:
        call()
    finally:
        threads = torch.autograd._disable_profiler_legacy()
    live = peak = 0
    for event in (event for thread in threads for event in thread):
        if event.kind() == "memory_alloc":
            live += event.cpu_memory_usage()
            peak = max(peak, live)
    return peak


def cuda_peak_bytes(call: Call) -> int:
    """Bytes that one call takes from the device's allocator above what lived before it; resets the
    allocator's own statistics of its peak."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


_PEAKS: dict[str, Callable[[Call], int]] = {"cpu": _cpu_peak, "cuda": cuda_peak_bytes}


class _OverLimit(Exception):
    """More bytes are alive than were allowed."""


class _Alive(TorchDispatchMode):
    """Follows the storages that operations returned; stops once they hold more than the limit."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self.storages = Storages()
        self._limit = limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with zeros_known():
            result = func(*args, **(kwargs or {}))
        # A stand-in for a view of a parameter has a storage of its own, and none there.
        if not func.is_view:
            self.storages.record(strided((args, kwargs)), strided(result))
            if self._limit is not None and self.storages.live_bytes > self._limit:
                raise _OverLimit
        return result


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage is freed meanwhile: neither what was there before nor what a cycle holds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
