"""With which power of a size the time grows: cases that differ in one size, and their slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from . import words
from .summary import CONFIDENCE

LEAST_SIZES = 4
# A size counts for an exponent where it takes so many times what its bare operations cost.
ABOVE_FLOOR = 2.0


def launch_seconds(table: pd.DataFrame) -> float:
    """Seconds an operation costs at least on this machine: the least seen in the run itself."""
    ok = table[(table["status"] == "ok") & (table["ops"] > 0)]
    return float((ok["evaluate_s"] / ok["ops"]).min()) if len(ok) else float("nan")


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """The power of each size with which a way's time grows: the log-log slope with its interval,
    and `theory`, that of its counted FLOPs.

    Only from at least four sizes that take more than twice what their operations cost to launch;
    else `exponent` is missing and `sizes` says how many there were.
    """
    places = ["device", "threads"]
    floors = {place: launch_seconds(own) for place, own in table.groupby(places)}
    found: list[dict[str, Any]] = []
    for (operator, name, workload, size), group in sized(table):
        place = group.iloc[0][places]
        floor = floors[tuple(place)]
        above = group[group["evaluate_s"] > ABOVE_FLOOR * floor * group["ops"].fillna(0)]
        row: dict[str, Any] = {"operator": operator, "way": name}
        row |= {"workload": workload, "size": size, **place}
        row |= {"sizes": len(group), "above_floor": len(above)}
        if len(above) >= LEAST_SIZES:
            fit = _slope(above, "seconds")
            half = stats.t.ppf((1 + CONFIDENCE) / 2, len(above) - 2) * fit.stderr
            row |= {"exponent": fit.slope, "low": fit.slope - half, "high": fit.slope + half}
            if (above["flops"] > 0).all():
                row["theory"] = _slope(above, "flops").slope
        found.append(row)
    columns = ["operator", "way", "workload", "size", *places, "sizes", "above_floor"]
    return pd.DataFrame(found, columns=[*columns, "exponent", "low", "high", "theory"])


def _slope(sizes: pd.DataFrame, name: str) -> Any:
    logs = (np.log(sizes[column].astype(float)) for column in ("value", name))
    return stats.linregress(*logs)


def sized(table: pd.DataFrame) -> list[tuple[tuple[str, str, str, str], pd.DataFrame]]:
    """Groups of ok cases that differ in one size alone (B or a parameter), at least two sizes.

    Keys `(operator, way, workload, size)`, the workload with its threads where they are not one;
    the groups have the column `value`.
    """
    found: list[tuple[tuple[str, str, str, str], pd.DataFrame]] = []
    ok = table[table["status"] == "ok"]
    fixed = ["operator", "way", "workload", "dtype", "device", "threads", "create_graph", "layout"]
    for key, group in ok.groupby(fixed, sort=False):
        flat = group.assign(
            sizes=[{**p, "B": b} for p, b in zip(group["params"], group["B"], strict=True)]
        )
        for size in sorted({name for sizes in flat["sizes"] for name in sizes}):
            others = flat["sizes"].map(
                lambda s, size=size: str({k: v for k, v in s.items() if k != size})
            )
            for _, line in flat.groupby(others, sort=False):
                values = line["sizes"].map(lambda s, size=size: s.get(size))
                if values.nunique() > 1:
                    workload = words.on_threads(str(key[2]), line["threads"].iloc[0])
                    name = (str(key[0]), str(key[1]), workload, size)
                    found.append((name, line.assign(value=values).sort_values("value")))
    return found
