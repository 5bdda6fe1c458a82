"""What to use for sizes of one's own: who is the fastest in the nearest measured problems.

Nothing is extrapolated: the answer is that of measured cases, and says how far they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .advice import margin
from .asked import Asked, known, nearest
from .load import Run
from .summary import by_pass, estimates, interval

# Needs that few functions meet; the others are what the sizes or the contract of f say.
SPECIAL = frozenset({"chain", "separable", "sparse"})


@dataclass(frozen=True)
class Pick:
    """The fastest way of some: its `case`, what it needs of f, its margin to the next best of them
    (the fields of `advice.margin`; empty where it is alone), its ratio to the fastest of all with a
    95 % interval."""

    case: pd.Series
    needs: frozenset[str]
    margin: Mapping[str, Any]
    ratio: tuple[float, float, float]


@dataclass(frozen=True)
class Advised:
    """The answer of one measured problem, whose axes `problem` has, and `own`, whether its f is the
    user's.

    `best` of all ways that fit, `general` of those without a need that is `SPECIAL` (None where no
    way fits, or the best is one of them). Left out: `large`, peaks above the memory that was asked
    for, bytes, and `unfit`, by what they need. `faster`: the fastest other execution, and its part
    of the time of the best.
    """

    problem: pd.Series
    run: str
    best: Pick | None
    general: Pick | None
    large: Mapping[str, float] = field(default_factory=dict)
    unfit: Mapping[str, str] = field(default_factory=dict)
    faster: tuple[pd.Series, float] | None = None


def advise(runs: Sequence[Run], asked: Asked) -> list[Advised]:
    """The answers of the measured problems that are nearest to what was asked, an operator and
    device after the other. Raises `AdviseError` where there is none."""
    rows = pd.concat([known(run) for run in runs], ignore_index=True)
    return [
        _answered(group, asked, run)
        for near in nearest(rows, asked)
        for (run, _), group in near.groupby(["run", "contest"], sort=False)
    ]


def _answered(group: pd.DataFrame, asked: Asked, run: Any) -> Advised:
    cases = estimates(group)
    cases = cases[cases["status"] == "ok"].set_index("way", drop=False)
    logs = by_pass(group, str(group["contest"].iloc[0]))
    needs = dict(zip(group["way"], group["needs"], strict=True))
    cases = cases[cases.index.isin(logs.columns)]
    mine, others = (cases[(cases["execution"] == asked.execution) == own] for own in (True, False))
    unfit = {name: why for name in mine.index if (why := _unfit(needs[name], asked))}
    large = {
        name: float(peak)
        for name, peak in mine["peak_bytes"].items()
        if name not in unfit and asked.memory_bytes is not None and peak > asked.memory_bytes
    }
    fit = [name for name in mine.index if name not in {*unfit, *large}]
    best = _pick(fit, logs, cases, needs)
    plain = [name for name in fit if not needs[name] & SPECIAL]
    special = best is not None and bool(best.needs & SPECIAL)
    general = _pick(plain, logs, cases, needs, best) if special else None
    problem = group.iloc[0]
    return Advised(problem, str(run), best, general, large, unfit, _faster(others, logs, best))


def _unfit(needs: frozenset[str], asked: Asked) -> str:
    """Why a way cannot answer at the sizes that were asked for, though it does at the measured."""
    if "scalar" in needs and asked.m not in (None, 1):
        return "m = 1"
    if "square" in needs and None not in (asked.n, asked.m) and asked.n != asked.m:
        return "m = n"
    return ""


def _pick(
    names: Sequence[str],
    logs: pd.DataFrame,
    cases: pd.DataFrame,
    needs: Mapping[str, frozenset[str]],
    best: Pick | None = None,
) -> Pick | None:
    """The fastest of some ways; `best` is what its ratio is to."""
    if not names:
        return None
    order = list(logs[list(names)].mean().sort_values().index)
    beside = margin(logs[order], order[0], order[1:]) if len(order) > 1 else {}
    to = order[0] if best is None else str(best.case["way"])
    mean, low, high = np.exp(interval(logs[order[0]] - logs[to]))
    ratio = (float(mean), float(low), float(high))
    return Pick(cases.loc[order[0]], needs[order[0]], beside, ratio)


def _faster(
    others: pd.DataFrame, logs: pd.DataFrame, best: Pick | None
) -> tuple[pd.Series, float] | None:
    """The fastest way of another execution, where it is faster than the best."""
    if best is None or others.empty:
        return None
    name = logs[list(others.index)].mean().idxmin()
    part = float(np.exp((logs[name] - logs[str(best.case["way"])]).mean()))
    return (others.loc[name], part) if part < 1 else None
