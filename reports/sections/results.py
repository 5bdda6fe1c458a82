"""2. All results: strategies down, problems across, the time of each and its factor to the best."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from .. import figures, points, words
from ..answer import Answer
from ..blocks import Block, Cell, Chooser, Drawing, Fold, Prose, Section, Sheet, number, ordered
from ..svg import inline
from . import estimators

_LEAD = (
    "Lower is better. A time is of one evaluation, forward pass included, with its 95 % interval"
    " from passes: on one thread of a processor its CPU time, else wall time; of a training case"
    " the whole training step. In brackets the factor to the best of **all** ways of the same"
    " problem, also those in other columns of it (traced, compiled). **Geometric mean** is of the"
    " factors in the plain columns that a strategy solved; how many they are is said, so that none"
    " is spared a hard one unseen."
)


def section(found: Answer) -> Section:
    """Of each operator a matrix of times and one of memory; who is how often near the best."""
    cases, estimated = found.cases, estimators.block(found)
    if found.every.empty:
        return _section((Prose("No case was measured."),))
    blocks: list[Block] = [Prose(_LEAD), Chooser(tuple(sorted(set(cases["strategy"]))))]
    for operator in ordered(list(cases["operator"])):
        whole, some = _apart(columned(cases[cases["operator"] == operator]))
        memory = Fold(
            "Memory at the peak", tuple(_memory(*part) for part in _titled(operator, whole, some))
        )
        times = [_times(*part) for part in _titled(operator, whole, some)]
        blocks.append(Fold(operator, (*times, memory), open=True))
    profile = _profile(found)
    blocks += [profile] if profile else []
    blocks += [estimated] if estimated else []
    paid = _executions(cases)
    blocks += [Fold("What other executions cost before they pay", (paid,))] if paid.rows else []
    return _section(tuple(blocks))


def _section(blocks: tuple[Block, ...]) -> Section:
    return Section("results", "All results", "All results", blocks)


def columned(cases: pd.DataFrame) -> pd.DataFrame:
    """With `column`: the problem, and how its ways run where that is not eagerly and whole."""
    columns = [_column(case) for _, case in cases.iterrows()]
    found = cases.assign(column=columns, natural=[_natural(name) for name in columns])
    plain_first = ["where", "create_graph", "chunked", "executed", "natural"]
    chunked, executed = found["chunk"].notna(), found["execution"] != "eager"
    return found.assign(chunked=chunked, executed=executed).sort_values(plain_first, kind="stable")


def _apart(own: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was asked of most strategies, and what of a few, which would leave a matrix empty."""
    asked = own.groupby("column")["strategy"].nunique()
    most = own["column"].map(asked) * 2 >= asked.max()
    return own[most], own[~most]


def _titled(
    operator: str, whole: pd.DataFrame, some: pd.DataFrame
) -> list[tuple[str, pd.DataFrame]]:
    parts = [(operator, whole), (f"{operator}, of some strategies", some)]
    return [(title, part) for title, part in parts if len(part)]


def _natural(name: str) -> tuple[tuple[int, float, str], ...]:
    """A key by which n=16 comes after n=4."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, float(p), "") if p.isdigit() else (0, 0.0, p) for p in parts)


def _column(case: pd.Series) -> str:
    parts = [str(part) for part in case["contest"].split("/")[1:]]
    usual = {"float32", str(case["device"])}
    said = [part.replace("create_graph=True", "train") for part in parts if part not in usual]
    said += [str(case["execution"])] if case["execution"] != "eager" else []
    said += [f"chunk={words.chunk(case['chunk'])}"] if not pd.isna(case["chunk"]) else []
    return " ".join([*said, *([case["where"]] if case["where"] != "cpu" else [])])


def _times(operator: str, own: pd.DataFrame) -> Sheet:
    columns = list(dict.fromkeys(own["column"]))
    units = {name: words.second_unit(each) for name, each in own.groupby("column")["seconds"]}
    rows = []
    for name, group in _by_mean(own):
        known = {case["column"]: case for _, case in group.iterrows()}
        cells = [_time(known.get(column), units[column]) for column in columns]
        rows.append((Cell(name), *_mean(group, own), *cells))
    heads = ("strategy", "geometric mean", "solved", *columns)
    return Sheet(f"{operator}: time (factor to the best)", heads, tuple(rows), look="matrix")


def _by_mean(own: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Strategies, those that solved most first, then by their mean factor."""
    groups = [(str(name), group) for name, group in own.groupby("strategy", sort=True)]
    return sorted(groups, key=lambda item: (-len(_factors(item[1])), _geometric(item[1]), item[0]))


def _plain(cases: pd.DataFrame) -> pd.DataFrame:
    """Eager and whole, also those that train."""
    return cases[(cases["execution"] == "eager") & cases["chunk"].isna()]


def _factors(group: pd.DataFrame) -> pd.Series:
    return _plain(group)["factor"].dropna()


def _geometric(group: pd.DataFrame) -> float:
    kept = _factors(group)
    return float(np.exp(np.log(kept).mean())) if len(kept) else float("nan")


def _mean(group: pd.DataFrame, own: pd.DataFrame) -> tuple[Cell, Cell]:
    total, solved, mean = _plain(own)["column"].nunique(), len(_factors(group)), _geometric(group)
    return number(words.factor(mean), mean), number(f"{solved}/{total}", solved)


def _time(case: pd.Series | None, unit: words.Unit | None) -> Cell:
    if case is None:
        return Cell("")
    if case["status"] != "ok":
        refused = case["status"] == "unsupported"
        return Cell(
            "refused" if refused else str(case["status"]), kind="soft" if refused else "failed"
        )
    text = words.seconds(case["seconds"], case["half_width"], unit)
    kind = f"{shade(case['factor'])}{' best' if case['tie'] else ''}"
    return number(f"{text} ({words.factor(case['factor'])})", case["seconds"], kind)


def shade(factor: float) -> str:
    """The class of a cell by how far it is from the best; the number is always in it too."""
    steps = (1.05, 1.5, 3, 10)
    return f"heat{sum(factor > step for step in steps)}" if factor == factor else ""


def _memory(operator: str, own: pd.DataFrame) -> Sheet:
    there = own[own["peak_bytes"] > 0]
    columns = list(dict.fromkeys(there["column"]))
    units = {name: words.byte_unit(each) for name, each in there.groupby("column")["peak_bytes"]}
    rows = []
    for name, group in there.groupby("strategy", sort=True):
        known = dict(zip(group["column"], group["peak_bytes"], strict=True))
        cells = [_bytes(known.get(column), units[column]) for column in columns]
        rows.append((Cell(str(name)), *cells))
    heads = ("strategy", *columns)
    return Sheet(f"{operator}: memory at the peak", heads, tuple(rows), look="matrix")


def _bytes(value: float | None, unit: words.Unit | None) -> Cell:
    return Cell("") if value is None else number(words.bytes_(value, unit), value)


def _executions(cases: pd.DataFrame) -> Sheet:
    """What is prepared once, beside what it saves at every call."""
    other = cases[(cases["execution"] != "eager") & (cases["status"] == "ok")]
    once, unit = (words.second_unit(other[name]) for name in ("prepare_s", "seconds"))
    rows = tuple(
        (
            Cell(str(case["way"])),
            Cell(str(case["contest"]).replace("/", " ")),
            number(words.seconds(case["prepare_s"], unit=once), case["prepare_s"]),
            number(words.seconds(case["seconds"], case["half_width"], unit), case["seconds"]),
            number(words.calls(case["pays_back_calls"]), case["pays_back_calls"]),
        )
        for _, case in other.iterrows()
    )
    heads = ("strategy and execution", "problem", "prepare", "time", "pays back after")
    return Sheet("Traced and compiled: what preparing costs", heads, rows)


def _profile(found: Answer) -> Drawing | None:
    table = points.profile_points(found)
    if table.empty:
        return None
    look = figures.looks(list(found.cases["strategy"].unique()))
    best = table[table["tau"] == 1].sort_values("share", ascending=False).groupby("panel").head(1)
    said = [f"{row['strategy']} for {row['panel']}" for _, row in best.iterrows()]
    finding = f"Most often the best of the plain ways: {words.listed(said)}"
    return Drawing(
        finding,
        inline(figures.profile(table, look), "profile", finding),
        "Performance profile (Dolan and Moré, 2002): the share of an operator's problems that a"
        " strategy solves within τ times the best eager time; what failed or was refused is never"
        f" solved. The {points.MOST_LINES} highest are drawn, and the plain loop.",
        "Higher is better: at the left end how often it is the best, at the right how often it"
        " comes within reach at all.",
        _profile_data(table),
    )


def _profile_data(table: pd.DataFrame) -> Sheet:
    wide = table.pivot_table(index=["panel", "strategy"], columns="tau", values="share", sort=False)
    rows = tuple(
        (Cell(f"{panel}: {name}"), *(number(f"{100 * share:.0f} %", share) for share in shares))
        for (panel, name), shares in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    )
    heads = [f"within {tau:g}×" for tau in wide.columns]
    return Sheet("Data: share of problems solved within a factor", ("strategy", *heads), rows)
