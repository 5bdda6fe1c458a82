"""How far each case is from what the machine can do: by its own counted work, at measured rates.

The rates are those of the run's controls: a matrix product, a copy, the launch of an operation.
A limit is of the work that the case does, not of the least work that could be done.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .answer import Answer
from .estimator import of_pass, rounds
from .load import Run

# A control counts one of these; of a case the counter of what that bounds.
BOUNDS: Mapping[str, str] = {"flops": "flops", "bytes": "storage_bytes", "ops": "ops"}
NAMES = {"flops": "matrix product", "bytes": "bandwidth", "ops": "launches"}


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
    columns = ["device", "threads", "dtype", "kind", "rate"]
    table = pd.DataFrame(rows, columns=columns)
    whole = table.pivot_table(
        index=["device", "threads", "dtype"], columns="kind", values="rate", aggfunc="max"
    )
    return whole.reindex(columns=list(BOUNDS))


def limited(found: Answer) -> pd.DataFrame:
    """The cases that are ok, with `limit_s`, the largest of the times that their counted work takes
    at the measured rates, `bound` by which of them, and `eta`, the limit over the time."""
    ok = found.cases[found.cases["status"] == "ok"]
    runs = zip(found.letters, found.runs, strict=True)
    parts = [_limited(ok[ok["run"] == letter], run) for letter, run in runs]
    return pd.concat(parts, ignore_index=True)


def _limited(own: pd.DataFrame, run: Run) -> pd.DataFrame:
    known = rates(run.controls)
    places = pd.MultiIndex.from_frame(own[["device", "threads", "dtype"]])
    here = known.reindex(places).set_axis(own.index)
    seconds = pd.DataFrame(
        {kind: own[counter].astype(float) / here[kind] for kind, counter in BOUNDS.items()}
    )
    limit = seconds.max(axis=1, skipna=False)
    largest = seconds.fillna(-np.inf).to_numpy().argmax(axis=1) if len(seconds) else []
    bound = pd.Series([NAMES[list(BOUNDS)[k]] for k in largest], index=own.index, dtype=object)
    return own.assign(limit_s=limit, eta=limit / own["evaluate_s"], bound=bound)
