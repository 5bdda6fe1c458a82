"""Where the series of a history are cut: what times are comparable by, and what changed.

NOTE [series]
A series is a case on one machine, told by what makes times comparable. It is cut where the version
of its workload, the contract of strategies or the shape changes. Another machine or torch is
another series; it continues none, and is called a cut only where the earlier one had ended: two
machines that take turns are two series.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .load import Run
from .schema import MACHINE

# What a run is comparable by.
COMPARABLE = (*MACHINE, "tf32")
# What cuts the series of a case on one machine, and how it is called.
FORM = {
    "version": "version of its workload",
    "contract": "contract of strategies",
    "shape": "shape",
}
CUT = ["id", "control", "machine", "run", "started", "commit", "why"]


def facts(run: Run) -> dict[str, Any]:
    """What makes the times of a run comparable with those of another."""
    environment = run.header.get("environment") or {}
    return {name: environment.get(name) for name in COMPARABLE}


def fingerprint(found: Mapping[str, Any]) -> str:
    """A short name for a machine: eight hexadecimal digits of the SHA-256 of its facts."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:8]


def cuts(
    whole: pd.DataFrame,
    groups: Sequence[pd.DataFrame],
    machines: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One line a cut: the case, the first run after it and what changed.

    groups: of `whole`, the times of all, the series of each case, machine and segment.
    """
    ends = {(g["id"].iloc[0], g["machine"].iloc[0], g["segment"].iloc[0]): g for g in groups}
    found = []
    for (case, machine, segment), group in ends.items():
        if segment:
            before, now = ends[case, machine, segment - 1].iloc[-1], group.iloc[0]
            why = [f"{FORM[n]} {before[n]} → {now[n]}" for n in FORM if before[n] != now[n]]
            found.append({**now[CUT[:-1]], "why": ", ".join(why)})
    for _, times in whole.groupby("id", sort=False):
        found += _machine_cuts(times, machines)
    table = pd.DataFrame(found, columns=CUT).sort_values("started", kind="stable")
    return table.assign(control=table["control"].astype(bool))


def _machine_cuts(
    times: pd.DataFrame, machines: Mapping[str, Mapping[str, Any]]
) -> Iterable[dict[str, Any]]:
    last = times.groupby("machine", sort=False)["started"].last()
    for machine, now in times.drop_duplicates("machine").set_index("machine").iterrows():
        # The latest to begin comes first: of those that are equally alike it goes on.
        ended = [str(name) for name, end in last[::-1].items() if end < now["started"]]
        if ended:
            changes = [_changes(machines[name], machines[str(machine)]) for name in ended]
            fewest = min(changes, key=len)
            yield {
                **now[[n for n in CUT[:-1] if n != "machine"]],
                "machine": machine,
                "why": ", ".join(fewest),
            }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {before[name]} → {now[name]}" for name in COMPARABLE if before[name] != now[name]
    ]
