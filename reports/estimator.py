"""One number for a case in a pass, and the ways of making it that were compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

Estimator = Callable[[Sequence[float]], float]

ESTIMATORS: Mapping[str, Estimator] = {
    "median": np.median,
    "lower quartile": partial(np.quantile, q=0.25),
    "minimum": np.min,
}
# How far each spreads between passes: docs/method.md, "Estimator and pairing".
CHOSEN = "median"


def of_pass(rounds: Sequence[float], estimator: Estimator = ESTIMATORS[CHOSEN]) -> float:
    """One number for a case in a pass, in the unit of its rounds; nan where no round has a time."""
    values = [value for value in rounds if np.isfinite(value) and value > 0]
    return float(estimator(values)) if values else float("nan")
