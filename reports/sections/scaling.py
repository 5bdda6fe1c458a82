"""3. Scaling: time against each size that was varied, and the power with which it grows."""

from __future__ import annotations

import pandas as pd

from .. import figures, points, words
from ..answer import Answer
from ..blocks import Block, Cell, Drawing, Fold, Prose, Section, Sheet, number, ordered
from ..svg import inline


def section(found: Answer) -> Section:
    """A figure an operator, then exponents, then where the fastest changes."""
    look = figures.looks(list(found.cases["strategy"].unique()))
    blocks: list[Block] = []
    for operator in ordered(list(found.cases["operator"])):
        table = points.scaling_points(found, operator)
        if len(table):
            blocks.append(_drawing(operator, table, look))
    if not blocks:
        blocks.append(Prose("No workload was measured at three sizes or more."))
    powers = exponents(found)
    if powers.rows:
        blocks.append(
            Fold(
                "Exponents",
                (
                    Prose(
                        "The slope of log time over log size, with its 95 % interval, beside that"
                        " of the counted FLOPs: what the operations alone would do. Only from at"
                        " least four sizes that take more than twice what their operations cost to"
                        " launch; otherwise a dash."
                    ),
                    powers,
                ),
            )
        )
    return Section("scaling", "Scaling", "Scaling", tuple(blocks))


def _drawing(operator: str, table: pd.DataFrame, look: pd.DataFrame) -> Drawing:
    estimates = table[table["estimate"]]
    largest = estimates[estimates["value"] == estimates.groupby("panel")["value"].transform("max")]
    best = largest.loc[largest.groupby("panel")["seconds"].idxmin()]
    said = [f"{row['way']} ({row['panel']} = {row['value']:g})" for _, row in best.iterrows()]
    finding = f"{operator}: fastest at the largest size is {words.listed(said)}"
    wide = estimates.pivot_table(
        index=["panel", "way"], columns="value", values="seconds", sort=False
    )
    wide = wide[sorted(wide.columns)]
    units = [words.second_unit(wide[value]) for value in wide.columns]
    rows = tuple(
        (
            Cell(f"{panel}: {way}"),
            *(number(words.seconds(s, unit=u), s) for s, u in zip(seconds, units, strict=True)),
        )
        for (panel, way), seconds in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    )
    heads = ("workload, size: strategy", *(f"{value:g}" for value in wide.columns))
    return Drawing(
        finding,
        inline(figures.scaling(table, look), f"scaling-{operator}", finding),
        "Time of one evaluation against one size, all else equal; lines join estimates, small dots"
        f" are single passes, of more than {points.MOST_DOTS} the least and the most. The"
        f" {points.MOST_LINES} fastest ways and the plain loop are drawn."
        " Shaded: sizes at which launching the operations is more than half of every drawn time.",
        "Logarithmic axes: a straight line is a power, its slope the exponent. Lower is better.",
        Sheet(f"Data: {operator} by size", heads, rows),
    )


def exponents(found: Answer) -> Sheet:
    """Exponents with intervals, dashes where too few sizes were above the floor."""
    table = found.exponents[found.exponents["sizes"] >= points.LEAST_SIZES]
    rows = tuple(
        (
            Cell(f"{row['operator']}: {row['way']}"),
            Cell(str(row["workload"])),
            Cell(str(row["size"])),
            Cell(row["where"]),
            number(f"{row['above_floor']} of {row['sizes']}", row["above_floor"]),
            number(words.exponent(row["exponent"], row["low"], row["high"]), row["exponent"]),
            number(
                words.NOTHING if words.missing(row["theory"]) else f"{row['theory']:.2f}",
                row["theory"],
            ),
            Cell(_doubling(row["exponent"])),
        )
        for _, row in table.iterrows()
    )
    heads = (
        *("strategy", "workload", "size", "device", "sizes above floor"),
        *("exponent (95 % interval)", "exponent of the FLOPs", "doubling it costs"),
    )
    return Sheet("With which power of a size the time grows", heads, rows)


def _doubling(exponent: float) -> str:
    return words.NOTHING if words.missing(exponent) else words.factor(2**exponent)
