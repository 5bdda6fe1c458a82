"""Estimates with intervals, factors, speed-ups: table in, table out.

NOTE [intervals]
The pass, a fresh process, is the unit of replication: rounds of one process share its memory layout
and its luck. The estimate of a case is the geometric mean of its passes, the interval a t interval
on the logarithms. Two cases are compared pass by pass, since what disturbs a pass disturbs both.

NOTE [between runs]
A machine drifts as a whole, slower than the passes of a run follow each other: intervals of passes
alone were apart for 8 % of the pairs of runs of unchanged code. So the interval of a time, unlike
that of a ratio within a run, has a second part, by quadrature: the standard deviation between runs,
as measured (docs/method.md, "Between runs").
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .estimator import of_pass, rounds
from .schema import LOOPS

CONFIDENCE = 0.95
# Of the logarithm of all times together.
BETWEEN_RUNS = 0.013
AXIS_COLUMNS = [
    *("id", "contest", "way", "operator", "strategy", "execution", "workload", "params"),
    *("B", "n", "m", "dtype", "device", "threads", "create_graph", "chunk", "layout"),
]

# From worst to best: a case is what its worst pass is.
_SEVERITY = ("wrong", "crashed", "error", "oom", "timeout", "skipped", "unsupported", "ok")


def interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """Mean and t interval of logarithms; without a second value there is no interval (nan)."""
    values = np.asarray(logs, dtype=float)
    mean, K = float(values.mean()), len(values)
    if K < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, K - 1) * values.std(ddof=1) / np.sqrt(K)
    return mean, mean - float(half), mean + float(half)


def time_interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """Mean and interval of the logarithms of a time, see NOTE [between runs]."""
    mean, low, _ = interval(logs)
    half = float(np.hypot(mean - low, stats.norm.ppf((1 + CONFIDENCE) / 2) * BETWEEN_RUNS))
    return mean, mean - half, mean + half


def passes(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a case and pass, seconds: `evaluate_s` of the evaluation, `train_s` of a training
    step, `rank_s`, by which it is ranked: training where the case can train, and `forward_s` of f
    itself; nan where the file does not say."""
    ok = rows[rows["status"] == "ok"]
    found = ok[["id", "contest", "way", "operator", "strategy", "pass", "create_graph"]].copy()
    found["evaluate_s"] = [of_pass(seconds) for seconds in rounds(ok)]
    found["train_s"] = [of_pass(seconds) for seconds in rounds(ok, "train_s", "train_cpu_s")]
    found["forward_s"] = [of_pass(seconds) for seconds in rounds(ok, "forward_s", "forward_cpu_s")]
    trains = found["create_graph"].astype(bool)
    found["rank_s"] = found["train_s"].where(trains, found["evaluate_s"])
    return found.dropna(subset=["rank_s"])


def estimates(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a case: its status, and where it is ok in every pass its times with intervals.

    `forward_passes`: `evaluate_s` over `forward_s`, pass by pass; `forward_flops_ratio` the same in
    exact FLOPs, nan where either has none. From files without them these columns are nan.
    """
    timed = passes(rows)
    logs = dict(list(timed.groupby("id")))
    table = [_estimate(group, logs.get(name)) for name, group in rows.groupby("id", sort=False)]
    columns = [
        *AXIS_COLUMNS,
        *("status", "reason", "K", "seconds", "low", "high", "half_width", "evaluate_s", "train_s"),
        *("prepare_s", "first_s", "peak_bytes", "ops", "digits", "relative_error", "tolerance"),
        *("reference", "reference_error", "worst_entry", "fallbacks", "forward_s"),
        *("forward_passes", "forward_passes_low", "forward_passes_high", "forward_flops_ratio"),
        *("flops", "elements", "storage_bytes", "exact", "samples", "std_error", "chosen"),
    ]
    return pd.DataFrame(table, columns=columns)


def worst_status(statuses: Iterable[str]) -> str:
    """What a case is that had these statuses in its passes."""
    return min(statuses, key=_SEVERITY.index)


def taken(chosen: Iterable[object]) -> list[str]:
    """The strategies that a chooser took, in the order of its passes, each once."""
    return list(dict.fromkeys(name for name in chosen if isinstance(name, str)))


def _estimate(group: pd.DataFrame, timed: pd.DataFrame | None) -> dict[str, Any]:
    worst = worst_status(group["status"])
    row: dict[str, Any] = {name: group[name].iloc[0] for name in AXIS_COLUMNS}
    row["status"] = worst
    row["reason"] = group.loc[group["status"] == worst, "reason"].iloc[0]
    row["K"], row["exact"] = len(group), bool(group["exact"].iloc[0])
    row["chosen"] = "; ".join(taken(group["chosen"])) or None
    row |= _precision(group)
    errors = [error for error in group["error"] if error]
    if errors:
        most = max(errors, key=lambda error: error["relative"])
        row["digits"], row["relative_error"] = most["digits"], most["relative"]
        row["tolerance"], row["reference"] = most["tolerance"], most["method"]
        row["reference_error"], row["worst_entry"] = most.get("bound"), most.get("elementwise")
    if worst != "ok" or timed is None:
        return row
    mean, low, high = time_interval(np.log(timed["rank_s"]))
    row["seconds"], row["low"], row["high"] = np.exp(mean), np.exp(low), np.exp(high)
    row["half_width"] = np.exp((high - low) / 2) - 1
    for name in ("evaluate_s", "train_s"):
        row[name] = float(np.exp(np.log(timed[name]).mean()))
    row["prepare_s"] = float(group["prepare_s"].astype(float).median())
    row["first_s"] = float(group["first_s"].astype(float).median())
    row["peak_bytes"], row["ops"] = _peak(group), _counter(group, "ops")
    for name in ("fallbacks", "flops", "elements", "storage_bytes"):
        row[name] = _counter(group, name)
    return row | _in_forward_passes(timed, row["flops"], _counter(group, "forward_flops"))


def _in_forward_passes(timed: pd.DataFrame, flops: float, forward_flops: float) -> dict[str, float]:
    found = {"forward_flops_ratio": flops / forward_flops} if flops and forward_flops else {}
    known = timed.dropna(subset=["evaluate_s", "forward_s"])
    if len(known):
        found["forward_s"] = float(np.exp(np.log(known["forward_s"]).mean()))
        logs = interval(np.log(known["evaluate_s"] / known["forward_s"]))
        names = ("forward_passes", "forward_passes_low", "forward_passes_high")
        found |= dict(zip(names, np.exp(logs), strict=True))
    return found


def _precision(group: pd.DataFrame) -> dict[str, float]:
    """Of an estimator: its samples, and the standard error of one evaluation."""
    known = [each for each in group["estimate"] if each]
    if not known:
        return {}
    error = float(np.median([each["std_error"] for each in known]))
    return {"samples": known[0]["samples"], "std_error": error}


def _counter(group: pd.DataFrame, name: str) -> float:
    values = [counters[name] for counters in group["counters"] if name in counters]
    return float(values[0]) if values else float("nan")


def _peak(group: pd.DataFrame) -> float:
    """Bytes at the peak: the device allocator's where it was asked, else those of the storages; of
    a training step where one was counted, since by that the case is ranked."""
    measured = group["allocator_peak_bytes"].dropna()
    if len(measured):
        return float(measured.max())
    trained = _counter(group, "train_peak_bytes")
    return _counter(group, "peak_bytes") if np.isnan(trained) else trained


def by_pass(rows: pd.DataFrame, contest: str) -> pd.DataFrame:
    """`[pass, way]`: log seconds of what is ok in every pass of a contest."""
    timed = passes(rows)
    timed = timed[timed["contest"] == contest].assign(log_s=lambda t: np.log(t["rank_s"]))
    table = timed.pivot_table(index="pass", columns="way", values="log_s")
    return table.dropna(axis="columns")


def factors(rows: pd.DataFrame) -> pd.DataFrame:
    """Of every ok case its factor to the best of its contest and its speed-up over the plain way.

    Columns `factor`, `factor_low`, `factor_high`, `speedup`, `speedup_low`, `speedup_high`, `tie`
    (its interval reaches the best). Only from cases that are ok in every pass.
    """
    timed = passes(rows).assign(log_s=lambda t: np.log(t["rank_s"]))
    found: list[dict[str, Any]] = []
    for contest, group in timed.groupby("contest", sort=False):
        logs = group.pivot_table(index="pass", columns="id", values="log_s").dropna(axis="columns")
        if logs.empty:
            continue
        best = logs.mean().idxmin()
        plain = group[group["strategy"] == group["operator"].map(LOOPS)]
        eager = [i for i in plain["id"] if i in logs and "execution=" not in i]
        found += [_compared(contest, name, logs, best, eager[:1]) for name in logs.columns]
    columns = ["id", "contest", "factor", "factor_low", "factor_high", "tie"]
    return pd.DataFrame(found, columns=[*columns, "speedup", "speedup_low", "speedup_high"])


def payback(cases: pd.DataFrame) -> pd.DataFrame:
    """After how many calls an execution has earned what it takes to prepare.

    Against the eager way of the same strategy in the same contest:
    `pays_back_calls = (prepare_s - eager prepare_s) / (eager seconds - seconds)`, zero where it
    takes no longer to prepare; missing for eager itself and where it never pays.
    """
    alike = ["contest", "strategy", "chunk"]
    times = ["prepare_s", "seconds"]
    table = cases.assign(chunk=cases["chunk"].astype(str))
    eager = table[table["execution"] == "eager"][[*alike, *times]]
    found = table[table["execution"] != "eager"].merge(eager, on=alike, suffixes=("", "_eager"))
    saved = (found["seconds_eager"] - found["seconds"]).astype(float)
    cost = (found["prepare_s"] - found["prepare_s_eager"]).astype(float)
    found["pays_back_calls"] = np.ceil(cost.clip(lower=0) / saved).where(saved > 0)
    return found[["id", "pays_back_calls"]]


def _compared(
    contest: Hashable, name: str, logs: pd.DataFrame, best: str, plain: list[str]
) -> dict[str, Any]:
    mean, low, high = interval(logs[name] - logs[best])
    row: dict[str, Any] = {"id": name, "contest": contest, "factor": np.exp(mean)}
    row["factor_low"], row["factor_high"] = np.exp(low), np.exp(high)
    row["tie"] = name == best or bool(len(logs) > 1 and low <= 0)
    if plain:
        mean, low, high = interval(logs[plain[0]] - logs[name])
        row["speedup"], row["speedup_low"], row["speedup_high"] = np.exp([mean, low, high])
    return row


def own_share(rows: pd.DataFrame, wall_s: float | None) -> float:
    """Share of a run's wall time that is the suite's own: neither prepare, nor references, nor
    counters, nor calls of plans and of f; nan where the file does not say."""
    spent = sum(sum(each.values()) for each in rows["spent_s"])
    return 1 - spent / wall_s if wall_s and spent else float("nan")


def statuses(table: pd.DataFrame) -> dict[str, int]:
    """How many cases have each status, worst first."""
    counts = table["status"].value_counts()
    return {status: int(counts[status]) for status in _SEVERITY if status in counts}
