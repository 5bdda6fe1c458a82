"""A work of `make limits` in time: all that is compared agrees, is timed in turn, has its lines."""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from limit_jax import jitted
from limit_lines import NOTHING, Call, Line, at_least, at_most, seconds_of, taking
from limit_peers import bounds, functional, plain
from limit_works import FUNC, PLAIN, Bar, Function, Work
from torch import Tensor

from strategies import STRATEGIES, Plan, Unsupported, prepare

Prepared = tuple[dict[str, Plan], dict[str, str]]


class Disagreement(ArithmeticError):
    """Two ways to one derivative whose values differ."""


def planned(work: Work, f: Function, x: Tensor) -> Prepared:
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
                    work.operator,
                    f,
                    x,
                    strategy=bar.strategy,
                    execution=bar.execution,
                    layout=bar.layout,
                )
            except Unsupported as refusal:
                notes[bar.label] = f"refused: {refusal}"
            else:
                if bar.execution == "compile":
                    notes[bar.label] = f", compiled in {time.perf_counter() - start:.0f} s"
    return plans, notes


def agreed(calls: Mapping[str, Call], dtype: torch.dtype) -> None:
    """Raise Disagreement where what one of the calls gives is not what the others do."""
    values = {name: tensor(call()) for name, call in calls.items()}
    # Dense ones first: torch takes sparse from dense, and not dense from sparse.
    first, *others = sorted(values, key=lambda name: values[name].is_sparse)
    expected = values[first]
    for name in others:
        found = values[name]
        difference = expected - (found if found.is_sparse else found.reshape(expected.shape))
        apart = float(difference.norm() / expected.norm())
        if not apart <= 1e3 * torch.finfo(dtype).eps:
            raise Disagreement(f"{name} is {apart:.1e} from {first}")


def tensor(value: object) -> Tensor:
    """What torch or JAX gave."""
    return value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))


def timed(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work whose figures are ratios of times."""
    f, x = work.make(work.dtype)
    plans, notes = planned(work, f, x)
    if not plans:
        yield from (without(work, bar, notes) for bar in work.bars)
        return
    own, simple, jax = functional(work, f, x), plain(work, f, x), jitted(work.operator, f, x)
    ours: dict[str, Call] = {label: partial(plan, x) for label, plan in plans.items()}
    answering = own | simple | ours | jax
    with torch.no_grad():
        agreed(answering, work.dtype)
        near = bounds(work, f, x, plans)
        took = seconds_of(answering | dict(ChainMap(*near.values())), seconds)
    peers = {FUNC: own, PLAIN: simple, **near, **{name: [name] for name in own}}
    for bar in work.bars:
        if bar.label not in plans:
            yield without(work, bar, notes)
            continue
        line = held(work.title, bar, took, peers[bar.against])
        note = notes.get(bar.label, "")
        yield replace(line, strategy=line.strategy + note, jax=beside(took, bar.label, jax))


def held(title: str, bar: Bar, took: Mapping[str, float], peers: Iterable[str]) -> Line:
    """The line of a bar whose strategy was timed."""
    if bar.is_cost:
        return at_most(title, bar.figure, took, bar.label, peers, bar.unit)
    return at_least(title, bar.figure, took, bar.label, peers)


def without(work: Work, bar: Bar, notes: Mapping[str, str]) -> Line:
    """The line of a bar whose strategy gave no plan."""
    return Line(work.title, bar.text, notes[bar.label], bar.label, bar.against)


def beside(took: Mapping[str, float], label: str, others: Iterable[str]) -> str:
    """`1.60× folx 109 ms, 2.75× jax hessian 187 ms`: how many times as long as ours others took."""
    order = sorted(others, key=took.__getitem__)
    return ", ".join(f"{took[n] / took[label]:.2f}× {taking(n, took[n])}" for n in order) or NOTHING
