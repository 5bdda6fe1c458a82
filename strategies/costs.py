"""What an evaluation should cost: its counters at the rates that this machine reaches.

The model is `ops · launch + FLOPs / rate of products + bytes moved / bandwidth`, with the bytes of
all storages that are allocated, written once and read once. It knows nothing of the layers of vmap
and forward mode, nor of caches: it tells the slow from the fast, not the fast from each other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from .counting import Counting
from .memory import collector_off, readable

Call = Callable[[], object]
_LAUNCHES, _SIZE, _NUMBERS = 200, 256, 2**21
_ROUNDS = 3


@dataclass(frozen=True)
class Rates:
    """What a device reaches: seconds an operation, FLOPs and bytes a second."""

    launch_s: float
    flops_s: float
    bytes_s: float

    def seconds(self, ops: int, flops: int, moved: int) -> float:
        """What so many operations, FLOPs and bytes take, one after the other."""
        return ops * self.launch_s + flops / self.flops_s + moved / self.bytes_s


def wait(device: torch.device) -> None:
    """Return when everything that was launched on the device is computed."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class TooDear(Exception):
    """A call was stopped where its counters had passed the limit of seconds."""


@functools.cache
def rates(device: torch.device, dtype: torch.dtype, threads: int) -> Rates:
    """The rates of a device for a dtype, measured once in some ten milliseconds: the least of three
    rounds of small operations, of a product of square matrices, and of a copy no cache holds."""
    one = torch.ones(1, device=device, dtype=dtype)
    square = torch.ones(_SIZE, _SIZE, device=device, dtype=dtype)
    source = torch.ones(_NUMBERS, device=device, dtype=dtype)
    target = torch.empty_like(source)

    def launches() -> None:
        for _ in range(_LAUNCHES):
            torch.neg(one)

    with torch.no_grad():
        each = [_least(c, device) for c in (launches, lambda: square @ square)]
        copied = _least(lambda: target.copy_(source), device)
    return Rates(each[0] / _LAUNCHES, 2 * _SIZE**3 / each[1], 2 * source.nbytes / copied)


def _least(call: Call, device: torch.device) -> float:
    call()
    seconds = []
    for _ in range(_ROUNDS):
        wait(device)
        begun = time.perf_counter()
        call()
        wait(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@dataclass(frozen=True)
class Limit:
    """Where a call is stopped: seconds that it should take, bytes that it holds at once."""

    seconds: float
    bytes: float

    def passed(self, seconds: float, held: int) -> str | None:
        """Which of them was passed, or None."""
        if seconds > self.seconds:
            return "should take many times as long as the cheapest"
        return f"takes more than {readable(int(self.bytes))} at once" if held > self.bytes else None


def free_bytes(device: torch.device) -> float:
    """Bytes that could be allocated on a device now; infinite where nobody says."""
    if device.type == "cpu":
        return float(psutil.virtual_memory().available)
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else float("inf")


def predicted_seconds(call: Call, known: Rates, limit: Limit) -> float:
    """What one call should cost by its counters; `TooDear`, with the reason, as soon as that or the
    storages alive pass the limit."""

    def seconds(counting: Counting) -> float:
        return known.seconds(counting.ops, counting.flops, 2 * counting.storages.total_bytes)

    def watch(counting: Counting) -> None:
        if reason := limit.passed(seconds(counting), counting.storages.live_bytes):
            raise TooDear(reason)

    with collector_off(), Counting(watch) as counting:
        try:
            call()
        except Exception as error:
            # Some of torch's formulas run in an interpreter that raises an error of its own.
            if reason := limit.passed(seconds(counting), counting.storages.live_bytes):
                raise TooDear(reason) from error
            raise
    return seconds(counting)
