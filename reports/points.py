"""What the figures draw, chosen from the answer's tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from .answer import Answer
from .blocks import ordered, rank
from .exponents import ABOVE_FLOOR, launch_seconds, sized
from .schema import LOOPS
from .summary import passes

# Lines a panel can hold and still be read: the fastest, and the plain way they are measured by.
MOST_LINES = 6
# Of a case at a size.
MOST_DOTS = 3
MOST_PANELS = 4
LEAST_SIZES = 3
LEAST_PROBLEMS = 3
TAUS = (1, 1.05, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100)

# A group of cases that differ in one size: operator, way, workload, size, where, cases by size.
Line = tuple[str, str, str, str, str, pd.DataFrame]


def problem(contest: str) -> str:
    """A contest without its operator, its parts apart."""
    return str(contest).partition("/")[2].replace("/", " ")


def plain(cases: pd.DataFrame) -> pd.DataFrame:
    """Eager evaluations, whole: what the strategies themselves are compared by."""
    here = (cases["execution"] == "eager") & ~cases["create_graph"].astype(bool)
    return cases[here & cases["chunk"].isna()]


def _lines(cases: pd.DataFrame, least: int) -> Iterator[Line]:
    for where, own in plain(cases).groupby("where", sort=False):
        for (operator, way, workload, size), group in sized(own):
            if len(group) >= least:
                yield operator, way, workload, size, str(where), group


def scaling_points(found: Answer, operator: str) -> pd.DataFrame:
    """`panel`, `size`, `way`, `strategy`, `value`, `seconds`, `estimate`, `bound` (by launching) of
    an operator; an estimate, or a single pass."""
    timed = passes(found.rows[found.rows["operator"] == operator]).join(found.rows["where"])
    by_case = dict(list(timed.groupby(["where", "id"])["rank_s"]))
    floors = {where: launch_seconds(own) for where, own in found.cases.groupby("where")}
    several = len(found.runs) > 1
    lines: dict[str, list[pd.DataFrame]] = {}
    own = found.cases[found.cases["operator"] == operator]
    for _, way, workload, size, where, group in _lines(own, LEAST_SIZES):
        panel = f"{workload}, {size}{f' ({where})' if several else ''}"
        bound = group["evaluate_s"] < ABOVE_FLOOR * floors[where] * group["ops"].fillna(0)
        points = _line(group.assign(bound=bound), way, size, by_case)
        lines.setdefault(panel, []).append(points.assign(panel=panel))
    kept = [line for panel in lines.values() for line in _readable(panel, operator)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def _line(group: pd.DataFrame, way: str, size: str, by_case: dict[Any, Any]) -> pd.DataFrame:
    rows = []
    for _, case in group.iterrows():
        common = {"way": way, "strategy": case["strategy"], "size": size, "value": case["value"]}
        common["bound"] = case["bound"]
        rows.append({**common, "seconds": case["seconds"], "estimate": True})
        for each in _shown(by_case[case["where"], case["id"]]):
            rows.append({**common, "seconds": each, "estimate": False})
    return pd.DataFrame(rows)


def _shown(seconds: pd.Series) -> list[float]:
    """The passes to be drawn: of many their ends, between which the others lie."""
    each = sorted(seconds)
    return each if len(each) <= MOST_DOTS else [each[0], each[-1]]


def _readable(panel: list[pd.DataFrame], operator: str) -> list[pd.DataFrame]:
    """The fastest lines at the panel's sizes, and the plain way."""
    speed = sorted(panel, key=lambda line: float(np.log(line["seconds"]).mean()))
    loop = [line for line in panel if line["strategy"].iloc[0] == LOOPS[operator]]
    chosen = speed[:MOST_LINES]
    return chosen + [line for line in loop if not any(line is kept for kept in chosen)]


def profile_points(found: Answer) -> pd.DataFrame:
    """`panel`, `strategy`, `tau`, `share` of the operators with several problems: the share of the
    problems that a strategy solves within tau times the best eager time."""
    cases = plain(found.cases)
    panels = []
    for operator in ordered(list(cases["operator"])):
        own = cases[cases["operator"] == operator]
        problems = own[["where", "contest"]].drop_duplicates()
        ok = own[own["status"] == "ok"]
        if len(problems) < LEAST_PROBLEMS or ok.empty:
            continue
        best = ok.groupby(["where", "contest"])["seconds"].transform("min")
        ratios = (ok["seconds"] / best).astype(float)
        shares = {
            name: [float((ratios[group.index] <= tau).sum()) / len(problems) for tau in TAUS]
            for name, group in ok.groupby("strategy", sort=True)
        }
        height = sorted(shares, key=lambda name: (-sum(shares[name]), name))
        chosen = dict.fromkeys([*height[:MOST_LINES], LOOPS.get(operator, height[0])])
        panels += [
            {"panel": operator, "strategy": name, "tau": tau, "share": share}
            for name in chosen
            if name in shares
            for tau, share in zip(TAUS, shares[name], strict=True)
        ]
    return pd.DataFrame(panels)


def winner_points(found: Answer) -> pd.DataFrame:
    """`n`, `m`, `where`, `way`, `margin`, `tie`, `skew`, `problem`: of each number of inputs and
    outputs the fastest eager way of the Jacobian, at the batch nearest to sixteen rows."""
    cases = plain(found.cases)
    ok = cases[(cases["operator"] == "jacobian") & (cases["status"] == "ok")]
    ok = ok[ok["dtype"] == "float32"] if (ok["dtype"] == "float32").any() else ok
    cells = []
    for (where, n, m), group in ok.groupby(["where", "n", "m"]):
        nearest = (np.log(group["B"].astype(float)) - np.log(16)).abs()
        contest = group.loc[nearest.idxmin(), "contest"]
        ways = group[group["contest"] == contest].sort_values("seconds")
        if len(ways) < 2:
            continue
        first, second = ways.iloc[0], ways.iloc[1]
        cell = {"n": n, "m": m, "where": where, "way": first["way"], "problem": problem(contest)}
        cell |= {"margin": second["seconds"] / first["seconds"], "skew": float(np.log(n / m))}
        # Their intervals reach one another: neither has won.
        cells.append(cell | {"tie": bool(first["high"] >= second["low"])})
    return pd.DataFrame(cells)


def crossing_points(found: Answer) -> pd.DataFrame:
    """`operator`, `workload`, `size`, `where`, `below`, `low`, `above`, `high`: sizes next to each
    other at which different eager ways are the fastest."""
    lines: dict[tuple[str, str, str, str], list[pd.DataFrame]] = {}
    for operator, way, workload, size, where, group in _lines(found.cases, 2):
        key = (operator, workload, size, where)
        lines.setdefault(key, []).append(group[["value", "seconds"]].assign(way=way))
    crossed = []
    for key, ways in sorted(lines.items(), key=lambda line: rank(line[0][0])):
        for below, above in pairwise(_best(pd.concat(ways))):
            if below["way"] != above["way"]:
                row = dict(zip(("operator", "workload", "size", "where"), key, strict=True))
                row |= {"below": below["way"], "low": below["value"]}
                crossed.append(row | {"above": above["way"], "high": above["value"]})
    return pd.DataFrame(crossed)


def _best(lines: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each size the fastest, sizes in order."""
    ordered = lines.sort_values(["value", "seconds"]).groupby("value", sort=True).head(1)
    return [dict(row) for _, row in ordered.iterrows()]


def _apart(points: pd.DataFrame) -> list[Any]:
    """Of points in the order of their times those whose names do not cover one another."""
    kept: list[Any] = []
    for index, (seconds, size) in points[["seconds", "peak_bytes"]].iterrows():
        near = [
            np.log10(seconds / points.loc[k, "seconds"]) < 0.5
            and abs(np.log10(size / points.loc[k, "peak_bytes"])) < 0.15
            for k in kept
        ]
        kept += [] if any(near) else [index]
    return kept


def memory_points(found: Answer) -> pd.DataFrame:
    """`panel`, `way`, `strategy`, `seconds`, `peak_bytes`, `rank` (1 is the fastest), `named`: each
    operator's contest with the highest peak; the ways on the lower left border have their names
    written where they fit."""
    ok = found.cases[(found.cases["status"] == "ok") & (found.cases["peak_bytes"] > 0)]
    ok = ok[ok["operator"].isin(["jacobian", "hessian", "laplacian", "divergence"])]
    if ok.empty:
        return pd.DataFrame()
    panels = []
    for (_, where), group in ok.groupby(["operator", "where"], sort=True):
        largest = group.loc[group["peak_bytes"].idxmax(), "contest"]
        contest = group[group["contest"] == largest].sort_values("seconds")
        least = contest["peak_bytes"].cummin().shift(fill_value=np.inf)
        title = largest if str(where) in ("cpu", "cuda") else f"{largest} ({where})"
        border = contest[contest["peak_bytes"] < least]
        named = contest.index.isin(_apart(border))
        panels.append(contest.assign(panel=title, named=named, rank=range(1, len(contest) + 1)))
    return pd.concat(panels[:MOST_PANELS], ignore_index=True)
