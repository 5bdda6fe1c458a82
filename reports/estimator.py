"""One number for a case in a pass, and the ways of making it that were compared.

NOTE [which clock]
Where one thread of the host computes, what another process takes from it is no part of the case:
its CPU time is the wall time that it would have taken alone. Several threads, or a device, are
waited for, and only wall time knows of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

Estimator = Callable[[Sequence[float]], float]

ESTIMATORS: Mapping[str, Estimator] = {
    "median": np.median,
    "lower quartile": partial(np.quantile, q=0.25),
    "minimum": np.min,
}
# How far each spreads between passes: docs/method.md, "Estimator and pairing".
CHOSEN = "minimum"


def rounds(rows: pd.DataFrame, wall: str = "wall_s", cpu: str = "cpu_s") -> list[Sequence[float]]:
    """Of each row the seconds of its rounds, from the column of the clock that counts there."""
    alone = (rows["device"] == "cpu") & (rows["threads"] == 1)
    columns = zip(rows[wall], rows[cpu], alone, strict=True)
    return [by_cpu if one and len(by_cpu) else by_wall for by_wall, by_cpu, one in columns]


def of_pass(seconds: Sequence[float], estimator: Estimator = ESTIMATORS[CHOSEN]) -> float:
    """One number for a case in a pass, in the unit of its rounds; nan where no round has a time."""
    values = [value for value in seconds if np.isfinite(value) and value > 0]
    return float(estimator(values)) if values else float("nan")
