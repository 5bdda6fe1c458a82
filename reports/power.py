"""Simulated suites: how often the judge cries wolf, and what it finds.

NOTE [between-pass sd]
An sd is that of the log estimates of one arm between its passes. The differences of independent
arms have √2 times it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from .signflip import Array
from .stages import RULES, Rules, confirmed, screened

Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]
_BLOCK = 250


def normal(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Independent normal passes of sd 1."""
    return draw.standard_normal(shape)


def heavy_tailed(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with three degrees of freedom, scaled to sd 1: now and then a wild pass."""
    found: Array = draw.standard_t(3, shape) / np.sqrt(3)
    return found


def correlated(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal of sd 1, half of its variance common to all cases of a pass."""
    common = draw.standard_normal((*shape[:-1], 1))
    return np.sqrt(0.5) * (common + draw.standard_normal(shape))


def spells(draw: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal of sd 1 on average: one pass in four of a bad spell, three times as noisy."""
    bad = draw.random((*shape[:-1], 1)) < 0.25
    return np.where(bad, 3.0, 1.0) / np.sqrt(3) * draw.standard_normal(shape)


@dataclass(frozen=True)
class Rates:
    """Of so many simulated suites: how many named a case wrongly, and how many the planted one."""

    suites: int
    false: int
    found: int

    @property
    def power(self) -> float:
        """Share of suites in which the planted case was named as it is."""
        return self.found / self.suites

    def false_bound(self, confidence: float = 0.95) -> float:
        """One-sided upper bound of the false alarm rate (Clopper & Pearson, 1934)."""
        test = stats.binomtest(self.false, self.suites, alternative="less")
        return float(test.proportion_ci(confidence).high)

    def power_bound(self, confidence: float = 0.95) -> float:
        """One-sided lower bound of the power (Clopper & Pearson, 1934)."""
        test = stats.binomtest(self.found, self.suites, alternative="greater")
        return float(test.proportion_ci(confidence).low)


def simulate(
    suites: int,
    *,
    sd: float,
    ratio: float = 1.0,
    cases: int = 60,
    noise: Noise = normal,
    rules: Rules = RULES,
    seed: int = 0,
) -> Rates:
    """Judge suites of unchanged cases, of which the first takes `ratio` times as long in head.

    `sd`: between-pass, of each arm. Where ratio is 1 nothing is there to be found.
    """
    draw = np.random.default_rng(seed)
    effect = np.zeros(cases)
    effect[0] = np.log(ratio)
    truth, false, found = np.sign(effect), 0, 0
    for start in range(0, suites, _BLOCK):
        block = min(_BLOCK, suites - start)
        D = effect + sd * _arms(draw, noise, (block, rules.screen_pairs, cases))
        for calls in screened(D, rules).calls:
            suspects = np.flatnonzero(calls)
            if len(suspects):
                shape = (rules.confirm_pairs, len(suspects))
                again = confirmed(effect[suspects] + sd * _arms(draw, noise, shape), rules).calls
                named, right = again * (again == calls[suspects]), truth[suspects]
                found += bool(((named == right) & (right != 0)).any())
                false += bool(((named != right) & (named != 0)).any())
    return Rates(suites, false, found)


def _arms(draw: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> Any:
    return noise(draw, shape) - noise(draw, shape)
