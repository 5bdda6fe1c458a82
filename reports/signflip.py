"""Sign-flip max-T test: which of many cases differ between two arms, all of them judged at once.

NOTE [sign flips]
Where the code of both arms is the same, which of a pair of passes was called base is a coin's
throw: the signs of a whole row D[k, :] may be flipped without changing their distribution (a
randomization test; Lehmann & Romano, Testing Statistical Hypotheses, 2005, §15.2). All cases of a
pair flip together, which keeps whatever correlates them. Judged by the largest statistic of each
flip, the adjusted p bounds the chance of one false alarm in the whole suite (single-step max-T;
Westfall & Young, Resampling-Based Multiple Testing, 1993, §2.3). Nothing needs to be normal.

NOTE [moderated]
The statistic is a t to whose variance another is added, the same for all cases (the "fudge factor"
of Tusher, Tibshirani & Chu, PNAS 98, 2001; compare the moderated t of Smyth, 2004). A plain t from
eight pairs often owes its size to an sd that is small by luck, and a real change must exceed the
largest of sixty such. The test is exact for any statistic that is the same function of every flip:
what is added depends on |D| alone, which no flip changes, and a shift of all cases hardly moves
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Up to 8,192 flips are listed whole; beyond, as many are drawn.
MOST_LISTED = 14
# A flip that gives the same statistic up to rounding is as extreme.
_ROUNDING = 1e-9


class TooFewPairsError(ValueError):
    """So few pairs of passes that no difference could reach the level, however large."""


@dataclass(frozen=True)
class MaxT:
    """`p[..., case]`: adjusted two-sided p; `critical[...]`: the statistic above which p is at most
    the level; `fudge[...]`: the variance that was added, of log ratios."""

    p: Array
    critical: Array
    fudge: Array


def require_pairs(K: int, level: float) -> None:
    """Raise `TooFewPairsError` where 2^(1-K), the least p of K pairs, is above the level."""
    enough = 1 + ceil(-log2(level))
    if enough > K:
        raise TooFewPairsError(
            f"{K} pairs of passes cannot reach p <= {level:g}: the least is 2^(1-{K})"
            f" = {2.0 ** (1 - K):g}; K = {enough} would do"
        )


@lru_cache(maxsize=8)
def flips(K: int) -> Array:
    """`[flip, K]` of ±1, the first all +1. The first sign is fixed: a flip of all leaves |T|.

    All 2^(K-1) up to K = 14; beyond, 2^13 of them that are drawn with a fixed seed, the identity
    among them, so that p stays valid (Phipson & Smyth, 2010).
    """
    most = 2 ** (MOST_LISTED - 1)
    numbers = np.arange(min(most, 2 ** (K - 1)))
    if K > MOST_LISTED:
        draw = np.random.default_rng(0)
        numbers[1:] = draw.choice(2 ** (K - 1) - 1, most - 1, replace=False) + 1
    bits = numbers[:, None] >> np.arange(K - 1) & 1
    found = np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])
    found.flags.writeable = False
    return found


def fudge(D: Array) -> Array:
    """`[...]`: median over the cases of the variance of |D|, which is added to each case's own."""
    found: Array = np.median(np.abs(D).var(axis=-2, ddof=1), axis=-1)
    return found


def statistics(D: Array, signs: Array, added: Array) -> Array:
    """`[..., flip, case]`: the squared moderated t, K·mean² / (sd² + added), of each flip."""
    K = D.shape[-2]
    square = np.square(D).mean(axis=-2, keepdims=True)
    mean2 = np.square(signs @ D / K)
    variance = (square - mean2).clip(min=0) * (K / (K - 1)) + added[..., None, None]
    # Where nothing varies the quotient is as large as can be told from rounding.
    least = np.maximum(_ROUNDING * square, np.finfo(float).tiny)
    found: Array = K * mean2 / np.maximum(variance, least)
    return found


def max_t(D: Any, level: float) -> MaxT:
    """Judge `D[..., K, case]` = log(head) − log(base) at a family-wise level; no NaN.

    Leading axes are suites of their own. Raises `TooFewPairsError`.
    """
    D = np.asarray(D, dtype=float)
    K, cases = D.shape[-2:]
    require_pairs(K, level)
    if not cases:
        nothing = np.full(D.shape[:-2], np.nan)
        return MaxT(np.empty((*D.shape[:-2], 0)), nothing, nothing)
    signs, added = flips(K), fudge(D)
    T2 = statistics(D, signs, added)
    largest = T2.max(axis=-1)
    least = T2[..., 0, :] * (1 - _ROUNDING)
    p = (largest[..., :, None] >= least[..., None, :]).mean(axis=-2)
    return MaxT(p, _critical(largest, level), added)


def room(level: float, count: int) -> int:
    """How many of so many flips may be as extreme as the identity, itself included: p ≤ level."""
    return floor(level * count + _ROUNDING)


def _critical(largest: Array, level: float) -> Array:
    others = np.sort(largest[..., 1:], axis=-1)
    found: Array = np.sqrt(others[..., -room(level, largest.shape[-1])])
    return found
