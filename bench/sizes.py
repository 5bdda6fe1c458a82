"""Which cases are at least as large as another, and so would take at least as long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.schema import AXES

_SIZES = ("B", "n", "m")
_SHAPES = ("in_shape", "out_shape")
# Everything else that a case is: a chunk or another dtype may well be faster.
_SAME = tuple(name for name in AXES if name not in (*_SIZES, *_SHAPES, "params"))


def at_least(axes: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a case differs from another by sizes alone, and none of them is smaller."""
    if any(axes[name] != other[name] for name in _SAME):
        return False
    ours, theirs = _split(axes), _split(other)
    if ours[1] != theirs[1] or ours[0].keys() != theirs[0].keys():
        return False
    return all(ours[0][name] >= size for name, size in theirs[0].items())


def _split(axes: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """Whole numbers are sizes; other parameters are not."""
    params = axes["params"]
    whole = {k: v for k, v in params.items() if isinstance(v, int) and not isinstance(v, bool)}
    sizes = {name: axes[name] for name in _SIZES} | whole
    return sizes, {name: value for name, value in params.items() if name not in whole}
