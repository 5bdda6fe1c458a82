"""8. Limits: cost in forward passes beside the counted one, and the distance to the machine's."""

from __future__ import annotations

import pandas as pd

from .. import words
from ..answer import Answer
from ..blocks import Block, Cell, Fold, Prose, Section, Sheet, number, ordered
from ..limits import limited
from ..points import plain, problem

_LEAD = (
    "What a derivative costs in evaluations of f on the same batch, by the clock and by counted"
    " FLOPs; and η, the share of the time that its own counted work would take at this machine's"
    " measured rates (matrix product, copy, launches): 100 % is the limit, and the next line says"
    " which of them. Of each operator the problem with the most FLOPs."
)


def section(found: Answer) -> Section:
    """A table an operator, of the problem with the most work."""
    table = limited(found)
    table = plain(table[table["flops"] > 0])
    blocks: list[Block] = [Prose(_LEAD)]
    if table.empty:
        blocks = [Prose("Nothing was counted in this run, so no limit is known.")]
    else:
        blocks.append(Prose(_finding(table), look="finding"))
        blocks += [
            Fold(operator, (_sheet(operator, table[table["operator"] == operator]),))
            for operator in ordered(list(table["operator"]))
        ]
    return Section(
        "limits", "Limits", "Limits: how far from what the machine can do", tuple(blocks)
    )


def _finding(table: pd.DataFrame) -> str:
    best = table.loc[table.groupby(["where", "contest"])["seconds"].idxmin()]
    known = best[best["eta"].notna()]
    if known.empty:
        return "No control was measured for these cases, so η is not known."
    middle, most = known["eta"].median(), known.loc[known["eta"].idxmax()]
    bounds = known["bound"].value_counts()
    return (
        f"The fastest eager way is at η = {words.percent(middle)} of its limit in the median over"
        f" {len(known)} problems, at most {words.percent(most['eta'])} ({most['strategy']},"
        f" {problem(most['contest'])}); the limit is most often set by {bounds.index[0]}"
        f" ({bounds.iloc[0]} of {len(known)})."
    )


def _sheet(operator: str, own: pd.DataFrame) -> Sheet:
    most = own.loc[own["flops"].astype(float).idxmax()]
    ways = own[(own["contest"] == most["contest"]) & (own["where"] == most["where"])]
    unit, least = (words.second_unit(ways[name]) for name in ("seconds", "limit_s"))
    rows = tuple(
        (
            Cell(str(case["strategy"])),
            number(words.seconds(case["seconds"], case["half_width"], unit), case["seconds"]),
            number(_passes(case["forward_passes"]), case["forward_passes"]),
            number(_passes(case["forward_flops_ratio"]), case["forward_flops_ratio"]),
            number(words.seconds(case["limit_s"], unit=least), case["limit_s"]),
            number(_share(case["eta"]), case["eta"]),
            Cell(str(case["bound"]) if case["eta"] == case["eta"] else words.NOTHING),
        )
        for _, case in ways.sort_values("seconds").iterrows()
    )
    heads = (
        *("strategy", "time", "forward passes", "forward passes by FLOPs", "limit", "η"),
        "limit set by",
    )
    where = "" if most["where"] == "cpu" else f", {most['where']}"
    return Sheet(f"{operator}: {problem(most['contest'])}{where}", heads, rows)


def _passes(value: float) -> str:
    return words.NOTHING if words.missing(value) else words.significant(value)


def _share(value: float) -> str:
    return words.NOTHING if words.missing(value) else words.percent(value)
