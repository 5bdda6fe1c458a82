"""11. Stability: how well the times are known, and whether the machine held still."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import words
from ..answer import Answer
from ..blocks import Block, Cell, Prose, Section, Sheet, number, rank
from ..load import Run
from ..schema import RACE
from ..summary import passes


def section(found: Answer) -> Section:
    """How wide intervals are by operator; every pass beside the mean of all."""
    known = found.cases[found.cases["half_width"].notna()]
    blocks: list[Block] = []
    if known.empty:
        blocks.append(Prose("With one pass nothing is known of this: run at least three."))
    else:
        blocks += [_widths(known), *_drifts(found)]
    return Section("stability", "Stability", "Stability: how well this is known", tuple(blocks))


def _widths(known: pd.DataFrame) -> Sheet:
    groups = list(known.groupby(["operator", "where"], sort=False))
    rows = tuple(
        (
            Cell(str(operator)),
            Cell(str(where)),
            number(str(len(group)), len(group)),
            *(_percent(group["half_width"].quantile(q)) for q in (0.5, 0.9, 1)),
        )
        for (operator, where), group in sorted(groups, key=lambda item: rank(str(item[0][0])))
    )
    heads = ("operator", "device", "cases", "median", "one in ten above", "widest")
    return Sheet("Half the width of the 95 % intervals of times", heads, rows)


def _percent(value: float) -> Cell:
    return number(f"± {words.percent(value)}", value)


def _drifts(found: Answer) -> list[Sheet]:
    sheets = []
    for letter, run in zip(found.letters, found.runs, strict=True):
        table = drift(run)
        heads = ("pass", "cases", "their times", "controls", "stolen by others")
        name = f"Run {letter}: each pass" if letter else "Each pass"
        sheets.append(Sheet(f"{name} beside the mean of all passes", heads, tuple(table)))
    return sheets


def drift(run: Run) -> list[tuple[Cell, ...]]:
    """Of every pass its mean ratio to the mean of all, of the same cases, and of the controls; the
    share of the time that the system gave to others."""
    # A race may take another strategy in every pass.
    steady = run.rows[run.rows["strategy"] != RACE]
    cases, controls = _ratios(steady), _ratios(run.controls)
    stolen = _stolen(run.rows)
    return [
        (
            Cell(f"{number_}"),
            number(str(int(cases.count(axis=1)[number_])), None),
            _ratio(np.exp(cases.loc[number_].mean())),
            _ratio(np.exp(controls.loc[number_].mean()) if number_ in controls.index else np.nan),
            number(words.share(stolen.get(number_, np.nan)), stolen.get(number_)),
        )
        for number_ in cases.index
    ]


def _ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """`[pass, case]`: log of the time over the geometric mean of all passes."""
    timed = passes(rows)
    if timed.empty:
        return pd.DataFrame()
    logs = timed.assign(log_s=np.log(timed["rank_s"])).pivot_table(
        index="pass", columns="id", values="log_s"
    )
    return logs.dropna(axis="columns") - logs.dropna(axis="columns").mean()


def _ratio(value: float) -> Cell:
    return number(words.NOTHING if words.missing(value) else f"{value:.3f}×", value)


def _stolen(rows: pd.DataFrame) -> pd.Series:
    """By pass: seconds stolen during the rounds over the seconds of the rounds."""
    known = rows[rows["steal_s"].notna() & (rows["loops"].notna())]
    spent = [sum(r["wall_s"]) * r["loops"] for _, r in known.iterrows()]
    table = known.assign(spent=spent).groupby("pass")[["steal_s", "spent"]].sum()
    return table["steal_s"].astype(float) / table["spent"]
