"""What the figures draw, chosen from the answer's tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .answer import Answer
from .summary import BASELINES, passes, sized

# Lines a panel can hold and still be read: the fastest, and the plain way they are measured by.
MOST_LINES = 6
MOST_PANELS = 4
LEAST_SIZES = 3


def problem(contest: str) -> str:
    """A contest without its operator."""
    return contest.partition("/")[2]


def scaling_points(found: Answer, operator: str) -> pd.DataFrame:
    """`panel`, `size`, `way`, `strategy`, `value`, `seconds`, `estimate` of an operator."""
    by_case = dict(list(passes(found.run.rows).groupby("id")))
    lines: dict[str, list[pd.DataFrame]] = {}
    for (of, way, workload, size), group in sized(found.cases):
        plain = group["execution"].eq("eager").all() and not group["create_graph"].any()
        if of != operator or len(group) < LEAST_SIZES or not plain:
            continue
        lines.setdefault(f"{workload}, {size}", []).append(
            _line(group, way, size, by_case).assign(panel=f"{workload}, {size}")
        )
    kept = [line for panel in lines.values() for line in _readable(panel, operator)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def _line(
    group: pd.DataFrame, way: str, size: str, by_case: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    rows = []
    for _, case in group.iterrows():
        common = {"way": way, "strategy": case["strategy"], "size": size, "value": case["value"]}
        rows.append({**common, "seconds": case["seconds"], "estimate": True})
        for each in by_case[case["id"]]["rank_s"]:
            rows.append({**common, "seconds": each, "estimate": False})
    return pd.DataFrame(rows)


def _readable(panel: list[pd.DataFrame], operator: str) -> list[pd.DataFrame]:
    """The fastest lines at the panel's sizes, and the plain way."""
    speed = sorted(panel, key=lambda line: float(np.log(line["seconds"]).mean()))
    plain = [line for line in panel if line["strategy"].iloc[0] == BASELINES[operator]]
    chosen = speed[:MOST_LINES]
    return chosen + [line for line in plain if not any(line is kept for kept in chosen)]


def slow_down_points(found: Answer, operator: str) -> pd.DataFrame:
    """`way`, `problem`, `factor` of an operator, eager and traced side by side."""
    ok = found.cases[(found.cases["operator"] == operator) & found.cases["factor"].notna()]
    return ok.assign(problem=[problem(contest) for contest in ok["contest"]])


def memory_points(found: Answer) -> pd.DataFrame:
    """`panel`, `way`, `strategy`, `seconds`, `peak_bytes`, `named`: each operator's contest with
    the highest peak; the ways on the lower left border have their names written."""
    ok = found.cases[(found.cases["status"] == "ok") & (found.cases["peak_bytes"] > 0)]
    ok = ok[ok["operator"].isin(["jacobian", "hessian", "laplacian", "divergence"])]
    if ok.empty:
        return pd.DataFrame()
    panels = []
    for _, group in ok.groupby("operator"):
        largest = group.loc[group["peak_bytes"].idxmax(), "contest"]
        contest = group[group["contest"] == largest].sort_values("seconds")
        least = contest["peak_bytes"].cummin().shift(fill_value=np.inf)
        panels.append(contest.assign(panel=largest, named=contest["peak_bytes"] < least))
    return pd.concat(panels[:MOST_PANELS], ignore_index=True)
