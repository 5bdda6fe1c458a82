"""The clock and how long to look at it: warm-up, sizing, both clocks, steal."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import psutil
import torch

from strategies.memory import collector_off

WARMUP_CALLS = 3
WARMUP_S = 0.2
SETTLED = 0.05
ROUND_S = 5e-3
ROUNDS = 10
LEAST_ROUNDS = 3
BUDGET_S = 0.5

# What `clock` read since the list was last cleared: (wall, CPU) seconds.
readings: list[tuple[float, float]] = []


def clock() -> float:
    """The wall clock for pytest-benchmark; remembers the process's CPU time beside it."""
    cpu, wall = time.process_time(), time.perf_counter()
    readings.append((wall, cpu))
    return wall


def cpu_seconds(iterations: int) -> list[float]:
    """CPU time a call of every round since `readings` was cleared (clock reads come in pairs)."""
    return _seconds(1, iterations)


def _seconds(which: int, iterations: int) -> list[float]:
    starts, ends = readings[0::2], readings[1::2]
    return [(e[which] - s[which]) / iterations for s, e in zip(starts, ends, strict=True)]


def steal_seconds() -> float:
    """CPU time that the hypervisor took from this machine, all cores together."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


@dataclass(frozen=True)
class Warmup:
    """What warming up showed: how many calls, and the seconds of the last one."""

    calls: int
    call_s: float


def warm_up(call: Callable[[], object]) -> Warmup:
    """Call until the last three agree, at least three times, for at most 0.2 s.

    Source of the rule: docs/method.md.
    """
    seconds: list[float] = []
    begun = time.perf_counter()
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        seconds.append(end - start)
        last = seconds[-WARMUP_CALLS:]
        settled = len(last) == WARMUP_CALLS and max(last) - min(last) <= SETTLED * min(last)
        if len(last) == WARMUP_CALLS and (settled or end - begun > WARMUP_S):
            return Warmup(len(seconds), min(last))


@dataclass(frozen=True)
class Sizing:
    """How a case is timed: so many rounds of so many calls."""

    rounds: int
    iterations: int


def size(call_s: float) -> Sizing:
    """Rounds of at least 5 ms; ten of them where half a second allows, at least three."""
    iterations = max(1, ceil(ROUND_S / max(call_s, 1e-9)))
    fit = int(BUDGET_S / max(iterations * call_s, 1e-9))
    return Sizing(min(ROUNDS, max(LEAST_ROUNDS, fit)), iterations)


def rounds(call: Callable[[], object], sizing: Sizing) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds a call of every round, by the clock of the cases and as they are timed:
    for what pytest-benchmark, which times once a test, is not to time."""
    readings.clear()
    for _ in range(sizing.rounds):
        clock()
        for _ in range(sizing.iterations):
            call()
        clock()
    return _seconds(0, sizing.iterations), cpu_seconds(sizing.iterations)


def set_threads(count: int) -> None:
    """Give torch so many threads where it has not got them from its environment already: under
    pytest alone it has as many as the machine has cores."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def slowed(call: Callable[[], object], ratio: float) -> Callable[[], None]:
    """The call, taking so many times as long: a slowdown that is known."""

    def timed() -> None:
        begun = time.perf_counter()
        call()
        end = time.perf_counter()
        while time.perf_counter() < end + (ratio - 1) * (end - begun):
            pass

    return timed


def freeze_old() -> None:
    """Keep what is there between two cases out of every later collection: torch's modules, some of
    which it imports when first asked for a derivative, take 0.1 s each."""
    gc.collect()
    gc.freeze()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while something is being timed."""
    gc.collect()
    with collector_off():
        yield
