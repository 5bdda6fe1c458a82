"""Which measured problems are meant by sizes of one's own: the nearest, and how far they are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import words
from .answer import contestants
from .blocks import OPERATORS, rank
from .load import Run
from .schema import LOOPS

PUBLISHED = Path(__file__).parents[1] / "docs" / "published"
SIZES = {"n": "n", "m": "m", "B": "batch"}
# Another dtype is as far as twice a size; of none that was asked, float32 comes first.
_OTHER_DTYPE, _FLOAT32_FIRST = log(2), 1e-6


class AdviseError(ValueError):
    """A question without an answer; the message is one line and says what would have one."""


@dataclass(frozen=True)
class Asked:
    """A question: what is None is not asked, every measured one counts. `B`, `n`, `m`: rows in the
    batch, inputs and outputs of a row; `memory_bytes`: the most that an evaluation may take."""

    operator: str | None = None
    n: int | None = None
    m: int | None = None
    B: int | None = None
    dtype: str | None = None
    device: str | None = None
    create_graph: bool = False
    layout: str = "dense"
    execution: str = "eager"
    memory_bytes: int | None = None


def asked_for(given: argparse.Namespace) -> Asked:
    """The question of a command line. Raises `AdviseError` where it is none."""
    sizes = {"n": given.n, "m": given.m, "batch": given.batch}
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise AdviseError(f"--{name} is a number of at least 1, not {size}")
    try:
        memory = None if given.memory is None else words.bytes_of(given.memory)
    except ValueError as error:
        raise AdviseError(str(error)) from error
    same = ("operator", "n", "m", "dtype", "device", "create_graph", "layout", "execution")
    fields = {name: getattr(given, name) for name in same}
    return Asked(**fields, B=given.batch, memory_bytes=memory)


def published(folder: Path = PUBLISHED) -> list[Path]:
    """The result files that came with the code. Raises `AdviseError` where there are none."""
    found = sorted(folder.glob("*.jsonl.gz"))
    if not found:
        raise AdviseError(f"no published run in {folder}: give a result file after the options")
    return found


def known(run: Run) -> pd.DataFrame:
    """The rows of what competes, with the run's name, whether it is of a user's own function, and
    what each strategy needs."""
    strategies = run.header.get("strategies", {})
    rows = contestants(run.rows)
    names = rows["operator"] + "/" + rows["strategy"]
    needs = [frozenset(strategies.get(name, {}).get("needs", [])) for name in names]
    return rows.assign(run=run.name, own=run.header.get("grid") == "own", needs=needs)


def nearest(rows: pd.DataFrame, asked: Asked) -> list[pd.DataFrame]:
    """Of each operator and device that was asked for the rows of the nearest measured problems.

    rows: those of `known`. Raises `AdviseError` where there are none.
    """
    groups = _asked(rows, asked).groupby(["operator", "device"], sort=False)
    return [_nearest(own, asked) for _, own in sorted(groups, key=lambda found: rank(found[0][0]))]


def _asked(rows: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The rows of the problems that are of what was asked, at any size."""
    rows = rows[rows["operator"].isin(OPERATORS)]
    if asked.operator not in (None, *OPERATORS):
        raise AdviseError(f"no operator {asked.operator}; known: {', '.join(OPERATORS)}")
    for axis, wanted, say in _FILTERS:
        value = wanted(asked)
        if value is None:
            continue
        there = rows[rows[axis] == value]
        if axis == "execution":
            # The others stay, to be compared with.
            there = rows[rows["contest"].isin(there["contest"])]
        if there.empty:
            raise AdviseError(say(asked, words.listed(sorted(map(str, set(rows[axis]))))))
        rows = there
    return _solved(rows, asked)


_Filter = tuple[str, Callable[[Asked], Any], Callable[[Asked, str], str]]
# What a problem must be of, and what is said where no measured one is.
_FILTERS: tuple[_Filter, ...] = (
    (
        "device",
        lambda asked: asked.device,
        lambda asked, there: (
            f"no run on {asked.device} was given, only on {there or 'no device'}: give one"
            f" (python -m bench run --device {asked.device}), or ask for what is there"
        ),
    ),
    (
        "operator",
        lambda asked: asked.operator,
        lambda asked, there: f"no case of the {asked.operator} there; measured: {there}",
    ),
    (
        "create_graph",
        lambda asked: asked.create_graph,
        lambda asked, _: (
            "no such case keeps its graph: ask without --create-graph"
            if asked.create_graph
            else "every such case keeps its graph: ask with --create-graph"
        ),
    ),
    (
        "layout",
        lambda asked: asked.layout,
        lambda asked, there: f"no such case is {asked.layout}; measured: {there}",
    ),
    (
        "execution",
        lambda asked: asked.execution,
        lambda asked, there: f"no such case runs {asked.execution}; measured: {there}",
    ),
)


def _solved(rows: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Those of problems that some way solves in that execution."""
    ok = rows[(rows["status"] == "ok") & (rows["execution"] == asked.execution)]
    if ok.empty:
        raise AdviseError("no such case has a time: see the failures of the run")
    return rows[rows["contest"].isin(ok["contest"])]


def _nearest(own: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The rows of the problems at the least distance: the sum of the logarithms of the ratios of
    sizes, and what another dtype counts; of several numbers of threads, those of the least."""
    plain = own[own["strategy"] == own["operator"].map(LOOPS)]["contest"]
    # What was asked of a few strategies alone has no best, where others were asked of all.
    whole = own[own["contest"].isin(plain)]
    own = whole if len(whole) else own
    own = own[own["threads"] == own["threads"].min()]
    away = pd.Series(0.0, index=own.index)
    for size in SIZES:
        wanted = getattr(asked, size)
        if wanted is not None:
            away += np.abs(np.log(own[size].clip(lower=1).astype(float) / wanted))
    other = own["dtype"] != (asked.dtype or "float32")
    away += other * (_OTHER_DTYPE if asked.dtype else _FLOAT32_FIRST)
    return own[away <= away.min() + 1e-9]
