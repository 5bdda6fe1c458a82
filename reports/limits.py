"""How far each case is from what the machine can do, at the rates that were measured in its run.

Two limits: of the work of the best known method for the problem (`floor_s`, η), and of the work
that the case itself was counted to do (`limit_s`, `eta_own`). The rates are those of the run's
controls (a matrix product, a copy, the launch of an operation); the best known method's products
were timed at their own shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .estimator import of_pass, rounds
from .load import Run

# A control counts one of these; of a case the counter of what that bounds.
BOUNDS: Mapping[str, str] = {"flops": "flops", "bytes": "storage_bytes", "ops": "ops"}
NAMES = {"flops": "matrix product", "bytes": "bandwidth", "ops": "launches"}
_PLACE = ["device", "threads"]


def rates(controls: pd.DataFrame) -> pd.DataFrame:
    """`[(device, threads, dtype), kind]`: the most of each kind that was done in a second; what has
    no control in a dtype is not known there."""
    ok = controls[controls["status"] == "ok"]
    rows = []
    for counters, device, threads, dtype, seconds in zip(
        *(ok[name] for name in ("counters", "device", "threads", "dtype")), rounds(ok), strict=True
    ):
        ((kind, count),) = counters.items()
        rows.append((device, threads, dtype, kind, count / of_pass(seconds)))
    columns = [*_PLACE, "dtype", "kind", "rate"]
    table = pd.DataFrame(rows, columns=columns)
    whole = table.pivot_table(
        index=[*_PLACE, "dtype"], columns="kind", values="rate", aggfunc="max"
    )
    return whole.reindex(columns=list(BOUNDS))


def limited(cases: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The cases of a run, with what is known of their limits, nan where it is not.

    `limit_s`: the largest of the times that the counted work takes, `bound` by which of them,
    `eta_own` the limit over the time. `floor_s`, `floor_bound`, `eta`: the same of the best known
    method, of `floor_flops`, which are `floor_passes` evaluations of f.
    """
    known = rates(run.controls)
    here = known.reindex(pd.MultiIndex.from_frame(cases[[*_PLACE, "dtype"]])).set_axis(cases.index)
    own = {kind: cases[counter].astype(float) / here[kind] for kind, counter in BOUNDS.items()}
    found, floors = _largest(pd.DataFrame(own)), _floors(cases, run)
    least = _largest(_seconds(cases, floors, here, known))
    time, passes = cases["evaluate_s"], cases["forward_flops_ratio"] / cases["flops"]
    return cases.assign(
        limit_s=found["seconds"],
        bound=found["bound"],
        eta_own=found["seconds"] / time,
        floor_flops=floors["flops"],
        floor_passes=floors["flops"] * passes,
        floor_s=least["seconds"],
        floor_bound=least["bound"],
        eta=least["seconds"] / time,
    )


def _largest(seconds: pd.DataFrame) -> pd.DataFrame:
    """The largest of the times by kind, where all are known, and which it is."""
    whole = seconds.max(axis=1, skipna=False).astype(float)
    places = seconds.fillna(-np.inf).to_numpy().argmax(axis=1) if len(seconds) else []
    names = pd.Series([NAMES[list(BOUNDS)[k]] for k in places], index=seconds.index, dtype=object)
    return pd.DataFrame({"seconds": whole, "bound": names.where(whole.notna(), None)})


def _floors(cases: pd.DataFrame, run: Run) -> pd.DataFrame:
    """`flops`, `bytes`, `launches` of each case's floor, and `products_s`, the geometric mean over
    passes of what its products took."""
    ok = run.rows[(run.rows["status"] == "ok") & run.rows["floor"].map(bool)]
    timed = [of_pass(each) for each in rounds(ok, "products_s", "products_cpu_s")]
    logs = pd.Series(np.log(timed), index=ok["id"], dtype=float).groupby(level=0).mean()
    by_case: dict[Any, Mapping[str, int]] = dict(zip(ok["id"], ok["floor"], strict=True))
    fields = ["flops", "bytes", "launches"]
    table = [[by_case.get(name, {}).get(field) for field in fields] for name in cases["id"]]
    found = pd.DataFrame(table, columns=fields, index=cases.index, dtype=float)
    return found.assign(products_s=np.exp(cases["id"].map(logs).astype(float)))


def _seconds(
    cases: pd.DataFrame, floors: pd.DataFrame, here: pd.DataFrame, known: pd.DataFrame
) -> pd.DataFrame:
    """What the floors' work takes, by kind: products as they were timed, else by their rate."""
    # A copy and a launch are what they are in any dtype.
    places = pd.MultiIndex.from_frame(cases[_PLACE])
    anywhere = known.groupby(level=_PLACE).max().reindex(places).set_axis(cases.index)
    return pd.DataFrame(
        {
            "flops": floors["products_s"].fillna(floors["flops"] / here["flops"]),
            "bytes": floors["bytes"] / anywhere["bytes"],
            "ops": floors["launches"] / anywhere["ops"],
        }
    )


def against(cases: pd.DataFrame) -> pd.DataFrame:
    """Exact cases with the floor of every problem: where none is declared, the least own limit of
    its ways, and `cheapest`, the strategy that has it (else None)."""
    found = cases.assign(cheapest=pd.Series(None, index=cases.index, dtype=object))
    for _, group in cases.groupby(["where", "contest"], sort=False):
        limits = group["limit_s"].dropna()
        if group["floor_s"].notna().any() or limits.empty:
            continue
        best = group.loc[limits.idxmin()]
        found.loc[group.index, "floor_s"] = best["limit_s"]
        found.loc[group.index, "floor_passes"] = best["forward_flops_ratio"]
        found.loc[group.index, "floor_bound"] = best["bound"]
        found.loc[group.index, "cheapest"] = best["strategy"]
        found.loc[group.index, "eta"] = best["limit_s"] / group["evaluate_s"]
    return found
