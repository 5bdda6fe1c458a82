"""1. Which strategy should I use? What most readers ask, then every regime, then your own sizes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .. import words
from ..advice import COLUMNS, SKEW
from ..advice import regimes as by_regime
from ..answer import Answer
from ..blocks import (
    OPERATORS,
    Block,
    Cell,
    Finder,
    Fold,
    Listing,
    Prose,
    Section,
    Sheet,
    number,
    rank,
)
from ..points import problem


@dataclass(frozen=True)
class Question:
    """What many readers come for, and the regimes that answer it, the first that was measured."""

    text: str
    operators: tuple[str, ...]
    shapes: tuple[str, ...]
    purpose: str = "evaluate"


Units = tuple[words.Unit | None, words.Unit | None]

EVERY_SHAPE = ("scalar", "square", "tall", "wide")
QUESTIONS = (
    Question("tall Jacobian", ("jacobian",), ("tall",)),
    Question("wide Jacobian", ("jacobian",), ("wide",)),
    Question("square Jacobian", ("jacobian",), ("square",)),
    Question("Hessian", ("hessian",), EVERY_SHAPE),
    Question("Laplacian", ("laplacian",), EVERY_SHAPE),
    Question("training step", ("laplacian", *OPERATORS), EVERY_SHAPE, "train"),
)

_LEAD = (
    "Lower times are better. A name in bold wins on odd and on even passes; where it does not, the"
    " ones it ties with are listed. The answer is of the measured cases, the nearest of them in"
    " brackets: yours may differ. **Faster still** is another way of running (traced, compiled),"
    " where it was measured beside eager."
)
_SHAPES = (
    f"The shape of a row: **scalar** is one output, **tall** at least {SKEW} times as many outputs"
    f" as inputs, **wide** the other way round, **square** between."
)


def section(found: Answer) -> Section:
    """The answer, first of all."""
    blocks: list[Block] = []
    if found.advice.empty:
        said = "No case has a time, so there is nothing to recommend: see the failures."
        blocks.append(Prose(said))
    else:
        blocks += [
            short(found),
            Prose(_LEAD),
            Finder(
                tuple(name for name in OPERATORS if name in set(found.cases["operator"])),
                tuple(dict.fromkeys(found.cases["where"])),
            ),
            Prose(_SHAPES),
            regimes(found),
            Fold("Lines to copy", (Listing("Lines to copy", tuple(_lines(found))),)),
        ]
    return Section("use", "Which to use", "Which strategy should I use?", tuple(blocks))


def short(found: Answer) -> Sheet:
    """A line for each question and place."""
    asked = [(question, where) for question in QUESTIONS for where in _places(found)]
    answers = [_first(q, found.advice[found.advice["where"] == where]) for q, where in asked]
    units = _units(pd.DataFrame([row for row in answers if row is not None], columns=COLUMNS))
    several = len(_places(found)) > 1
    rows = [
        _answered(f"{q.text}, {where}" if several else q.text, row, found, units)
        for (q, where), row in zip(asked, answers, strict=True)
    ]
    heads = (
        *("for a", "use", "time", "next best takes", "ties with", "peak memory"),
        *("faster still", "line to copy"),
    )
    return Sheet("In short", heads, tuple(rows), look="short")


def _places(found: Answer) -> list[str]:
    return list(dict.fromkeys(found.cases["where"]))


def _answered(text: str, row: pd.Series | None, found: Answer, units: Units) -> tuple[Cell, ...]:
    if row is None:
        return (Cell(text), Cell("not measured", kind="soft"), *([Cell(words.NOTHING)] * 6))
    if row["purpose"] == "train":
        text = text.replace("step", f"step with the {row['operator']}")
    near = problem(row["nearest"]).partition(f" float32 {row['device']}")[0]
    return (
        Cell(f"{text} ({near})"),
        *_way(row, units),
        number(words.bytes_(row["peak_bytes"], units[1]), row["peak_bytes"]),
        Cell(_faster(row, found.cases), kind="soft"),
        Cell(row["line"], kind="code"),
    )


def _first(question: Question, table: pd.DataFrame) -> pd.Series | None:
    plain = table[(table["purpose"] == question.purpose) & (table["execution"] == "eager")]
    for operator in question.operators:
        for shape in question.shapes:
            there = plain[(plain["operator"] == operator) & (plain["shape"] == shape)]
            if len(there):
                return there.iloc[0]
    return None


def _units(table: pd.DataFrame) -> Units:
    """Of times and of bytes."""
    times = pd.concat([table["seconds_low"], table["seconds_high"]])
    return words.second_unit(times), words.byte_unit(table["peak_bytes"])


def _way(row: pd.Series, units: Units) -> tuple[Cell, ...]:
    """What to use, its time, its margin, its ties."""
    span = words.span(row["seconds_low"], row["seconds_high"], units[0])
    ties = list(row["ties"])
    return (
        Cell(str(row["use"]), kind="use tie" if ties else "use best"),
        number(span, row["seconds_low"]),
        number(margin(row), row["margin"]),
        Cell(
            _listed([name.removesuffix(f" execution={row['execution']}") for name in ties]),
            kind="ties",
        ),
    )


def _listed(ties: list[str]) -> str:
    """As many as a cell can hold."""
    more = len(ties) - 3
    return words.listed([*ties[:3], *([f"{more} more"] if more > 0 else [])]) or words.NOTHING


def margin(row: pd.Series) -> str:
    """`1.24× (1.20× to 1.28×)`."""
    if words.missing(row["margin"]):
        return "no other"
    text = words.factor(row["margin"])
    span = words.factor_interval(row["margin_low"], row["margin_high"])
    return text if span == words.NOTHING else f"{text} ({span})"


def _faster(row: pd.Series, cases: pd.DataFrame) -> str:
    """In the regime's problems with other executions, the fastest way and its part of the time of
    the fastest eager one: `jacrev-sum execution=traced: 0.18× the time`."""
    here = cases[(cases["where"] == row["where"]) & (cases["operator"] == row["operator"])]
    # A sparse result is another one.
    here = by_regime(here[(here["status"] == "ok") & (here["layout"] == "dense")])
    here = here[(here["shape"] == row["shape"]) & (here["purpose"] == row["purpose"])]
    eager = here[here["execution"] == "eager"].groupby("contest")["seconds"].min()
    other = here[here["execution"] != "eager"].sort_values("seconds").groupby("contest").head(1)
    parts = other.set_index("contest")["seconds"] / eager
    if parts.dropna().empty or parts.min() >= 1:
        return words.NOTHING
    way = other.set_index("contest").loc[parts.idxmin(), "way"]
    return f"{way}: {words.factor(parts.min())} the time"


def regimes(found: Answer) -> Sheet:
    """Every regime."""
    table = found.advice.sort_values(
        ["purpose", "operator", "shape", "execution", "where"],
        key=lambda column: column.map(rank) if column.name == "operator" else column,
    )
    units = _units(table)
    rows = tuple(
        (
            Cell(f"{row['operator']}, {row['shape']}"),
            *_way(row, units),
            number(words.factor(row["speedup"]), row["speedup"]),
            number(words.bytes_(row["peak_bytes"], units[1]), row["peak_bytes"]),
            Cell(str(row["purpose"])),
            Cell(str(row["where"])),
            Cell(f"{row['cases']}, nearest {problem(row['nearest'])}", kind="soft prose"),
        )
        for _, row in table.iterrows()
    )
    heads = (
        *("operator, shape", "use", "time", "next best takes", "ties with"),
        *("faster than plain", "peak memory", "purpose", "device", "measured cases"),
    )
    return Sheet("Which strategy to use, by regime", heads, rows, look="short")


def _lines(found: Answer) -> list[str]:
    return list(dict.fromkeys(found.advice.sort_values(["purpose", "operator"])["line"]))
