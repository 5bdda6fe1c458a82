"""4. Crossover: where another strategy becomes the fastest."""

from __future__ import annotations

import pandas as pd

from .. import figures, points, words
from ..answer import Answer
from ..blocks import Block, Cell, Drawing, Prose, Section, Sheet, number
from ..svg import inline


def section(found: Answer) -> Section:
    """A map of winners over inputs and outputs, and the sizes between which the winner changes."""
    blocks: list[Block] = []
    cells = points.winner_points(found)
    if len(cells) > 1:
        blocks.append(_map(found, cells))
    changes = crossings(found)
    if changes.rows:
        blocks.append(changes)
    if not blocks:
        blocks.append(Prose("Too few sizes were measured to see a winner change."))
    return Section("crossover", "Crossover", "Crossover: where the winner changes", tuple(blocks))


def _map(found: Answer, cells: pd.DataFrame) -> Drawing:
    finding = _finding(cells)
    rows = tuple(
        (
            Cell(f"{row['n']:g} → {row['m']:g}"),
            Cell(str(row["where"])),
            Cell(str(row["way"]), kind="tie" if row["tie"] else "best"),
            number(words.factor(row["margin"]), row["margin"]),
            Cell("tie" if row["tie"] else "winner"),
            Cell(str(row["problem"])),
        )
        for _, row in cells.iterrows()
    )
    heads = ("inputs → outputs", "device", "fastest", "next best takes", "judged", "problem")
    return Drawing(
        finding,
        inline(figures.winners(cells), "winners", finding),
        "The fastest eager strategy of the Jacobian at each measured number of inputs and outputs"
        " of a row, by a letter; the darker, the wider its margin; hatched: a tie. White was not"
        " measured.",
        "Up and to the left are tall Jacobians, where forward mode has less to do; down and to the"
        " right wide ones, where reverse mode has.",
        Sheet("Data: fastest strategy by inputs and outputs", heads, rows),
    )


def _finding(cells: pd.DataFrame) -> str:
    first, last = cells.loc[cells["skew"].idxmin()], cells.loc[cells["skew"].idxmax()]
    if first["way"] == last["way"]:
        return f"Jacobian: {first['way']} is fastest for tall and for wide ones"
    return (
        f"Jacobian: {last['way']} is fastest for {last['n']:g} → {last['m']:g},"
        f" {first['way']} for {first['n']:g} → {first['m']:g}"
    )


def crossings(found: Answer) -> Sheet:
    """Neighbouring sizes at which different ways are the fastest."""
    rows = tuple(
        (
            Cell(str(row["operator"])),
            Cell(f"{row['workload']}, {row['size']}"),
            Cell(str(row["where"])),
            Cell(f"{row['below']} up to {row['size']} = {row['low']:g}"),
            Cell(f"{row['above']} from {row['size']} = {row['high']:g}"),
        )
        for _, row in points.crossing_points(found).iterrows()
    )
    heads = ("operator", "workload, size", "device", "fastest below", "fastest above")
    return Sheet("Sizes between which the fastest eager strategy changes", heads, rows)
