"""The two stages of a comparison: a screen of every case, a confirmation of what it suspects.

NOTE [two stages]
Fresh pairs confirm, so that the two stages' errors are independent: a suite of unchanged cases is
called changed with probability at most the product of their levels, 0.10 · 0.01. The least ratios
ask for a difference that matters beside one that is real.

NOTE [minimum detectable effect]
A draw of the noise is called slower from some true ratio on: each rule bounds it from below, so the
least is the largest of the bounds, in closed form. The MDE is its quantile over the noise at the
power. The noise is normal, at quasi-random points (Sobol), so that the MDE is a function of its
arguments alone. The critical value of the screen is that of the suite's own flips; the confirmation
is taken to be of the case alone, where a flip of the pairs A is as extreme as none exactly if the
differences in A, or those outside, have a mean of at most zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .signflip import Array, MaxT, flips, max_t, room

Calls = NDArray[np.int64]
_DRAWS = 1024


@dataclass(frozen=True)
class Rules:
    """What a comparison asks for. Ratios are head / base, for slower; faster is their mirror."""

    screen_pairs: int = 8
    screen_level: float = 0.10
    screen_ratio: float = 1.03
    confirm_pairs: int = 10
    confirm_level: float = 0.01
    confirm_ratio: float = 1.05
    confirm_bound: float = 1.02
    same_low: float = 0.95
    same_high: float = 1.05
    confidence: float = 0.95
    control_confidence: float = 0.99
    power: float = 0.80
    mde_for_same: float = 1.20


RULES = Rules()


@dataclass(frozen=True)
class Screened:
    """Of each case +1 suspected slower, -1 faster, 0 neither, with the test behind it."""

    calls: Calls
    test: MaxT


def t_interval(D: Any, confidence: float) -> tuple[Array, Array, Array]:
    """Mean and Student's t interval over the K passes of `D[..., K, case]`, log ratios."""
    D = np.asarray(D, dtype=float)
    K, mean = D.shape[-2], D.mean(axis=-2)
    half = stats.t.ppf((1 + confidence) / 2, K - 1) * D.std(axis=-2, ddof=1) / np.sqrt(K)
    return mean, mean - half, mean + half


def screened(D: Any, rules: Rules = RULES) -> Screened:
    """The screen's calls on `D[..., K, case]`; leading axes are suites of their own."""
    test = max_t(D, rules.screen_level)
    mean = np.mean(D, axis=-2)
    called = (test.p <= rules.screen_level) & (np.abs(mean) > np.log(rules.screen_ratio))
    return Screened((np.sign(mean) * called).astype(int), test)


def confirmed(D: Any, rules: Rules = RULES) -> Screened:
    """The confirmation's calls on `D[..., K, case]` of fresh pairs, suspects alone."""
    test = max_t(D, rules.confirm_level)
    mean, low, high = t_interval(D, rules.confidence)
    bound = np.where(mean > 0, low, -high)
    called = (test.p <= rules.confirm_level) & (np.abs(mean) > np.log(rules.confirm_ratio))
    called &= bound > np.log(rules.confirm_bound)
    return Screened((np.sign(mean) * called).astype(int), test)


@dataclass(frozen=True)
class _Noise:
    """Passes of sd 1 and mean 0, `[draw, 1]`: means, sds, and for the confirmation the least shift
    with which its flips let p be at most its level."""

    mean: Array
    sd: Array
    mean2: Array
    sd2: Array
    shift2: Array


@lru_cache(maxsize=4)
def _noise(K: int, K2: int, level: float) -> _Noise:
    points = stats.qmc.Sobol(3 + K2, scramble=False).random(_DRAWS) + 0.5 / _DRAWS
    sd = np.sqrt(stats.chi2.ppf(points[:, :1], K - 1) / (K - 1))
    mean, mean2, z = np.split(stats.norm.ppf(points[:, 1:]), [1, 2], axis=1)
    mean, mean2 = mean / np.sqrt(K), mean2 / np.sqrt(K2)
    # Mean and residuals of normal passes are independent; the mean has a dimension of its own, of
    # which so few points are even.
    z += mean2 - z.mean(axis=1, keepdims=True)
    sd2 = z.std(axis=1, ddof=1, keepdims=True)
    flipped = flips(K2)[1:] < 0
    inside = z @ flipped.T / flipped.sum(axis=1)
    outside = z @ ~flipped.T / (~flipped).sum(axis=1)
    shifts = np.sort(-np.minimum(inside, outside), axis=1)
    allowed = room(level, len(flipped) + 1)
    return _Noise(mean, sd, mean2, sd2, shifts[:, -allowed, None])


def least_called(sd: Any, test: MaxT, K: int, rules: Rules = RULES) -> Array:
    """`[draw, case]`: the log ratio from which each draw of the noise is called slower."""
    sd, K2 = np.atleast_1d(np.asarray(sd, dtype=float)), rules.confirm_pairs
    noise = _noise(K, K2, rules.confirm_level)
    side = stats.t.ppf((1 + rules.confidence) / 2, K2 - 1) * noise.sd2 / np.sqrt(K2)
    spread = np.sqrt((np.square(sd * noise.sd) + float(test.fudge)) / K)
    bounds = [
        float(test.critical) * spread - sd * noise.mean,
        np.log(rules.screen_ratio) - sd * noise.mean,
        sd * noise.shift2,
        np.log(rules.confirm_ratio) - sd * noise.mean2,
        np.log(rules.confirm_bound) + sd * (side - noise.mean2),
    ]
    found: Array = np.maximum.reduce(np.broadcast_arrays(*bounds))
    return found


def minimum_detectable(sd: Any, test: MaxT, K: int, rules: Rules = RULES) -> Array:
    """`[case]`: the ratio that both stages together call slower with the rules' power.

    `sd`: of the differences D of a case between its K pairs; `test`: that of the suite's screen.
    """
    found: Array = np.exp(np.quantile(least_called(sd, test, K, rules), rules.power, axis=0))
    return found
