"""The page: one HTML file, readable from disk without network and without JavaScript."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from . import figures, points, words
from .advice import SKEW
from .answer import STATUS_WORDS, Answer, environment, verdict
from .export import as_json, csv
from .svg import inline

HERE = Path(__file__).parent
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


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: the finding, the drawing, what it shows, how to read it, its data."""

    finding: str
    svg: Markup
    caption: str
    reading: str
    data: Sheet


def page(found: Answer) -> str:
    """The whole page; the same answer gives the same bytes."""
    loader = jinja2.FileSystemLoader(HERE / "templates")
    engine = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style, script = _asset("page.css"), _asset("page.js")
    return engine.get_template("page.html").render(
        title=f"Input-derivative benchmarks: {found.run.name}",
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        warnings=found.run.warnings,
        verdict=verdict(found),
        environment=environment(found.run),
        advice=advice_sheet(found),
        lines=_lines(found),
        skew=SKEW,
        results=[
            sheet for operator in _operators(found) for sheet in result_sheets(found, operator)
        ],
        scaling=_scaling(found),
        exponents=exponent_sheet(found),
        heat=_heat(found),
        memory=_memory(found),
        digits=digit_sheet(found),
        failures=failure_sheet(found),
        strategies=strategy_sheet(found),
        workloads=workload_sheet(found),
        downloads={
            "csv": _data("text/csv", csv(found.cases)),
            "json": _data("application/json", as_json(found.run, found.cases, found.advice)),
        },
    )


def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _operators(found: Answer) -> list[str]:
    there = set(found.cases["operator"])
    return [name for name in OPERATORS if name in there] + sorted(there - set(OPERATORS))


def advice_sheet(found: Answer) -> Sheet:
    """Section 1: the regime table."""
    rows = []
    order = {name: k for k, name in enumerate(OPERATORS)}
    table = found.advice.sort_values(
        ["purpose", "operator", "shape", "execution"],
        key=lambda column: column.map(order) if column.name == "operator" else column,
    )
    for _, row in table.iterrows():
        tie = words.listed(list(row["ties"])) if row["ties"] else words.NOTHING
        span = words.seconds(row["seconds_low"])
        if row["seconds_high"] > row["seconds_low"]:
            span += f" to {words.seconds(row['seconds_high'])}"
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
                Cell(str(row["device"])),
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


def _lines(found: Answer) -> list[str]:
    return list(dict.fromkeys(found.advice.sort_values(["purpose", "operator"])["line"]))


def result_sheets(found: Answer, operator: str) -> list[Sheet]:
    """Section 2: for each contest of an operator its ways, fastest first."""
    cases = found.cases[found.cases["operator"] == operator]
    sheets = []
    for contest, group in cases.groupby("contest", sort=False):
        ranked = group.sort_values("factor", na_position="last")
        rows = tuple(_result(case) for _, case in ranked.iterrows())
        heads = ("strategy", "time", "factor to best", "over plain", "prepare", "memory", "digits")
        sheets.append(Sheet(str(contest), heads, rows))
    return sheets


def _result(case: pd.Series) -> tuple[Cell, ...]:
    if case["status"] != "ok":
        return (
            Cell(str(case["way"])),
            Cell(f"{case['status']}", kind="failed"),
            *([Cell(words.NOTHING, kind="number")] * 5),
        )
    return (
        Cell(str(case["way"]), kind="best" if case["tie"] else ""),
        Cell(words.seconds(case["seconds"], case["half_width"]), case["seconds"], "number"),
        Cell(words.factor(case["factor"]), case["factor"], f"number {_shade(case['factor'])}"),
        Cell(words.factor(case["speedup"]), case["speedup"], "number"),
        Cell(words.seconds(case["prepare_s"]), case["prepare_s"], "number"),
        Cell(words.bytes_(case["peak_bytes"]), case["peak_bytes"], "number"),
        Cell(words.digits(case["digits"]), case["digits"], "number"),
    )


def _shade(factor: float) -> str:
    steps = (1.05, 1.5, 3, 10)
    return f"heat{sum(factor > step for step in steps)}" if factor == factor else ""


def _scaling(found: Answer) -> list[Drawing]:
    look = figures.looks(list(found.cases["strategy"].unique()))
    drawings = []
    for operator in _operators(found):
        table = points.scaling_points(found, operator)
        if table.empty:
            continue
        drawings.append(_scaling_drawing(found, operator, table, look))
    return drawings


def _scaling_drawing(
    found: Answer, operator: str, table: pd.DataFrame, look: pd.DataFrame
) -> Drawing:
    estimates = table[table["estimate"]]
    largest = estimates[estimates["value"] == estimates.groupby("panel")["value"].transform("max")]
    best = largest.loc[largest.groupby("panel")["seconds"].idxmin()]
    said = [f"{row['way']} ({row['panel']} = {row['value']:g})" for _, row in best.iterrows()]
    finding = f"{operator}: fastest at the largest size is {words.listed(said)}"
    rows = tuple(
        (
            Cell(str(row["way"])),
            Cell(str(row["panel"])),
            Cell(f"{row['value']:g}", row["value"], "number"),
            Cell(words.seconds(row["seconds"]), row["seconds"], "number"),
        )
        for _, row in estimates.iterrows()
    )
    return Drawing(
        finding,
        inline(figures.scaling(table, look), f"scaling-{operator}", finding),
        f"Time of one evaluation against one size, all else equal; lines join estimates, small dots"
        f" are single passes. The {points.MOST_LINES} fastest ways and the plain loop are drawn.",
        "Logarithmic axes: a straight line is a power, its slope the exponent. Lower is better.",
        Sheet(f"Data: {operator} by size", ("strategy", "workload, size", "value", "time"), rows),
    )


def exponent_sheet(found: Answer) -> Sheet:
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


def _heat(found: Answer) -> list[Drawing]:
    drawings = []
    for operator in _operators(found):
        table = points.slow_down_points(found, operator)
        if table.empty:
            continue
        typical = table.groupby("way")["factor"].agg(["median", "count"])
        solved = typical[typical["count"] == typical["count"].max()]
        best = str(solved["median"].idxmin())
        finding = (
            f"{operator}: {best} is typically {words.factor(solved['median'].min())} of the best"
        )
        rows = tuple(
            (
                Cell(str(r["way"])),
                Cell(str(r["problem"])),
                Cell(words.factor(r["factor"]), r["factor"], "number"),
            )
            for _, r in table.iterrows()
        )
        drawings.append(
            Drawing(
                finding,
                inline(figures.slow_down(table), f"heat-{operator}", finding),
                "Time over the best time of the same column; 1.0 is the best. Empty: no time"
                " (refused, failed, or not measured that way). The finding is the median over the"
                " columns, among ways that have them all.",
                "Read down a column to choose for a problem, along a row to see where a way fails.",
                Sheet(
                    f"Data: {operator}, factor to the best", ("strategy", "problem", "factor"), rows
                ),
            )
        )
    return drawings


def _memory(found: Answer) -> Drawing | None:
    table = points.memory_points(found)
    if table.empty:
        return None
    look = figures.looks(list(found.cases["strategy"].unique()))
    finding = "What the fastest way costs in memory"
    rows = tuple(
        (
            Cell(str(r["way"])),
            Cell(str(r["panel"])),
            Cell(words.seconds(r["seconds"]), r["seconds"], "number"),
            Cell(words.bytes_(r["peak_bytes"]), r["peak_bytes"], "number"),
        )
        for _, r in table.iterrows()
    )
    return Drawing(
        finding,
        inline(figures.time_and_memory(table, look), "memory", finding),
        "The contest with the highest peak of each operator. On the CPU the peak counts storages of"
        " tensors, on a GPU it is the allocator's.",
        "Lower left is better; named ways have no other that is both faster and smaller.",
        Sheet("Data: time and memory", ("strategy", "contest", "time", "peak memory"), rows),
    )


def digit_sheet(found: Answer) -> Sheet:
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
                Cell(f"{worst['relative_error']:.0e}", worst["relative_error"], "number"),
                Cell(f"{worst['tolerance']:.0e}", worst["tolerance"], "number"),
                Cell(str(worst["reference"])),
            )
        )
    heads = ("strategy", "dtype", "cases", "fewest digits", "error", "allowed", "reference there")
    return Sheet("Digits agreed with the reference, the worst case of each", heads, tuple(rows))


def failure_sheet(found: Answer) -> Sheet:
    """Section 9: what has no time, why, and how to see it again."""
    there = found.cases[found.cases["status"] != "ok"]
    rows = tuple(
        (
            Cell(str(case["way"])),
            Cell(str(case["contest"])),
            Cell(str(case["status"]), kind="failed" if case["status"] != "unsupported" else ""),
            Cell(str(case["reason"]).partition("\n")[0]),
            Cell(
                f"python -m bench check --grid {found.run.header['grid']} --only '{case['id']}'",
                kind="code",
            ),
        )
        for _, case in there.iterrows()
    )
    heads = ("strategy", "case", "status", "reason", "see it again")
    return Sheet("Cases without a time", heads, rows)


def strategy_sheet(found: Answer) -> Sheet:
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


def workload_sheet(found: Answer) -> Sheet:
    """Every workload and its version."""
    known: dict[str, dict[str, Any]] = found.run.header.get("workloads", {})
    rows = tuple(
        (Cell(name), Cell(w["text"]), Cell(str(w["version"]), kind="number"))
        for name, w in known.items()
    )
    return Sheet("Workloads", ("name", "what", "version"), rows)


__all__ = ["STATUS_WORDS", "page"]
