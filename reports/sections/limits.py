"""8. Limits: costs in forward passes beside the best known method's, and the distance to it."""

from __future__ import annotations

import pandas as pd

from .. import words
from ..answer import Answer
from ..blocks import Block, Cell, Fold, Prose, Section, Sheet, number, ordered
from ..limits import against
from ..points import plain, problem

_LEAD = (
    "What a derivative costs in evaluations of f on the same batch, by the clock and by counted"
    " FLOPs, beside the best known method, which heads each table. η is the share of the time that"
    " this method would take here: the largest of its products, timed alone at their shapes, its"
    " bytes over the measured bandwidth and its launches. Own η is the same for the work that the"
    " strategy was counted to do, at the rate of a large product: where it is large and η is small,"
    " work is done in vain. Of each operator the problem with the most FLOPs."
)


def section(found: Answer) -> Section:
    """A table an operator, of the problem with the most work."""
    table = compared(found)
    blocks: list[Block] = [Prose(_LEAD)]
    working = table[table["flops"] > 0]
    if working.empty:
        blocks = [Prose("Nothing was counted in this run, so no limit is known.")]
    else:
        blocks += [Prose(_finding(table), look="finding")]
        blocks += [
            Fold(operator, (_sheet(operator, table[table["operator"] == operator]),))
            for operator in ordered(list(working["operator"]))
        ]
    return Section(
        "limits", "Limits", "Limits: how far from what the machine can do", tuple(blocks)
    )


def compared(found: Answer) -> pd.DataFrame:
    """The eager cases that were counted, beside the floor of their problem."""
    ok = plain(found.cases[found.cases["status"] == "ok"])
    table = against(ok)
    return table[table["flops"].notna()]


def _finding(table: pd.DataFrame) -> str:
    known = table[table["eta"].notna()]
    if known.empty:
        return "No control was measured for these cases, so η is not known."
    best = known.loc[known.groupby(["where", "contest"])["seconds"].idxmin()]
    declared = best["cheapest"].isna()
    told = [
        _told(best[declared], "the best known method", ""),
        _told(best[~declared], "the least work counted", " without declared layers"),
    ]
    return " ".join(filter(None, told))


def _told(best: pd.DataFrame, what: str, of: str) -> str:
    if best.empty:
        return ""
    count, bounds = len(best), best["floor_bound"].value_counts()
    least, most = (best.loc[k] for k in (best["eta"].idxmin(), best["eta"].idxmax()))
    spread = f", from {_at(least)} to {_at(most)}" if count > 1 else ""
    return (
        f"The fastest eager way is at η = {words.percent(best['eta'].median())} of {what} in the"
        f" median over {count} problem{'s' * (count > 1)}{of}{spread}; the limit is most often set"
        f" by {bounds.index[0]} ({bounds.iloc[0]} of {count})."
    )


def _at(case: pd.Series) -> str:
    return f"{words.percent(case['eta'])} ({case['strategy']}, {problem(case['contest'])})"


def _sheet(operator: str, own: pd.DataFrame) -> Sheet:
    most = own.loc[own["flops"].astype(float).idxmax()]
    ways = own[(own["contest"] == most["contest"]) & (own["where"] == most["where"])]
    ways = ways.sort_values("seconds")
    unit = words.second_unit(ways["seconds"])
    rows = tuple(
        (
            Cell(str(case["strategy"])),
            number(words.seconds(case["seconds"], case["half_width"], unit), case["seconds"]),
            number(_passes(case["forward_passes"]), case["forward_passes"]),
            number(_passes(case["forward_flops_ratio"]), case["forward_flops_ratio"]),
            number(_share(case["eta"]), case["eta"]),
            number(_share(case["eta_own"]), case["eta_own"]),
            Cell(words.NOTHING if pd.isna(case["bound"]) else str(case["bound"])),
        )
        for _, case in ways.iterrows()
    )
    heads = (
        *("strategy", "time", "forward passes", "forward passes by FLOPs", "η", "own η"),
        "limit set by",
    )
    where = "" if most["where"] == "cpu" else f", {most['where']}"
    caption = f"{operator}: {problem(most['contest'])}{where}"
    return Sheet(caption, heads, (*_best(ways, unit), *rows))


def _best(ways: pd.DataFrame, unit: words.Unit | None) -> tuple[tuple[Cell, ...], ...]:
    """The best known method as a line of its own."""
    known = ways[ways["floor_s"].notna()]
    if known.empty:
        return ()
    case = known.iloc[0]
    passes, cheapest = case["floor_s"] / case["forward_s"], case["cheapest"]
    name = "best known method" if pd.isna(cheapest) else f"least counted work: {cheapest}"
    line = (
        Cell(name),
        number(words.seconds(case["floor_s"], unit=unit), case["floor_s"]),
        number(_passes(passes), passes),
        number(_passes(case["floor_passes"]), case["floor_passes"]),
        number(words.percent(1), 1),
        number(words.NOTHING, None),
        Cell(str(case["floor_bound"])),
    )
    return (line,)


def _passes(value: float) -> str:
    return words.NOTHING if words.missing(value) else words.significant(value)


def _share(value: float) -> str:
    return words.NOTHING if words.missing(value) else words.percent(value)
