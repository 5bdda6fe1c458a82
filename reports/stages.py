"""The two stages of a comparison: a screen of every case, a confirmation of what it suspects.

NOTE [two stages]
Fresh pairs confirm, so that the two stages' errors are independent: a suite of unchanged cases is
called changed with probability at most the product of their levels, 0.10 · 0.01. The least ratios
ask for a difference that matters beside one that is real.

NOTE [minimum detectable effect]
A draw of the noise is called slower from some true ratio on: each rule bounds it from below, so the
least is the largest of the bounds, in closed form. The MDE is its quantile over the noise at the
power. Mean and variance of a stage are independent, normal and χ², taken at quasi-random points
(Sobol), so that the MDE is a function of its arguments alone. The critical value of the screen is
that of the suite's own flips; the confirmation, of one or a few cases, is taken as a t test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .signflip import Array, MaxT, max_t

Calls = NDArray[np.int64]


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


@lru_cache(maxsize=4)
def _noise(screen: int, confirm: int) -> tuple[Array, Array, Array, Array]:
    """Means and variances of standard normal passes, `[draw, 1]` each."""
    n = 1024
    points = stats.qmc.Sobol(4, scramble=False).random(n) + 0.5 / n
    u = [column[:, None] for column in points.T]
    means = [stats.norm.ppf(c) / np.sqrt(K) for c, K in zip(u[:2], (screen, confirm), strict=True)]
    spreads = [
        stats.chi2.ppf(c, K - 1) / (K - 1) for c, K in zip(u[2:], (screen, confirm), strict=True)
    ]
    return means[0], spreads[0], means[1], spreads[1]


def least_called(sd: Any, test: MaxT, K: int, rules: Rules = RULES) -> Array:
    """`[draw, case]`: the log ratio from which each draw of the noise is called slower."""
    sd = np.atleast_1d(np.asarray(sd, dtype=float))
    mean, spread, mean2, spread2 = _noise(K, rules.confirm_pairs)
    sqrt, sqrt2 = np.sqrt(K), np.sqrt(rules.confirm_pairs)
    error = sd * np.sqrt(spread2) / sqrt2
    level, side = stats.t.ppf(
        [1 - rules.confirm_level / 2, (1 + rules.confidence) / 2], rules.confirm_pairs - 1
    )
    bounds = [
        float(test.critical) * np.sqrt(sd**2 * spread + float(test.fudge)) / sqrt - sd * mean,
        np.log(rules.screen_ratio) - sd * mean,
        level * error - sd * mean2,
        np.log(rules.confirm_ratio) - sd * mean2,
        np.log(rules.confirm_bound) + side * error - sd * mean2,
    ]
    found: Array = np.maximum.reduce(np.broadcast_arrays(*bounds))
    return found


def minimum_detectable(sd: Any, test: MaxT, K: int, rules: Rules = RULES) -> Array:
    """`[case]`: the ratio that both stages together call slower with the rules' power.

    `sd`: of the differences D of a case between its K pairs; `test`: that of the suite's screen.
    """
    found: Array = np.exp(np.quantile(least_called(sd, test, K, rules), rules.power, axis=0))
    return found
