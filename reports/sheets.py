"""The tables of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import points, words
from .answer import Answer

OPERATORS = (
    *("gradient", "vjp", "jvp", "jacobian", "divergence"),
    *("hvp", "hessian", "hessian-diagonal", "laplacian"),
)


@dataclass(frozen=True)
class Cell:
    """One entry of a table: its text, how it sorts, and how it looks."""

    text: str
    sort: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of the page: a caption, column heads and rows; the first cell heads its row."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def operators(found: Answer) -> list[str]:
    there = set(found.cases["operator"])
    return [name for name in OPERATORS if name in there] + sorted(there - set(OPERATORS))


def advice(found: Answer) -> Sheet:
    """Section 1: the regime table."""
    rows = []
    order = {name: k for k, name in enumerate(OPERATORS)}
    table = found.advice.sort_values(
        ["purpose", "operator", "shape", "execution", "threads"],
        key=lambda column: column.map(order) if column.name == "operator" else column,
    )
    for _, row in table.iterrows():
        tie = words.listed(list(row["ties"])) if row["ties"] else words.NOTHING
        span = words.span(row["seconds_low"], row["seconds_high"])
        rows.append(
            (
                Cell(f"{row['operator']}, {row['shape']}"),
                Cell(str(row["use"]), kind="use tie" if row["ties"] else "use best"),
                Cell(span, row["seconds_low"], "number"),
                Cell(_margin(row), row["margin"], "number"),
                Cell(tie),
                Cell(words.factor(row["speedup"]), row["speedup"], "number"),
                Cell(words.bytes_(row["peak_bytes"]), row["peak_bytes"], "number"),
                Cell(f"{row['purpose']}, {row['execution']}"),
                Cell(words.on_threads(row["device"], row["threads"])),
                Cell(f"{row['cases']}, nearest {row['nearest']}"),
            )
        )
    heads = (
        *("operator, shape", "use", "time", "next best takes", "ties with"),
        *("faster than plain", "peak memory", "purpose, execution", "device", "measured cases"),
    )
    return Sheet("Which strategy to use, by regime; lower times are better", heads, tuple(rows))


def _margin(row: pd.Series) -> str:
    if words.missing(row["margin"]):
        return "no other"
    text = words.factor(row["margin"])
    span = words.factor_interval(row["margin_low"], row["margin_high"])
    return text if span == words.NOTHING else f"{text} ({span})"


def results(found: Answer) -> list[Sheet]:
    """Section 2: for each contest of each operator its ways, fastest first."""
    return [sheet for operator in operators(found) for sheet in _contests(found, operator)]


def _contests(found: Answer, operator: str) -> list[Sheet]:
    cases = found.cases[found.cases["operator"] == operator]
    sheets = []
    for contest, group in cases.groupby("contest", sort=False):
        ranked = group.sort_values("factor", na_position="last")
        rows = tuple(_result(case) for _, case in ranked.iterrows())
        heads = (
            *("strategy", "time", "factor to best", "over plain", "prepare", "pays back after"),
            *("memory", "digits"),
        )
        sheets.append(Sheet(str(contest), heads, rows))
    return sheets


def _result(case: pd.Series) -> tuple[Cell, ...]:
    if case["status"] != "ok":
        return (
            Cell(str(case["way"])),
            Cell(f"{case['status']}", kind="failed"),
            *([Cell(words.NOTHING, kind="number")] * 6),
        )
    return (
        Cell(str(case["way"]), kind="best" if case["tie"] else ""),
        Cell(words.seconds(case["seconds"], case["half_width"]), case["seconds"], "number"),
        Cell(words.factor(case["factor"]), case["factor"], f"number {_shade(case['factor'])}"),
        Cell(words.factor(case["speedup"]), case["speedup"], "number"),
        Cell(words.seconds(case["prepare_s"]), case["prepare_s"], "number"),
        Cell(words.calls(case["pays_back_calls"]), case["pays_back_calls"], "number"),
        Cell(words.bytes_(case["peak_bytes"]), case["peak_bytes"], "number"),
        Cell(words.digits(case["digits"]), case["digits"], "number"),
    )


def _shade(factor: float) -> str:
    steps = (1.05, 1.5, 3, 10)
    return f"heat{sum(factor > step for step in steps)}" if factor == factor else ""


def exponents(found: Answer) -> Sheet:
    """Section 3: exponents with intervals, dashes where too few sizes were above the floor."""
    table = found.exponents[found.exponents["sizes"] >= points.LEAST_SIZES]
    rows = tuple(
        (
            Cell(f"{row['operator']}: {row['way']}"),
            Cell(str(row["workload"])),
            Cell(str(row["size"])),
            Cell(f"{row['above_floor']} of {row['sizes']}", row["above_floor"], "number"),
            Cell(
                words.exponent(row["exponent"], row["low"], row["high"]), row["exponent"], "number"
            ),
        )
        for _, row in table.iterrows()
    )
    heads = ("strategy", "workload", "size", "sizes above floor", "exponent (95 % interval)")
    return Sheet("With which power of a size the time grows", heads, rows)


def digits(found: Answer) -> Sheet:
    """Section 7: how far each strategy is from the reference, at its worst."""
    there = found.cases[found.cases["digits"].notna()]
    rows = []
    for (operator, way, dtype), group in there.groupby(["operator", "way", "dtype"], sort=False):
        worst = group.loc[group["digits"].idxmin()]
        rows.append(
            (
                Cell(f"{operator}: {way}"),
                Cell(str(dtype)),
                Cell(str(len(group)), len(group), "number"),
                Cell(words.digits(worst["digits"]), worst["digits"], "number"),
                *(_error(worst[name]) for name in ("relative_error", "worst_entry", "tolerance")),
                Cell(str(worst["reference"])),
                _error(worst["reference_error"]),
            )
        )
    heads = (
        *("strategy", "dtype", "cases", "fewest digits", "error", "worst entry", "allowed"),
        *("reference there", "reference's own error"),
    )
    return Sheet("Digits agreed with the reference, the worst case of each", heads, tuple(rows))


def _error(value: float | None) -> Cell:
    known = value is not None and value == value
    return Cell(f"{value:.0e}" if known else words.NOTHING, value if known else None, "number")


def failures(found: Answer) -> Sheet:
    """Section 9: what has no time, why, and how to see it again."""
    there = found.cases[found.cases["status"] != "ok"]
    rows = tuple(
        (
            Cell(str(case["way"])),
            Cell(str(case["contest"])),
            Cell(str(case["status"]), kind="failed" if case["status"] != "unsupported" else ""),
            Cell(str(case["reason"]).partition("\n")[0], kind="prose"),
            Cell(
                f"python -m bench check --grid {found.run.header['grid']} --only '{case['id']}'",
                kind="code",
            ),
        )
        for _, case in there.iterrows()
    )
    heads = ("strategy", "case", "status", "reason", "see it again")
    return Sheet("Cases without a time", heads, rows)


def strategies(found: Answer) -> Sheet:
    """Every strategy with the sentence it gives of itself."""
    known: dict[str, dict[str, Any]] = found.run.header.get("strategies", {})
    rows = tuple(
        (
            Cell(s["name"]),
            Cell(s["operator"]),
            Cell(s["mode"]),
            Cell(s["sweep"]),
            Cell(s["summary"]),
            Cell(", ".join(s.get("needs", [])) or words.NOTHING),
        )
        for s in known.values()
    )
    return Sheet("Strategies", ("name", "operator", "mode", "sweep", "how", "needs"), rows)


def workloads(found: Answer) -> Sheet:
    """Every workload and its version."""
    known: dict[str, dict[str, Any]] = found.run.header.get("workloads", {})
    rows = tuple(
        (Cell(name), Cell(w["text"]), Cell(str(w["version"]), kind="number"))
        for name, w in known.items()
    )
    return Sheet("Workloads", ("name", "what", "version"), rows)
