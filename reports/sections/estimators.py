"""The part of the results that holds estimators: their times with the errors that these buy."""

from __future__ import annotations

import pandas as pd

from .. import words
from ..answer import Answer
from ..blocks import Cell, Fold, Prose, Sheet, number, rank
from ..points import problem

# The relative error at which their times are compared.
EQUAL = 0.01

_LEAD = (
    "An estimator gives the answer on average; its time says little without its error, so it is"
    " ranked nowhere. **Standard error** is that of one evaluation, over the norm of the answer,"
    " measured over repeated ones. It falls with the root of the number of samples: **to 1 %** is"
    " the time of as many evaluations as bring their mean there, time × (standard error / 1 %)²,"
    " beside that of the fastest exact way, which has no such error."
)


def block(found: Answer) -> Fold | None:
    """What there is of estimators, or None."""
    there = found.estimators[found.estimators["status"] == "ok"]
    return None if there.empty else Fold("Estimators", (Prose(_LEAD), sheet(found, there)))


def sheet(found: Answer, there: pd.DataFrame) -> Sheet:
    """Each estimator beside the fastest exact way of the same problem."""
    best = _fastest(found)
    unit = words.second_unit(there["seconds"])
    order = there.sort_values("operator", key=lambda names: names.map(rank), kind="stable")
    rows = tuple(
        _row(case, best.get((case["where"], case["contest"])), unit) for _, case in order.iterrows()
    )
    heads = (
        *("estimator", "problem", "device", "samples", "time", "standard error", "to 1 %"),
        *("fastest exact", "takes"),
    )
    return Sheet("Estimators: time and error", heads, rows)


def _fastest(found: Answer) -> dict[tuple[str, str], pd.Series]:
    ok = found.cases[found.cases["status"] == "ok"].sort_values("seconds")
    firsts = ok.groupby(["where", "contest"], sort=False).head(1)
    return {(case["where"], case["contest"]): case for _, case in firsts.iterrows()}


def _row(case: pd.Series, best: pd.Series | None, unit: words.Unit | None) -> tuple[Cell, ...]:
    error, time = case["std_error"], case["seconds"]
    known = not words.missing(error)
    equal = time * max(1.0, (error / EQUAL) ** 2) if known else None
    return (
        Cell(f"{case['operator']}: {case['way']}"),
        Cell(problem(case["contest"])),
        Cell(str(case["where"])),
        _count(case["samples"]),
        number(words.seconds(time, case["half_width"], unit), time),
        number(f"{100 * error:.2g} %" if known else words.NOTHING, error if known else None),
        number(words.NOTHING if equal is None else words.seconds(equal), equal),
        *_exact(best, unit),
    )


def _count(samples: float | None) -> Cell:
    missing = words.missing(samples)
    return number(words.NOTHING if missing else f"{samples:g}", None if missing else samples)


def _exact(best: pd.Series | None, unit: words.Unit | None) -> tuple[Cell, Cell]:
    if best is None:
        return Cell("not measured", kind="soft"), number(words.NOTHING, None)
    return Cell(str(best["way"])), number(
        words.seconds(best["seconds"], unit=unit), best["seconds"]
    )
