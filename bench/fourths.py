"""Fourth derivatives from values alone: along circles of complex numbers, or by differences.

NOTE [circles]
For f analytic within the radius r around x, Cauchy's formula along a direction v,

    ∂⁴f/∂v⁴ = 4!/(2π r⁴) ∫ f(x + r e^{iθ} v) e^{-4iθ} dθ,

is a mean over N points with an error of (r/R)ᴺ, R the distance of the nearest singularity, and no
more rounding than ε · 4!/r⁴ (Lyness and Moler, 1967). The right radius differs from f to f: of
halved radii the two that agree best are taken, and what they differ by is the error estimate. A
circle that leaves the region in which f is analytic disagrees with the next.

NOTE [pairs]
f along v + w and v - w: `12 ∂⁴f/∂v²∂w² = D(v+w) + D(v-w) - 2 D(v) - 2 D(w)` with D(v) = ∂⁴f/∂v⁴.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from . import differences
from .differences import POOR, Array, Estimate, extrapolate
from .precise import Evaluator

POINTS = 32
RADII = tuple(0.8 / 2**k for k in range(8))
# Below this smaller circles are not tried once they get worse.
FINE = 1e-9
# Of differences, which divide by h⁴.
FIRST_H, MOST = 0.4, 8


def along(f: Evaluator, directions: Array) -> Estimate:
    """`∂⁴f/∂v⁴` for `directions: [K, B or 1, n]`: `[K, B, m]`."""
    if differences.analytic(f) is not None:
        return _by_circles(f, directions)
    found, bound = extrapolate(lambda h: _difference(f, directions, h), MOST, FIRST_H)
    bound = max(bound, _rounding(f, directions) * 16 / (FIRST_H / 4) ** 4)
    return Estimate(found, bound, "Richardson fourth differences")


# Far out f may overflow, which is a bad circle like others.
@np.errstate(all="ignore")
def _by_circles(f: Evaluator, directions: Array) -> Estimate:
    found, bound = np.array(np.nan), np.inf
    own, errors = found, np.array(np.inf)
    rounding = _rounding(f, directions)
    for (_, above), (r, below) in pairwise((r, _circle(f, directions, r)) for r in RADII):
        # Two may agree by luck: never better than rounding allows.
        least, apart = rounding * 24 / r**4, np.abs(above - below)
        if (off := max(_norm(apart), least)) < bound:
            found, bound = below, off
        elif bound <= FINE * _norm(found):
            break
        worse = np.maximum(apart, least / apart.size**0.5)
        own, errors = np.where(worse < errors, below, own), np.fmin(worse, errors)
    if bound > POOR * _norm(found):
        # Between kinks each number has its own circle.
        found, bound = own, _norm(errors)
    return Estimate(found, bound, "complex circles")


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a))


def _rounding(f: Evaluator, directions: Array) -> float:
    """That of f itself at as many points as there are directions, in the norm."""
    return float(np.finfo(float).eps) * _norm(f(f.at[None])) * len(directions) ** 0.5


def _circle(f: Evaluator, directions: Array, r: float) -> Array:
    """The mean over half a circle: f is real on the real line."""

    def at(k: int) -> Array:
        turn = np.exp(2j * np.pi * k / POINTS)
        return (f(f.at + r * turn * directions) * turn**-4).real

    half = POINTS // 2
    total = sum((2 * at(k) for k in range(1, half)), at(0) + at(half))
    return np.asarray(total) * 24 / (POINTS * r**4)


def _difference(f: Evaluator, directions: Array, h: float) -> Array:
    def at(step: float) -> Array:
        return f(f.at + step * h * directions)

    sides = at(2) + at(-2) - 4 * (at(1) + at(-1))
    return (sides + 6 * f(f.at[None])) / h**4


def along_pairs(f: Evaluator, v: Array, w: Array) -> Estimate:
    """`∂⁴f/∂v²∂w²` for `v` and `w`, both `[K, B or 1, n]`: `[K, B, m]`, see NOTE [pairs]."""
    found = along(f, np.concatenate([v + w, v - w, v, w]))
    plus, minus, ones, others = found.value.reshape(4, len(v), *found.value.shape[1:])
    value = (plus + minus - 2 * (ones + others)) / 12
    return Estimate(value, found.bound * 10**0.5 / 12, found.method)


def of_all_pairs(f: Evaluator) -> Estimate:
    """`∂⁴f/∂xᵢ²∂xⱼ²` of all inputs: `[B, m, n, n]`."""
    n, e = f.n, np.eye(f.n)
    left, right = np.triu_indices(n, 1)
    moves = np.concatenate([e, e[left] + e[right], e[left] - e[right]])
    found = along(f, moves[:, None])
    own, plus, minus = np.split(found.value, [n, n + len(left)])
    value = np.zeros((n, n, *own.shape[1:]))
    value[range(n), range(n)] = own
    mixed = (plus + minus - 2 * (own[left] + own[right])) / 12
    value[left, right] = value[right, left] = mixed
    # What one derivative is off by goes into 2 (n - 1) entries by a sixth.
    gain = (1 + (n - 1) / 3) ** 0.5
    return Estimate(value.transpose(2, 3, 0, 1), found.bound * gain, found.method)
