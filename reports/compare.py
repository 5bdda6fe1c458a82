"""Two stored result files side by side: ratios, counters, statuses, and on what each was measured.

Their passes were not taken in turn: the machine may have changed between them, and no interval
shows that. So no time is ever called slower, faster or the same here; only a case that fails now,
or is gone, counts against the second file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import exp, nan
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .comparison import COMPARED, Comparison, Judgement, Verdict, by_status, severity
from .load import ResultFileError, Run
from .pairs import barred, reasons, statuses
from .stages import RULES
from .summary import passes

UNPAIRED = "unpaired"


def compare(base: Run, head: Run) -> Judgement:
    """Verdicts on the cases of both files. Raises `ResultFileError` where one holds no rows."""
    for run in (base, head):
        if run.rows.empty:
            raise ResultFileError(f"{run.path} holds no rows: there is nothing to compare")
    why = reasons(base.rows) | reasons(head.rows)
    arms = statuses(base.rows), statuses(head.rows)
    settled = by_status(Comparison(*arms, pd.DataFrame(), barred=barred(base, head), reasons=why))
    before, after = _logs(base.rows), _logs(head.rows)
    both = [case for case in arms[0] if case in arms[1] and case not in settled]
    timed = [_ratio(case, before.get(case), after.get(case)) for case in both]
    counted = _counted(base.rows), _counted(head.rows)
    found = [_with_counters(verdict, *counted) for verdict in [*settled.values(), *timed]]
    notes = (*_warnings(base), *_warnings(head), *environments(base, head))
    judgement = Judgement(tuple(sorted(found, key=severity)), notes=notes)
    return replace(judgement, notes=(*judgement.notes, *_nothing(judgement, base, head)))


def _logs(rows: pd.DataFrame) -> dict[str, Any]:
    timed = passes(rows)
    return {str(case): np.log(group.to_numpy()) for case, group in timed.groupby("id")["rank_s"]}


def _ratio(case: str, before: Any, after: Any) -> Verdict:
    if before is None or after is None:
        return Verdict(case, "not-comparable", "no times in one of the files")
    mean, low, high = welch(before, after)
    return Verdict(case, "unclear", UNPAIRED, exp(mean), np.exp(low).item(), np.exp(high).item())


def welch(before: Any, after: Any) -> tuple[float, float, float]:
    """Difference of means and its 95 % interval without assuming equal variances (Welch, 1947);
    NaN bounds where either has one value."""
    mean = float(np.mean(after) - np.mean(before))
    if min(len(before), len(after)) < 2:
        return mean, nan, nan
    parts = np.array([np.var(each, ddof=1) / len(each) for each in (before, after)])
    if not parts.any():
        return mean, mean, mean
    freedom = np.square(parts.sum()) / (np.square(parts) / [len(before) - 1, len(after) - 1]).sum()
    half = float(stats.t.ppf((1 + RULES.confidence) / 2, freedom) * np.sqrt(parts.sum()))
    return mean, mean - half, mean + half


def _counted(rows: pd.DataFrame) -> dict[str, Mapping[str, float]]:
    ok = rows[(rows["status"] == "ok") & rows["counters"].astype(bool)]
    return {str(case): found for case, found in ok.groupby("id")["counters"].first().items()}


def _with_counters(
    verdict: Verdict,
    base: Mapping[str, Mapping[str, float]],
    head: Mapping[str, Mapping[str, float]],
) -> Verdict:
    """With the counters that both have and that differ: exact, so every difference is real."""
    before, after = base.get(verdict.case, {}), head.get(verdict.case, {})
    names = [name for name in before if name in after and before[name] != after[name]]
    return replace(verdict, counters={name: (before[name], after[name]) for name in names})


def _warnings(run: Run) -> list[str]:
    return [f"{run.path}: {warning}" for warning in run.warnings]


def environments(base: Run, head: Run) -> tuple[str, ...]:
    """A note for each fact of machine, versions and settings that differs."""
    before, after = (run.header.get("environment", {}) for run in (base, head))
    return tuple(
        f"another environment: {name} was {before.get(name)!r} and is {after.get(name)!r}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )


def _nothing(judgement: Judgement, base: Run, head: Run) -> list[str]:
    """Why nothing could be compared, where that is so."""
    words = {verdict.word for verdict in judgement.verdicts}
    if words & set(COMPARED):
        return []
    common = set(base.rows["id"]) & set(head.rows["id"])
    why = "every case of both is not-comparable" if common else "they have no case in common"
    return [f"nothing to compare in {base.path} and {head.path}: {why}"]
