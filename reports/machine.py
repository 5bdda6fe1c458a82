"""What the controls of a run say of its machine: how fast it is, and how evenly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from . import words
from .estimator import of_pass, rounds
from .summary import time_interval

# By what a control counts, from its count a second.
RATES: Mapping[str, Callable[[float], str]] = {
    "ops": lambda rate: f"{words.seconds(1 / rate)} a launch",
    "flops": lambda rate: f"{words.significant(rate / 1e9)} GFLOP/s",
    "bytes": lambda rate: f"{words.significant(rate / 1e9)} GB/s",
}


def machine(controls: pd.DataFrame) -> dict[str, str]:
    """For each control its rate, with the 95 % interval from passes where there were several."""
    ok = controls[controls["status"] == "ok"]
    return {
        f"{name}, {dtype}, size {size:,}": _rate(group)
        for (name, dtype, size), group in ok.groupby(["strategy", "dtype", "n"])
    }


def _rate(group: pd.DataFrame) -> str:
    ((kind, count),) = group["counters"].iloc[0].items()
    mean, low, high = time_interval([np.log(count / of_pass(seconds)) for seconds in rounds(group)])
    text = RATES[kind](float(np.exp(mean)))
    return text if words.missing(low) else f"{text} ± {words.percent(np.exp((high - low) / 2) - 1)}"
