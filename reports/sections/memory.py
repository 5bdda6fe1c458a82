"""5. Time and memory: what the fastest way costs in bytes."""

from __future__ import annotations

import pandas as pd

from .. import figures, points, words
from ..answer import Answer
from ..blocks import Block, Cell, Drawing, Prose, Section, Sheet, number
from ..svg import inline


def section(found: Answer) -> Section:
    """Of each operator the problem with the highest peak."""
    table = points.memory_points(found)
    block: Block = Prose("No memory was measured in this run.")
    if len(table):
        look = figures.looks(list(found.cases["strategy"].unique()))
        finding = _finding(table)
        block = Drawing(
            finding,
            inline(figures.time_and_memory(table, look), "memory", finding),
            "The problem with the highest peak of each operator. On the CPU the peak counts"
            " storages of tensors, on a GPU it is the allocator's.",
            "Lower left is better; named ways have no other that is both faster and smaller. The"
            " numbers are those of the table: 1 is the fastest.",
            _data(table),
        )
    return Section("memory", "Time and memory", "Time and memory", (block,))


def _finding(table: pd.DataFrame) -> str:
    said = []
    for panel, ways in table.groupby("panel", sort=False):
        fastest = ways.loc[ways["seconds"].idxmin()]
        ratio = fastest["peak_bytes"] / ways["peak_bytes"].min()
        said.append(f"{words.factor(ratio)} for the {str(panel).partition('/')[0]}")
    return (
        f"The fastest way needs, of the least memory that any way does with, {words.listed(said)}"
    )


def _data(table: pd.DataFrame) -> Sheet:
    unit, size = words.second_unit(table["seconds"]), words.byte_unit(table["peak_bytes"])
    rows = tuple(
        (
            Cell(f"{row['rank']} {row['way']}"),
            Cell(str(row["panel"])),
            number(words.seconds(row["seconds"], unit=unit), row["seconds"]),
            number(words.bytes_(row["peak_bytes"], size), row["peak_bytes"]),
        )
        for _, row in table.iterrows()
    )
    heads = ("strategy", "problem", "time", "peak memory")
    return Sheet("Data: time and memory", heads, rows)
