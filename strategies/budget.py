"""From a budget in bytes to the number of directions at once, tried before any value is known.

NOTE [how the number is found]
The peak grows with the number of directions, for a while not at all and then in proportion: at most
twofold where the number doubles. So numbers are doubled from one on while they fit; past half the
budget a line through the last two says how far to go, and where that was too far the interval is
halved. A try is stopped at the operation that passes the budget. The answer is within a sixteenth
of the largest number that fits, and its own peak is the measured one, not the line's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

from torch import Tensor

from .memory import (
    bytes_of,
    collector_off,
    estimated_peak,
    peak_bytes,
    peak_within,
    readable,
)
from .operators import SECOND_ORDER, Operator, result_shape
from .registry import Options, Strategy, Unsupported
from .request import Setting
from .shapes import Run
from .sweeps import first_chunks, writes_in_place

# A plan's run with these options.
Build = Callable[[Options], Run]
# Of an evaluation with so many directions at once; None of one that was stopped at the budget.
Peak = Callable[[int], int | None]

# The interval that is left open, as a part of the number.
_FINENESS = 16
# In the second chunk the result is there beside what a chunk takes; the third shows that it stays.
_CHUNKS = 3
# Each is recorded anew.
_RECORDINGS = 4
_LESS = "a smaller batch takes less"
_KEPT = {"cuda-graph": "a captured graph keeps its memory; execution='eager' frees it"}


@dataclass(frozen=True)
class Fit:
    """How many directions at once a budget allows, of how many, and what an evaluation takes."""

    directions: int
    count: int
    peak_bytes: int
    budget_bytes: int

    def __str__(self) -> str:
        peak, budget = readable(self.peak_bytes), readable(self.budget_bytes)
        return (
            f"{self.directions} of {self.count} directions at once take {peak}"
            f" of the budget of {budget}"
        )


def fitted(setting: Setting, strategy: Strategy, build: Build) -> tuple[Run, Fit]:
    """The run that stays within the budget `options.chunk`, and how; refuses where none does."""
    options, budget = setting.options, bytes_of(str(setting.options.chunk))
    if options.execution in _KEPT:
        raise Unsupported(f"chunk={options.chunk!r}: {_KEPT[options.execution]}")
    if (size := _result_bytes(setting)) > budget:
        raise Unsupported(
            f"the {setting.operator} alone takes {readable(size)}, the budget is"
            f" {readable(budget)}; {_LESS}"
        )
    count = setting.m if strategy.mode == "reverse" else setting.n
    eager = replace(setting, options=replace(options, execution="eager"))
    with collector_off():
        found = _found(eager, build, count, budget)
        if options.execution != "eager":
            return _recorded(setting, found, build)
    return build(replace(eager.options, chunk=found.directions)), found


def _found(setting: Setting, build: Build, count: int, budget: int) -> Fit:
    peak, graph = _peaks(setting, build, budget), setting.options.create_graph
    # A graph is kept of every chunk, and the fewer there are, the less is kept twice.
    if graph and _within(whole := peak(count), budget):
        return Fit(count, count, whole, budget)
    if _within(alone := peak(1), budget):
        return _largest(peak, alone, count, budget)
    what, size = "one direction at a time", alone
    if graph:
        what, size = "the graph of all directions, which create_graph=True keeps,", whole
    figure = f"takes {readable(size)}" if size else _unfinished(setting, build, count, budget)
    raise Unsupported(f"{what} {figure}, the budget is {readable(budget)}; {_LESS}")


def _within(peak: int | None, budget: int) -> TypeGuard[int]:
    return peak is not None and peak <= budget


def _unfinished(setting: Setting, build: Build, count: int, budget: int) -> str:
    """What an evaluation that was stopped would have taken, as far as shapes tell."""
    directions = count if setting.options.create_graph else 1
    run = build(replace(setting.options, chunk=directions))
    with first_chunks(_CHUNKS):
        size = estimated_peak(run, _examples(setting))
    if size is None or size <= budget:
        return f"takes more than {readable(budget)}"
    return f"takes about {readable(size)}"


def _result_bytes(setting: Setting) -> int:
    """Of what a call returns; with values of all orders."""
    B, inside, out = len(setting.x), setting.in_shape, setting.out_shape
    operators = [setting.operator]
    if setting.options.values:
        operators += [Operator.JVP, *([setting.below] if setting.operator in SECOND_ORDER else [])]
    numbers = sum(prod(result_shape(each, B, inside, out)) for each in operators)
    return numbers * setting.x.element_size()


def _examples(setting: Setting) -> tuple[Tensor, ...]:
    """The example inputs, with all the graph that a caller's may have."""
    graph = setting.options.create_graph
    return tuple(t.detach().requires_grad_(graph and t.is_floating_point()) for t in setting.inputs)


def _peaks(setting: Setting, build: Build, budget: int) -> Peak:
    """The peak of an evaluation by its number of directions at once."""
    inputs, device, options = _examples(setting), setting.x.device, setting.options

    def measured(directions: int, chunks: int | None) -> int | None:
        run = build(replace(options, chunk=directions))
        with first_chunks(chunks) if chunks else nullcontext():
            return peak_within(lambda: run(*inputs), device, budget)

    short = writes_in_place(options) and measured(1, _CHUNKS - 1) == measured(1, _CHUNKS)
    return lambda directions: measured(directions, _CHUNKS if short else None)


def _largest(peak: Peak, alone: int, count: int, budget: int) -> Fit:
    """The largest number within the budget, see NOTE [how the number is found].

    alone: the peak of one direction at a time.
    """
    fits, too_many = [(1, alone)], count + 1
    while ahead := _next(fits, too_many, count, budget):
        found = peak(ahead)
        if _within(found, budget):
            fits.append((ahead, found))
        else:
            too_many = ahead
    return Fit(fits[-1][0], count, fits[-1][1], budget)


def _next(fits: list[tuple[int, int]], too_many: int, count: int, budget: int) -> int:
    """The number to try after those that fitted, with their peaks; 0 where it is near enough."""
    *before, (last, taken) = fits
    step = last // _FINENESS + 1
    if too_many <= count:
        return (last + too_many) // 2 if too_many > last + step else 0
    if last == count:
        return 0
    ahead = min(2 * last, count)
    if not before or 2 * taken <= budget:
        return ahead
    slope = max(1, taken - before[-1][1]) / (last - before[-1][0])
    # Where the line leaves no room, the next one is tried all the same: steps are not even.
    line = last + max(step, int((budget - taken) / slope))
    return min(ahead, count if line + step >= count else line)


def _recorded(setting: Setting, eager: Fit, build: Build) -> tuple[Run, Fit]:
    """The run of an execution that records the evaluation, with fewer directions where the graph
    keeps more alive; all chunks of it are measured."""
    inputs, budget, directions = _examples(setting), eager.budget_bytes, eager.directions
    for _ in range(_RECORDINGS):
        run = build(replace(setting.options, chunk=directions))
        peak = peak_bytes(lambda run=run: run(*inputs), setting.x.device)  # type: ignore[misc]
        if peak <= budget:
            return run, replace(eager, directions=directions, peak_bytes=peak)
        tried, directions = directions, min(directions - 1, directions * budget // peak)
        if directions < 1:
            break
    raise Unsupported(
        f"{setting.options.execution} with {tried} of {eager.count} directions at once takes"
        f" {readable(peak)}, the budget is {readable(budget)}; with execution='eager' {eager}"
    )
