"""Prints how far the fastest strategies are from torch's own, each figure beside its bar.

python docs/limits.py [--only PART …] [--seconds S] [--into docs/limits.md]

One run on one pinned thread: all that is compared in a row is called in turn, and medians of CPU
seconds are taken, so that whoever shares the machine stays out of them. Unless a bar names another
one, the peer is the faster of what `torch.func` has for the derivative (`vmap(hessian(f))`,
`vmap(jacrev(f))`, `vmap(jacfwd(f))`, and their traces). With JAX and folx installed their jitted
times stand beside ours. A strategy that the registry does not hold is printed as "not there".
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from limit_jax import jitted
from limit_lines import (
    NOTHING,
    Call,
    Line,
    Part,
    at_least,
    at_most,
    command,
    lines_in,
    seconds_of,
    taking,
)
from limit_peers import floors, forms, plain
from limit_works import COUNTS, FLOOR, FUNC, PLAIN, WORKS, Bar, Work
from torch import Tensor, nn

from bench.counters import counters
from strategies import STRATEGIES, Plan, Unsupported, prepare

Prepared = tuple[dict[str, Plan], dict[str, str]]


class Disagreement(ArithmeticError):
    """Two ways to one derivative whose values differ."""


def planned(work: Work, f: nn.Module, x: Tensor) -> Prepared:
    """The plan of every bar by its label, and the notes of what it took or why there is none."""
    plans: dict[str, Plan] = {}
    notes: dict[str, str] = {}
    for bar in work.bars:
        if (work.operator, bar.strategy) not in STRATEGIES:
            notes[bar.label] = "not there"
        elif bar.label not in plans:
            start = time.perf_counter()
            try:
                plans[bar.label] = prepare(
                    work.operator, f, x, strategy=bar.strategy, execution=bar.execution
                )
            except Unsupported as refusal:
                notes[bar.label] = f"refused: {refusal}"
            else:
                if bar.execution == "compile":
                    notes[bar.label] = f", compiled in {time.perf_counter() - start:.0f} s"
    return plans, notes


def agreed(values: Mapping[str, np.ndarray], dtype: torch.dtype) -> None:
    """Raise Disagreement where one of the values is not the first one's."""
    first, *others = values
    expected = values[first].reshape(-1)
    for name in others:
        apart = np.linalg.norm(values[name].reshape(-1) - expected) / np.linalg.norm(expected)
        if not apart <= 1e3 * torch.finfo(dtype).eps:
            raise Disagreement(f"{name} is {apart:.1e} from {first}")


def timed(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work whose figures are ratios of times."""
    f, x = work.make(work.dtype)
    plans, notes = planned(work, f, x)
    if not plans:
        yield from (without(work, bar, notes) for bar in work.bars)
        return
    own = {name: partial(form, x) for name, form in forms(work.operator, f).items()}
    simple, floor, jax = plain(work, f, x), floors(work, f, x), jitted(work.operator, f, x)
    ours: dict[str, Call] = {label: partial(plan, x) for label, plan in plans.items()}
    answering = own | simple | ours | jax
    with torch.no_grad():
        agreed({name: np.asarray(call()) for name, call in answering.items()}, work.dtype)
        took = seconds_of(answering | floor, seconds)
    peers = {FUNC: own, PLAIN: simple, FLOOR: floor, **{name: [name] for name in own}}
    for bar in work.bars:
        if bar.label not in plans:
            yield without(work, bar, notes)
            continue
        held = at_most if bar.against == FLOOR else at_least
        line = held(work.title, bar.figure, took, bar.label, peers[bar.against])
        note = notes.get(bar.label, "")
        yield replace(line, strategy=line.strategy + note, jax=beside(took, bar.label, jax))


def without(work: Work, bar: Bar, notes: Mapping[str, str]) -> Line:
    """The line of a bar whose strategy gave no plan."""
    return Line(work.title, bar.text, notes[bar.label], bar.label, bar.against)


def beside(took: Mapping[str, float], label: str, others: Iterable[str]) -> str:
    """`1.60× folx 109 ms, 2.75× jax hessian 187 ms`: how many times as long as ours others took."""
    order = sorted(others, key=took.__getitem__)
    return ", ".join(f"{took[n] / took[label]:.2f}× {taking(n, took[n])}" for n in order) or NOTHING


def counted(work: Work, _: float) -> Iterator[Line]:
    """The lines of a work whose figures are FLOPs in forward passes."""
    f, x = work.make(work.dtype)
    with torch.no_grad():
        forward = counters(f, (x,))["flops"]
    for bar in work.bars:
        plan = prepare(work.operator, f, x, x, strategy=bar.strategy, execution=bar.execution)
        figure = counters(plan, (x, x))["flops"] / forward
        yield Line(work.title, f"≤ {bar.figure} F", f"{figure:.2f} F", bar.label, "f")


class NoLines(RuntimeError):
    """A child process that printed no lines."""


def in_surroundings(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work, from a child process where this one lacks what its environment says."""
    wanted = dict(work.environment)
    if wanted.items() <= os.environ.items():
        return timed(work, seconds)
    child = subprocess.run(
        [sys.executable, __file__, "--only", work.title, "--seconds", str(seconds)],
        env={**os.environ, **wanted},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = lines_in(child.stdout)
    if not lines:
        said = child.stderr.strip().rpartition("\n")[2]
        raise NoLines(f"the child process ended with {child.returncode}: {said}")
    return iter(lines)


PARTS: dict[str, Part] = {
    **{work.title: partial(in_surroundings, work) for work in WORKS},
    **{work.title: partial(counted, work) for work in COUNTS},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    return command(PARTS, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
