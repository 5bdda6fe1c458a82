"""Derivatives from values alone: the complex step, and Richardson-extrapolated differences.

NOTE [complex step]
For analytic f: Im f(x + ih v) / h = ∂f/∂x v + O(h²), without cancellation, so h may be 1e-20 and
the result is right to rounding (Squire & Trapp, SIAM Review 1998). Where f is not analytic the
formula returns nonsense without an error; it is therefore tried along one direction against
differences.

NOTE [extrapolation]
Central differences at h, h/2, h/4 … have an error series in h²; each column of the tableau removes
one term (Ridders 1982). Of the whole tableau the element is taken that differs least from its
neighbours, and that difference is its error estimate. Where f has kinks, as a ReLU network, each
number has its own h below which no kink is crossed; where the common choice is poor, each number of
the result therefore takes its own element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .precise import Evaluator

Array = np.ndarray

STEP = 1e-20
LEVELS = 6
FIRST_H = 0.08
# Where an error of GOOD is not reached in these, h goes on falling as far as rounding allows: that
# of first differences, real or of the complex step, to 2e-6, where rounding is 1e-10 and most kinks
# are past.
SMALLER_H = 16
GOOD, POOR = 1e-11, 1e-6
# Numbers in the points of all pairs of directions up to which they are evaluated together: every
# call of f costs its own overhead.
AT_ONCE = 200_000


@dataclass(frozen=True)
class Estimate:
    """A derivative with the estimate of its own error, both in the norm: `‖error‖ ≤ bound`."""

    value: Array
    bound: float
    method: str


def extrapolate(
    difference: Callable[[float], Array], levels: int = LEVELS, start: float = FIRST_H
) -> tuple[Array, float]:
    """The limit of `difference(h)` for h → 0 and its estimated error, see NOTE [extrapolation].

    levels: how many at most, from h = start on; no more than `LEVELS` where the error is good by
    then.
    """
    above = [difference(start)]
    best, bound = above[0], np.inf
    own, errors = above[0], np.full(above[0].shape, np.inf)
    for level in range(1, levels):
        if level >= LEVELS and bound <= GOOD * _norm(best):
            break
        row = [difference(start / 2**level)]
        for k, before in enumerate(above, start=1):
            row.append(row[-1] + (row[-1] - before) / (4**k - 1))
            off, aside = np.abs(row[-1] - row[-2]), np.abs(row[-1] - before)
            if (error := max(_norm(off), _norm(aside))) < bound:
                best, bound = row[-1], error
            worse = np.maximum(off, aside)
            own, errors = np.where(worse < errors, row[-1], own), np.minimum(worse, errors)
        above = row
    if bound <= POOR * _norm(best):
        return best, bound
    # Steps of a staircase agree with each other by chance: the smallest h has to say the same.
    return own, _norm(np.maximum(errors, np.abs(own - above[1])))


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a))


def units(n: int) -> Array:
    """`[n, 1, n]`: the unit directions, the same for every row."""
    return np.eye(n)[:, None]


def complex_step(f: Evaluator, at: Array, directions: Array) -> Array:
    """`∂f/∂x v` at `[B, n]` for `directions: [K, B or 1, n]`: `[K, B, m]`."""
    return f(at + 1j * STEP * directions).imag / STEP


def central(f: Evaluator, at: Array, directions: Array, h: float) -> Array:
    """The central difference of f along each direction: `[K, B, m]`."""
    return (f(at + h * directions) - f(at - h * directions)) / (2 * h)


def analytic(f: Evaluator) -> float | None:
    """How far the complex step is from differences, relative, along one direction; None where it
    is not a derivative of f or f has no complex form."""
    v = np.random.default_rng(0).standard_normal((1, *f.at.shape)) / np.sqrt(f.n)
    try:
        found = complex_step(f, f.at, v)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):
        return None
    expected, bound = extrapolate(lambda h: central(f, f.at, v, h))
    off, size = _norm(found - expected), _norm(expected)
    if not np.isfinite(off) or off > 10 * bound + 1e-9 * size:
        return None
    return off / size if size else off


def first(f: Evaluator, directions: Array) -> Estimate:
    """`∂f/∂x v` for `directions: [K, B or 1, n]`: `[K, B, m]`."""
    off = analytic(f)
    if off is not None:
        found = complex_step(f, f.at, directions)
        return Estimate(found, max(off, 1e-14) * _norm(found), "complex step")
    found, bound = extrapolate(lambda h: central(f, f.at, directions, h), SMALLER_H)
    # Two elements may agree by luck, of one number above all: never better than rounding allows.
    rounding = float(np.finfo(float).eps) * _norm(f(f.at[None])) * len(directions) ** 0.5
    bound = max(bound, rounding * 2 ** (LEVELS - 1) / FIRST_H)
    return Estimate(found, bound, "Richardson differences")


def second(f: Evaluator, directions: Array, against: Array) -> Estimate:
    """`wᵀ ∂²f/∂x² v` for v in `directions: [K, B or 1, n]` and w in `against: [K, L, B or 1, n]`.

    `[K, L, B, m]`. Differences of the complex step along v where f is analytic, else of f itself.
    """
    smooth = analytic(f) is not None
    along, levels = (_slopes, SMALLER_H) if smooth else (_mixed, LEVELS)
    method = "differences of the complex step" if smooth else "Richardson second differences"
    K, L = against.shape[:2]
    if K * L * f.at.size <= AT_ONCE:
        v, w = np.repeat(directions, L, axis=0), against.reshape(K * L, *against.shape[2:])
        value, bound = extrapolate(partial(along, f, v, w), levels)
        return Estimate(value.reshape(K, L, *value.shape[1:]), bound, method)
    found, squares = [], 0.0
    for v, ws in zip(directions, against, strict=True):
        value, bound = extrapolate(partial(along, f, v, ws), levels)
        found.append(value)
        squares += bound**2
    return Estimate(np.stack(found), float(np.sqrt(squares)), method)


def _slopes(f: Evaluator, v: Array, ws: Array, h: float) -> Array:
    """The central difference along v of the derivatives along ws: `[L, B, m]`."""
    ahead, behind = complex_step(f, f.at + h * v, ws), complex_step(f, f.at - h * v, ws)
    return (ahead - behind) / (2 * h)


def _mixed(f: Evaluator, v: Array, ws: Array, h: float) -> Array:
    """The second difference of f along v and each w: `[L, B, m]`."""
    signs: Iterator[tuple[int, int]] = ((s, t) for s in (1, -1) for t in (1, -1))
    total = sum(s * t * f(f.at + h * (s * v + t * ws)) for s, t in signs)
    return np.asarray(total) / (4 * h * h)
