"""The sign-flip max-T test against independent implementations, and the theorem it stands on."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from reports.signflip import MOST_LISTED, TooFewPairsError, flips, max_t, require_pairs

seeds = some.integers(0, 2**32 - 1)


def drawn(seed: int, K: int = 8, cases: int = 5) -> np.ndarray:
    """Differences of unlike sizes, a few of them changed."""
    draw = np.random.default_rng(seed)
    shift = draw.choice([0.0, 0.0, 0.1], cases)
    return shift + draw.lognormal(-3, 1, cases) * draw.standard_t(4, (K, cases))


@pytest.mark.parametrize("seed", range(5))
def test_one_case_agrees_with_scipy(seed: int) -> None:
    D = drawn(seed, cases=1)
    expected = stats.permutation_test(
        (D[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert max_t(D, 0.1).p == pytest.approx([expected.pvalue])


@pytest.mark.parametrize("seed", range(5))
def test_several_cases_agree_with_a_loop_over_all_flips(seed: int) -> None:
    D = drawn(seed, K=7, cases=4)
    extra = np.median([np.var(np.abs(D[:, j]), ddof=1) for j in range(4)])

    def statistic(flipped: np.ndarray) -> list[float]:
        return [
            abs(column.mean()) / math.sqrt((column.var(ddof=1) + extra) / len(column))
            for column in flipped.T
        ]

    observed, exceeded = statistic(D), np.zeros(4)
    for signs in itertools.product([-1, 1], repeat=7):
        largest = max(statistic(D * np.array(signs)[:, None]))
        exceeded += [largest >= each * (1 - 1e-9) for each in observed]
    assert max_t(D, 0.1).p == pytest.approx(exceeded / 2**7)


@pytest.mark.parametrize("seed", range(10))
def test_the_theorem_of_randomization(seed: int) -> None:
    """Over all flips of any data, a share of at most the level is called: 12 of 128, no more."""
    D = drawn(seed)
    calls = max_t(D * flips(8)[:, :, None], 0.10).p.min(axis=-1) <= 0.10
    assert calls.mean() == 12 / 128


def test_copies_of_a_case_cost_nothing() -> None:
    """Joint flips keep the correlation: sixty times the same case is one case."""
    D = drawn(3, cases=1)
    assert set(max_t(np.tile(D, 60), 0.1).p) == set(max_t(D, 0.1).p)


@given(seed=seeds)
def test_above_the_critical_value_is_where_p_is_at_most_the_level(seed: int) -> None:
    D = drawn(seed)
    found = max_t(D, 0.10)
    T = np.abs(D.mean(axis=0)) / np.sqrt((D.var(axis=0, ddof=1) + found.fudge) / 8)
    assert ((found.p <= 0.10) == (found.critical * (1 + 1e-9) < T)).all()


@given(seed=seeds)
def test_p_depends_neither_on_names_nor_on_order_nor_on_unit_nor_on_direction(seed: int) -> None:
    D, draw = drawn(seed), np.random.default_rng(seed)
    cases, pairs = draw.permutation(5), draw.permutation(8)
    p = max_t(D, 0.1).p
    assert max_t(-3 * D[pairs][:, cases], 0.1).p == pytest.approx(p[cases])


def test_suites_are_judged_each_by_itself() -> None:
    several = np.stack([drawn(seed) for seed in range(6)]).reshape(2, 3, 8, 5)
    found = max_t(several, 0.1)
    assert np.array_equal(found.p[1, 2], max_t(several[1, 2], 0.1).p)
    assert found.critical[1, 2] == max_t(several[1, 2], 0.1).critical


@pytest.mark.parametrize(("K", "level"), [(8, 0.01), (5, 0.10), (2, 0.5), (11, 0.001)])
def test_too_few_pairs_is_an_error_that_says_how_many_would_do(K: int, level: float) -> None:
    require_pairs(K, level)
    assert 2.0 ** (1 - K) <= level < 2.0 ** (2 - K)
    with pytest.raises(TooFewPairsError, match=rf"2\^\(1-{K - 1}\) = .*; K = {K} would do"):
        max_t(np.zeros((K - 1, 2)), level)


def test_where_nothing_varies() -> None:
    D = np.column_stack([np.full(8, 0.1), np.zeros(8), np.full(8, -1e-9)])
    assert max_t(D, 0.1).p == pytest.approx([2**-7, 1, 2**-7])


def test_many_pairs_are_flipped_by_a_fixed_draw() -> None:
    K = MOST_LISTED + 1
    signs = flips(K)
    assert (len(signs), signs[0].min()) == (2 ** (MOST_LISTED - 1), 1)
    clear = np.full((K, 1), 0.1) + np.random.default_rng(0).normal(0, 0.001, (K, 1))
    assert max_t(clear, 0.01).p[0] == 1 / len(signs)
    D = drawn(1, K=K, cases=1)
    exact = np.abs(np.array(list(itertools.product([-1, 1], repeat=K))) @ D[:, 0])
    p = (exact >= np.abs(D.sum()) * (1 - 1e-9)).mean()
    assert max_t(D, 0.01).p[0] == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / len(signs)))
    assert 0.01 < p < 0.99


def test_no_cases() -> None:
    assert max_t(np.empty((8, 0)), 0.1).p.shape == (0,)
