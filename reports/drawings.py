"""The figures of the page, each with its finding, how to read it, and its data as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from . import figures, points, words
from .answer import Answer
from .sheets import Cell, Sheet, operators
from .svg import inline


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: the finding, the drawing, what it shows, how to read it, its data."""

    finding: str
    svg: Markup
    caption: str
    reading: str
    data: Sheet


def scaling(found: Answer) -> list[Drawing]:
    look = figures.looks(list(found.cases["strategy"].unique()))
    drawings = []
    for operator in operators(found):
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


def heat(found: Answer) -> list[Drawing]:
    drawings = []
    for operator in operators(found):
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


def memory(found: Answer) -> Drawing | None:
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
