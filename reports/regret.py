"""Regret: the time of what `auto` takes over that of the best strategy, a line a problem.

NOTE [honest regret]
The least of many noisy numbers is too small: against it the truly best itself would seem to lose.
So the best is picked on the odd passes and judged on the even ones, pass by pass, and the other way
round. The regret of a choice that is the best is then 1 in the mean, noise on both sides of it; a
little below where near ties are picked wrongly. With one pass nothing can be judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import words
from .schema import CHOOSERS, DEFAULTS, LOOPS
from .summary import interval, passes, taken, worst_status

TORCH_FUNC, LOOP = "torch.func defaults", "always a loop"
# In the order of every table.
CHOICES = (*CHOOSERS, TORCH_FUNC, LOOP)
WITHIN = (1.05, 1.25, 1.5)
TAUS = (1, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100)

_KEY = ["where", "contest", "chunk"]
COLUMNS = [
    *(*_KEY, "operator", "choice", "status", "reason", "K", "took", "best"),
    *("regret", "low", "high", "half_width", "speedup"),
]
SUMMARY = [
    *("problems", "judged", "silent", "mean", "low", "high", "median", "tenth"),
    *("worst", "worst_low", "worst_high", "worst_half", "worst_contest", "within"),
    *("speedup", "speedup_low", "speedup_high", "compared"),
]


def regrets(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each problem with choosers and each choice: its `regret` with a 95 % interval
    (nan of less than two passes), `took` and `best`, the strategies that it took and that were the
    best, its `speedup` over torch.func's default.

    rows: of cases, with `where`. A problem is a contest on a device, eagerly, whole or in the same
    chunks; one that no strategy solves in every pass is left out. A choice without a time has its
    `status` and `reason`; of the two that are no choosers that may be "not asked".
    """
    here = rows[(rows["execution"] == "eager") & rows["exact"].astype(bool)]
    here = here.assign(chunk=here["chunk"].map(_chunk))
    timed = passes(here).join(here[["where", "chunk"]])
    logs = dict(list(timed.assign(log_s=np.log(timed["rank_s"])).groupby(_KEY)))
    found = [
        line
        for problem, group in here.groupby(_KEY, sort=False)
        if problem in logs and group["strategy"].isin(CHOOSERS).any()
        for line in _lines(group, logs[problem])
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _chunk(given: Any) -> str:
    return "" if pd.isna(given) else words.chunk(given)


def _lines(group: pd.DataFrame, timed: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines of the choices of one problem."""
    logs = timed.pivot_table(index="pass", columns="strategy", values="log_s")
    logs = logs.dropna(axis="columns")
    strategies = [name for name in logs if name not in CHOOSERS]
    if not strategies:
        return []
    operator = group["operator"].iloc[0]
    picked = _picked(logs[strategies])
    best = " or ".join(dict.fromkeys(picked.values())) or logs[strategies].mean().idxmin()
    common = {name: group[name].iloc[0] for name in [*_KEY, "operator"]}
    choices = {name: name for name in CHOOSERS if (group["strategy"] == name).any()}
    choices |= {TORCH_FUNC: DEFAULTS.get(operator, ""), LOOP: LOOPS.get(operator, "")}
    return [
        common
        | {"choice": choice, "K": len(logs), "best": best}
        | _choice(group[group["strategy"] == name], logs, picked, name)
        | {"speedup": _speedup(logs, name, choices[TORCH_FUNC])}
        for choice, name in choices.items()
    ]


def _picked(logs: pd.DataFrame) -> dict[int, str]:
    """For the passes of each parity the best of the others; see NOTE [honest regret]."""
    parity = logs.index % 2
    halves = {half: logs[parity != half] for half in sorted(set(parity))}
    return {half: str(own.mean().idxmin()) for half, own in halves.items() if len(own)}


def _choice(
    own: pd.DataFrame, logs: pd.DataFrame, picked: Mapping[int, str], name: str
) -> dict[str, Any]:
    if own.empty:
        return {"status": "not asked", "reason": "", "took": name}
    status = worst_status(own["status"])
    reason = own.loc[own["status"] == status, "reason"].iloc[0]
    took = "; ".join(taken(own["chosen"])) if name in CHOOSERS else name
    row = {"status": status, "reason": reason, "took": took}
    if status == "ok" and name not in logs:
        return row | {"status": "incomplete", "reason": "it was not measured in every pass"}
    if status != "ok" or not picked:
        return row
    known = [k for k in logs.index if k % 2 in picked]
    mean, low, high = interval([logs.loc[k, name] - logs.loc[k, picked[k % 2]] for k in known])
    row |= dict(zip(("regret", "low", "high"), np.exp([mean, low, high]), strict=True))
    return row | {"half_width": float(np.exp((high - low) / 2) - 1)}


def _speedup(logs: pd.DataFrame, name: str, default: str) -> float:
    if name not in logs or default not in logs:
        return float("nan")
    return float(np.exp((logs[default] - logs[name]).mean()))


def summary(table: pd.DataFrame, by: Sequence[str] = ("where", "choice")) -> pd.DataFrame:
    """One line a choice and place, or by what else is asked: of its problems how many were
    `judged`, and how many it left without a time (`silent`, in no other number); `mean`, geometric,
    with its interval over problems, `median`, what one in ten is above (`tenth`), `worst`, how many
    are `within` each factor of `WITHIN`; the geometric `speedup` over torch.func's defaults, where
    both have a time (`compared`)."""
    groups = table.groupby(list(by), sort=False)
    ranked = sorted(groups, key=lambda found: CHOICES.index(found[0][by.index("choice")]))
    lines = [dict(zip(by, key, strict=True)) | _summed(group) for key, group in ranked]
    return pd.DataFrame(lines, columns=[*by, *SUMMARY])


def _summed(group: pd.DataFrame) -> dict[str, Any]:
    judged, ratios = group[group["regret"].notna()], group["speedup"].dropna()
    row: dict[str, Any] = {"problems": len(group), "judged": len(judged)}
    row |= {"silent": int((group["status"] != "ok").sum()), "compared": len(ratios)}
    if len(ratios):
        row |= _exponentials("speedup", "speedup_low", "speedup_high", logs=np.log(ratios))
    if judged.empty:
        return row
    regret, worst = judged["regret"], judged.loc[judged["regret"].idxmax()]
    row |= _exponentials("mean", "low", "high", logs=np.log(regret))
    row |= {"median": regret.median(), "tenth": regret.quantile(0.9), "worst": worst["regret"]}
    row |= {"worst_low": worst["low"], "worst_high": worst["high"]}
    row |= {"worst_half": worst["half_width"], "worst_contest": worst["contest"]}
    return row | {"within": tuple(int((regret <= tau).sum()) for tau in WITHIN)}


def _exponentials(*names: str, logs: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, np.exp(interval(logs)), strict=True))


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """`where`, `choice`, `tau`, `share` of its problems that a choice solves within tau times the
    best. A chooser that leaves one without a time never comes near; of the others such problems are
    left out."""
    asked = table[table["choice"].isin(CHOOSERS) | table["regret"].notna()]
    groups = {key: group["regret"] for key, group in asked.groupby(["where", "choice"], sort=False)}
    return pd.DataFrame(
        [
            {"where": where, "choice": choice, "tau": tau, "share": float((own <= tau).mean())}
            for (where, choice), own in sorted(groups.items(), key=lambda g: CHOICES.index(g[0][1]))
            for tau in TAUS
        ],
        columns=["where", "choice", "tau", "share"],
    )


def counted(took: pd.Series) -> str:
    """`nested-jvp 5, taylor2 3`: in how many problems each strategy was taken, the most first."""
    names = Counter(name for each in took if each for name in each.split("; "))
    said = [f"{name} {count}" for name, count in names.most_common()]
    return ", ".join(said) or words.NOTHING


def sentences(table: pd.DataFrame) -> list[str]:
    """One sentence a chooser and place, and one for what they are measured by."""
    if table.empty:
        return []
    lines, several = summary(table), table["where"].nunique() > 1
    choosers = lines[lines["choice"].isin(CHOOSERS)]
    found = [_sentence(line, several) for _, line in choosers.iterrows()]
    others = lines[~lines["choice"].isin(CHOOSERS) & lines["mean"].notna()]
    said = [f"{named(line, several)} {words.factor(line['mean'])}" for _, line in others.iterrows()]
    return [*found, *([f"By the same measure: {words.listed(said)}."] if said else [])]


def named(line: Any, several: bool, name: str = "choice") -> str:
    """What a line is of, with where where there are several places."""
    return f"{line[name]} ({line['where']})" if several else str(line[name])


def _sentence(line: pd.Series, several: bool) -> str:
    name = named(line, several)
    silent = f"; no answer in {line['silent']}" if line["silent"] else ""
    if not line["judged"]:
        why = "two passes or more are needed" if line["silent"] < line["problems"] else "no time"
        return f"{name}: not judged in {line['problems']} problems, {why}{silent}."
    faster = ""
    if line["compared"]:
        faster = f"; {words.factor(line['speedup'])} as fast as torch.func's defaults"
    return (
        f"{name}: {with_interval(line, 'mean', 'low', 'high')} the time of the best in the"
        f" geometric mean of {line['judged']} problem{'s' * (line['judged'] != 1)}, at worst"
        f" {with_interval(line, 'worst', 'worst_low', 'worst_high')}{faster}{silent}."
    )


def with_interval(line: Any, value: str, low: str, high: str) -> str:
    """`1.24× (1.20× to 1.28×)`, without the brackets where there is no interval."""
    span = words.factor_interval(line[low], line[high])
    said = words.factor(line[value])
    return said if span == words.NOTHING else f"{said} ({span})"
