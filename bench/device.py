"""The device that computes: how to wait for it, and what its own clock says.

NOTE [the queue ahead]
A GPU runs behind the host. Wall time is honest only with a wait inside the timed call; the device's
own time is honest only while the queue is ahead of it, since an event that finds the device idle
counts the host's delay too. So the device is first kept busy, all calls and their events are queued
behind that, and only then anyone waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from .gpu import clocks, gpu

# Longer than it takes to queue a round of small calls; in cycles, about 10 ms at 2 GHz.
HOLD_CYCLES = 20_000_000
# Above the second-level cache of any device there is.
FLUSH_BYTES = 256 * 2**20


class Event(Protocol):
    """A mark in the device's queue."""

    def record(self) -> None:
        """Queue the mark."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds of the device between this mark and a later one."""


@dataclass(frozen=True)
class Device:
    """What a clock needs of a device; `event` and the rest are None where it has no queue.

    clocks: how fast it runs at this moment, hertz by name; empty where that is not known.
    """

    synchronize: Callable[[], None]
    event: Callable[[], Event] | None = None
    hold: Callable[[], object] | None = None
    flush: Callable[[], object] | None = None
    clocks: Callable[[], Mapping[str, int]] = dict


def _nothing() -> None:
    """The host computes while one waits for it."""


def cuda() -> Device:
    """The current CUDA device."""
    scratch = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    return Device(
        torch.cuda.synchronize,
        lambda: torch.cuda.Event(enable_timing=True),
        lambda: torch.cuda._sleep(HOLD_CYCLES),
        scratch.zero_,
        lambda: clocks(gpu()),
    )


def cpu() -> Device:
    """The host itself."""
    return Device(_nothing)


DEVICES: dict[str, Callable[[], Device]] = {"cpu": cpu, "cuda": functools.cache(cuda)}


def device_seconds(
    call: Callable[[], object], device: Device, calls: int, *, cold: bool = False
) -> list[float]:
    """Seconds of the device for each of so many calls, queued ahead of it; none where it has no
    queue. cold: the second-level cache is flushed before each call, outside of its time."""
    if device.event is None or device.hold is None:
        return []
    device.synchronize()
    device.hold()
    marks = []
    for _ in range(calls):
        if cold and device.flush is not None:
            device.flush()
        start, end = device.event(), device.event()
        start.record()
        call()
        end.record()
        marks.append((start, end))
    device.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in marks]


def waiting(call: Callable[[], object], device: Device) -> Callable[[], None]:
    """The call, and the wait for what it queued: a kernel still running was not measured."""

    def timed() -> None:
        # The result is dropped here, inside the round, as a user's loop would drop it.
        call()
        device.synchronize()

    return timed
