"""The history of a suite: times of stored runs as series, where they are cut, where they step.

NOTE [steps]
Logarithms of a run's estimates over their noise, segmented by PELT (Killick, Fearnhead & Eckley,
JASA 107, 2012, "Optimal detection of changepoints with a linear computational cost") with the
squared-error cost. The noise is the robust standard deviation of first differences, which a step
changes in one place only, and at least that between runs of unchanged code. Welch's interval takes
the place of the step as given, although it was chosen by the data: it is a little too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .compare import welch
from .cuts import FORM, cuts, facts, fingerprint
from .load import Run
from .pairs import statuses
from .schema import RACE
from .summary import BETWEEN_RUNS, passes

# Runs, on each side of a step: two alone have no noise that one could know.
SIDE = 3
LEAST = 1.05
# Times log(runs), in squares of the noise. Less finds more steps in noise, more fewer of +10 %: how
# many, simulated, is in docs/regression-tracking.md, section History.
PENALTY = 4.0

POINT = ["id", "control", "machine", "run", "started", "commit", "dirty", *FORM, "seconds"]
STEP = [
    *("id", "control", "machine", "segment", "run", "started", "commit", "dirty", "position"),
    *("ratio", "low", "high", "before", "after", "before_s", "after_s"),
]
SERIES = [
    *("id", "control", "machine", "segment", "first", "last", "runs", "missing", "first_s"),
    *("last_s", "trend", "trend_low", "trend_high"),
]


class HistoryError(ValueError):
    """What has no history; the message is one line and says why."""


@dataclass(frozen=True)
class History:
    """Tables: one line a time (`points`), a series, a cut, a step; times in seconds.

    machines: of each fingerprint its facts. A step's `ratio` is the time after it over the time
    before it, with a 95 % interval; `before` and `after` count runs; `run` is the first one after.
    """

    points: pd.DataFrame
    series: pd.DataFrame
    cuts: pd.DataFrame
    steps: pd.DataFrame
    machines: Mapping[str, Mapping[str, Any]]


def points(run: Run) -> pd.DataFrame:
    """One line for each case and control that is ok in every pass of a run, with its estimate.

    Not of `auto-race`, whose time changes with what it chooses.
    """
    cases = run.rows[run.rows["strategy"] != RACE]
    rows = pd.concat([cases.assign(control=False), run.controls.assign(control=True)])
    worst = statuses(rows)
    logs = passes(rows).assign(log_s=lambda t: np.log(t["rank_s"])).groupby("id")["log_s"].mean()
    timed = logs[[worst[str(case)] == "ok" for case in logs.index]]
    table = rows.drop_duplicates("id").set_index("id").loc[timed.index].reset_index()
    versions = {name: w.get("version", 0) for name, w in run.header.get("workloads", {}).items()}
    contract = run.header.get("contract")
    table = table.assign(
        seconds=np.exp(timed.to_numpy()),
        version=[str(versions.get(name, 0)) for name in table["workload"]],
        # Controls hold no code of strategies.
        contract=["" if control else str(contract) for control in table["control"]],
        shape=[f"{i} to {o}" for i, o in zip(table["in_shape"], table["out_shape"], strict=True)],
        machine=fingerprint(facts(run)),
        run=run.name,
        started=str(run.header["started"]),
        commit=str(run.header.get("commit") or ""),
        dirty=bool(run.header.get("dirty")),
    )
    return table[POINT]


def history(times: Sequence[pd.DataFrame], machines: Mapping[str, Mapping[str, Any]]) -> History:
    """The history of runs, from the `points` of each and the facts of each fingerprint.

    Raises `HistoryError` where ruptures is not installed.
    """
    whole = pd.concat(times, ignore_index=True).sort_values(["started", "run"], kind="stable")
    whole["position"] = whole.groupby("machine")["run"].transform(lambda r: pd.factorize(r)[0])
    form = whole[list(FORM)].agg(" ".join, axis=1)
    changed = form != form.groupby([whole["id"], whole["machine"]]).shift().fillna(form)
    whole["segment"] = changed.groupby([whole["id"], whole["machine"]]).cumsum()
    groups = [group for _, group in whole.groupby(["id", "machine", "segment"], sort=False)]
    found = pd.DataFrame([step for group in groups for step in _steps(group)], columns=STEP)
    found["control"] = found["control"].astype(bool)
    return History(
        points=whole.reset_index(drop=True),
        series=pd.DataFrame([_series(group) for group in groups], columns=SERIES),
        cuts=cuts(whole, groups, machines),
        steps=_ranked(_with_controls(found)),
        machines=machines,
    )


def noise(logs: Any) -> float:
    """Standard deviation of a series, by the median absolute deviation of first differences."""
    steps = np.diff(logs)
    robust = np.median(np.abs(steps - np.median(steps))) / stats.norm.ppf(0.75) / np.sqrt(2)
    return max(float(robust), BETWEEN_RUNS)


def breaks(logs: Any) -> list[int]:
    """Where the level of a series changes: the index of each first value of a new one."""
    try:
        import ruptures
    except ImportError as error:
        raise HistoryError("history needs ruptures: pip install ruptures") from error
    if len(logs) < 2 * SIDE:
        return []
    # With the linear kernel its cost is the squared error, and its search PELT, in C.
    search = ruptures.KernelCPD(kernel="linear", min_size=SIDE).fit(np.asarray(logs) / noise(logs))
    return [int(end) for end in search.predict(pen=PENALTY * np.log(len(logs)))[:-1]]


def _steps(group: pd.DataFrame) -> Iterable[dict[str, Any]]:
    logs = np.log(group["seconds"].to_numpy())
    ends = [0, *breaks(logs), len(logs)]
    for start, at, end in zip(ends, ends[1:], ends[2:], strict=False):
        before, after = logs[start:at], logs[at:end]
        mean, low, high = welch(before, after)
        if abs(mean) < np.log(LEAST) or low <= 0 <= high:
            continue
        first = group.iloc[at]
        numbers = np.exp([mean, low, high, before.mean(), after.mean()])
        named = dict(zip(["ratio", "low", "high", "before_s", "after_s"], numbers, strict=True))
        yield {**first[STEP[:9]], **named, "before": at - start, "after": end - at}


def _with_controls(steps: pd.DataFrame) -> pd.DataFrame:
    """With `moved`: of each step the controls that stepped with it, and by what ratio."""
    controls = steps[steps["control"]]
    return steps.assign(moved=[_moved(step, controls) for _, step in steps.iterrows()])


def _moved(step: Any, controls: pd.DataFrame) -> list[tuple[str, float]]:
    # Noise moves the place of a step by a run, so the run beside it counts too.
    near = (controls["position"] - step["position"]).abs() <= 1
    same_way = (controls["ratio"] > 1) == (step["ratio"] > 1)
    alike = controls[near & same_way & (controls["machine"] == step["machine"])]
    return [] if step["control"] else list(zip(alike["id"], alike["ratio"], strict=True))


def _ranked(steps: pd.DataFrame) -> pd.DataFrame:
    """Largest first, in either direction."""
    sizes = np.abs(np.log(steps["ratio"].astype(float)))
    return steps.loc[sizes.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def _series(group: pd.DataFrame) -> dict[str, Any]:
    first, last = group.iloc[0], group.iloc[-1]
    span = last["position"] - first["position"]
    row = {name: first[name] for name in ("id", "control", "machine", "segment")}
    row |= {"first": first["started"], "last": last["started"], "runs": len(group)}
    row |= {"missing": span + 1 - len(group), "first_s": first["seconds"]}
    row["last_s"] = last["seconds"]
    if len(group) >= 2 * SIDE:
        # Theil and Sen's slope: one odd run bends no trend.
        slope = stats.theilslopes(np.log(group["seconds"]), group["position"])
        ends = [slope.slope, slope.low_slope, slope.high_slope]
        trend = np.exp(np.multiply(ends, span))
        row |= dict(zip(["trend", "trend_low", "trend_high"], trend, strict=True))
    return row
