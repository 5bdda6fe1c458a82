"""Two arms' result files as the judge takes them: statuses, paired differences, who is barred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .comparison import Comparison
from .load import Run
from .schema import RACE
from .summary import passes, worst_status


def paired(base: Sequence[Run], head: Sequence[Run]) -> Comparison:
    """The comparison of two arms measured in turn: one file an arm for the screen, and where there
    was a confirmation a second one. Pass k of one arm belongs to pass k of the other."""
    before, after = _all_rows(base), _all_rows(head)
    stages = [_stage(b, h) for b, h in zip(base, head, strict=True)]
    return Comparison(
        statuses(before),
        statuses(after),
        stages[0],
        stages[1] if len(stages) > 1 else None,
        controls=frozenset(base[0].controls["id"]),
        barred=barred(base[0], head[0]),
        reasons=reasons(before) | reasons(after),
    )


def _all_rows(runs: Sequence[Run]) -> pd.DataFrame:
    return pd.concat([run.rows for run in runs], ignore_index=True)


def _stage(base: Run, head: Run) -> pd.DataFrame:
    # A pass that was to be measured and left nothing is a missing pair, not a shorter stage.
    asked = [range(run.header.get("passes") or 0) for run in (base, head)]
    before, after = (_timed(run) for run in (base, head))
    seen = {*before["pass"], *after["pass"]}
    return differences(before, after, sorted(seen.union(*asked)))


def _timed(run: Run) -> pd.DataFrame:
    return pd.concat([run.rows, run.controls], ignore_index=True) if len(run.controls) else run.rows


def differences(base: pd.DataFrame, head: pd.DataFrame, expected: Sequence[int]) -> pd.DataFrame:
    """`D[pass, case]` = log(head) − log(base) of the times by which cases are ranked, a line for
    each expected pass; NaN where either arm has none."""
    before, after = _logs(base), _logs(head)
    both = [case for case in before.columns if case in after.columns]
    return (after[both] - before[both]).reindex(expected)


def _logs(rows: pd.DataFrame) -> pd.DataFrame:
    timed = passes(rows)
    return timed.assign(log_s=np.log(timed["rank_s"])).pivot_table(
        index="pass", columns="id", values="log_s", sort=False
    )


def statuses(rows: pd.DataFrame) -> dict[str, str]:
    """Of each case the worst status of its passes."""
    groups = rows.groupby("id", sort=False)["status"]
    return {str(case): worst_status(found) for case, found in groups}


def reasons(rows: pd.DataFrame) -> dict[str, str]:
    """Of each case that is not ok in some pass, the reason of its worst one."""
    worst = rows["id"].map(statuses(rows))
    bad = rows[(rows["status"] != "ok") & (rows["status"] == worst)]
    return {str(case): str(found) for case, found in bad.groupby("id")["reason"].first().items()}


def barred(base: Run, head: Run) -> dict[str, str]:
    """Cases whose times must not be compared: another contract, or version of a workload; those of
    `auto-race`, which may choose another strategy of the same code."""
    contracts = base.header.get("contract"), head.header.get("contract")
    found = {}
    for case, name in zip(head.rows["id"], head.rows["workload"], strict=True):
        versions = _version(base, name), _version(head, name)
        if contracts[0] != contracts[1]:
            found[str(case)] = f"contract {contracts[1]} of strategies, in base {contracts[0]}"
        elif versions[0] != versions[1]:
            found[str(case)] = f"version {versions[1]} of workload {name}, in base {versions[0]}"
    return _raced(head.rows) | reshaped(base.rows, head.rows) | found


def _raced(rows: pd.DataFrame) -> dict[str, str]:
    said = "it chooses by measuring, and may choose another strategy in another run"
    return {str(case): said for case in rows.loc[rows["strategy"] == RACE, "id"]}


def reshaped(base: pd.DataFrame, head: pd.DataFrame) -> dict[str, str]:
    """Cases of another shape: the name of a user's own workload says nothing of it."""
    before, after = _shapes(base), _shapes(head)
    return {
        case: f"x and f of {after[case]} in a row, in base {before[case]}"
        for case in after
        if before.get(case, after[case]) != after[case]
    }


def _shapes(rows: pd.DataFrame) -> dict[str, str]:
    shapes = zip(rows["id"], rows["in_shape"], rows["out_shape"], strict=True)
    return {str(case): f"{list(inside)} and {list(outside)}" for case, inside, outside in shapes}


def _version(run: Run, workload: str) -> object:
    return run.header.get("workloads", {}).get(workload, {}).get("version", 0)
