"""Numbers as people read them: units, intervals, factors; no finer than the interval supports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import floor, isfinite, log10, sqrt
from typing import Any

import pandas as pd

# A unit: how much of the base it is, and its name.
Unit = tuple[float, str]

_SECONDS: tuple[Unit, ...] = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES: tuple[Unit, ...] = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_GIVEN = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_GIVEN |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
NOTHING = "–"
# A column of numbers further apart than this has the unit of its middle, others that of the least.
_FAR = 1e4


def missing(value: Any) -> bool:
    """Whether there is no number to print."""
    return value is None or not isfinite(float(value)) if not pd.isna(value) else True


def significant(value: float, relative_error: float | None = None) -> str:
    """Three significant digits, two where the error is above 5 %, without an exponent."""
    if value == 0:
        return "0"
    digits = 2 if relative_error is not None and relative_error > 0.05 else 3
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    rounded = round(value, digits - 1 - floor(log10(abs(value))))
    return f"{rounded:,.{decimals}f}"


def chunk(given: float | str) -> str:
    """Directions at once, or a budget of bytes as it was written."""
    return given if isinstance(given, str) else f"{given:g}"


def seconds(value: float, half_width: float | None = None, unit: Unit | None = None) -> str:
    """`1.42 ms ± 1 %`; the interval is left out where there was one pass."""
    if missing(value):
        return NOTHING
    scale, name = unit or _unit(value, _SECONDS)
    if half_width is None or missing(half_width):
        return f"{significant(value / scale)} {name}"
    return f"{significant(value / scale, half_width)} {name} ± {percent(half_width)}"


def _unit(value: float, units: tuple[Unit, ...]) -> Unit:
    return next((unit for unit in units if value >= unit[0]), units[-1])


def second_unit(values: Iterable[float]) -> Unit | None:
    """The one unit of a column of times."""
    return _one_unit(values, _SECONDS)


def byte_unit(values: Iterable[float]) -> Unit | None:
    """The one unit of a column of bytes."""
    return _one_unit(values, _BYTES)


def _one_unit(values: Iterable[float], units: tuple[Unit, ...]) -> Unit | None:
    known = [float(value) for value in values if not missing(value) and value > 0]
    if not known:
        return None
    least, most = min(known), max(known)
    return _unit(sqrt(least * most) if most > _FAR * least else least, units)


def span(low: float, high: float, unit: Unit | None = None) -> str:
    """`30.0 µs to 317 µs`, or the one where both are the same."""
    said = [seconds(value, unit=unit) for value in (low, high)]
    return " to ".join(said) if high > low else said[0]


def on_threads(name: str, threads: int) -> str:
    """`cpu`, or `cpu, 2 threads`: what is not compared with each other is not called the same."""
    return name if threads == 1 else f"{name}, {threads} threads"


def percent(value: float) -> str:
    """`12 %`."""
    return f"{max(1, round(100 * value)):d} %"


def share(value: float) -> str:
    """`0.3 %`, of what may well be none."""
    return NOTHING if missing(value) else f"{100 * value:.1f} %"


def factor(value: float) -> str:
    """`1.37×`, `24×`."""
    if missing(value):
        return NOTHING
    return f"{value:.2f}×" if value < 9.995 else f"{value:,.0f}×"


def factor_interval(low: float, high: float) -> str:
    """`1.20× to 1.45×`, or nothing where there was one pass."""
    return NOTHING if missing(low) or missing(high) else f"{factor(low)} to {factor(high)}"


def bytes_(value: float, unit: Unit | None = None) -> str:
    """`34 KiB`."""
    if missing(value):
        return NOTHING
    scale, name = unit or _unit(value, _BYTES)
    return f"{significant(value / scale)} {name}"


def bytes_of(text: str) -> int:
    """A number of bytes as people give it: `8GiB`, `500 MB`, `1000`. Raises `ValueError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2] not in _GIVEN or not float(found[1]):
        raise ValueError(f'memory reads like "8 GiB" or 8000000000, not {text!r}')
    return int(float(found[1]) * _GIVEN[found[2]])


def calls(value: float) -> str:
    """`1,240 calls`."""
    return NOTHING if missing(value) else f"{value:,.0f} call{'' if value == 1 else 's'}"


def digits(value: float) -> str:
    """Digits of agreement."""
    return NOTHING if missing(value) else f"{value:.1f}"


def exponent(value: float, low: float, high: float) -> str:
    """`1.02 (0.97 to 1.08)`, or a dash where too few sizes were above the launch floor."""
    return NOTHING if missing(value) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def listed(names: list[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
