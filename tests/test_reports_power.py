"""The bars that the judge is held to, on simulated suites of 60 cases, eight pairs and ten more.

A suite's false alarm is at least one unchanged case called slower or faster. Bounds are exact
(Clopper & Pearson), one-sided, at 95 %.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from made_comparisons import CONTROLS, made
from scipy import stats

from reports.power import Noise, correlated, heavy_tailed, normal, simulate, spells
from reports.stages import RULES, screened, t_interval
from reports.verdicts import judge

NOISES = [normal, heavy_tailed, correlated, spells]
on_every_noise = pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)

FALSE_ALARMS, POWER = 0.01, 0.95


@on_every_noise
@pytest.mark.parametrize("sd", [0.025, 0.08])
def test_false_alarms(noise: Noise, sd: float) -> None:
    rates = simulate(4000, sd=sd, noise=noise, seed=1)
    assert rates.false_bound() <= FALSE_ALARMS, rates


@on_every_noise
def test_false_alarms_beside_a_real_change(noise: Noise) -> None:
    rates = simulate(2000, sd=0.025, ratio=1.10, noise=noise, seed=2)
    assert rates.false_bound() <= FALSE_ALARMS, rates


@on_every_noise
def test_a_tenth_more_is_found(noise: Noise) -> None:
    rates = simulate(2000, sd=0.025, ratio=1.10, noise=noise, seed=3)
    assert rates.power_bound() >= POWER, rates


def test_a_tenth_less_is_found_as_often() -> None:
    rates = simulate(2000, sd=0.025, ratio=1 / 1.10, seed=3)
    assert rates.power_bound() >= POWER, rates
    assert rates.false_bound() <= FALSE_ALARMS, rates


@on_every_noise
def test_the_screen_spends_its_level_and_no_more(noise: Noise) -> None:
    """Of 128 flips the 12 most extreme are called: 12/128 of unchanged suites, whatever the noise.

    So the test is exact, and the simulation does see false alarms where there are some.
    """
    draw, called, suites = np.random.default_rng(4), 0, 2000
    for _ in range(8):
        shape = (suites // 8, 8, 60)
        D = noise(draw, shape) - noise(draw, shape)
        p = screened(D).test.p
        called += int((p.min(axis=-1) <= RULES.screen_level).sum())
    assert stats.binomtest(called, suites, 12 / 128).pvalue > 1e-3, called


def test_the_whole_judge_on_two_thousand_unchanged_suites() -> None:
    """What is above simulates the two stages; this is all of it, with three controls."""
    false = contaminated = 0
    for seed in range(2000):
        judgement = judge(made({}, others=60, sd=0.05, seed=seed))
        counts = judgement.counts
        false += bool(counts.get("slower", 0) + counts.get("faster", 0))
        contaminated += judgement.contaminated
    bound = stats.binomtest(false, 2000, alternative="less").proportion_ci(0.95).high
    assert bound <= FALSE_ALARMS, false
    assert contaminated <= 20


def test_the_whole_judge_finds_a_tenth_more() -> None:
    found = 0
    for seed in range(300):
        comparison = made({"x": 1.10}, others=59, sd=0.025, seed=seed)
        found += judge(comparison).counts.get("slower", 0)
    assert found >= 300 * POWER


def test_the_variance_that_is_added_finds_more() -> None:
    """Against a plain t, at a noise where the screen is what limits."""
    moderated = simulate(1000, sd=0.04, ratio=1.10, seed=3).power
    with mock.patch("reports.signflip.fudge", lambda D: np.zeros(D.shape[:-2])):
        plain = simulate(1000, sd=0.04, ratio=1.10, seed=3).power
    assert (plain, moderated) == (pytest.approx(0.47, abs=0.05), pytest.approx(0.72, abs=0.05))


def test_a_control_that_did_not_move_is_rarely_outside() -> None:
    """A 99 % interval misses the truth once in a hundred; all of [0.95, 1.05] far less often."""
    draw = np.random.default_rng(5)
    D = 0.05 * np.sqrt(2) * draw.normal(size=(RULES.screen_pairs, 20_000))
    _, low, high = t_interval(D, RULES.control_confidence)
    outside = (low > np.log(RULES.same_high)) | (high < np.log(RULES.same_low))
    assert 0.005 < ((low > 0) | (high < 0)).mean() < 0.015
    assert outside.mean() < 0.002
    assert len(CONTROLS) == 3


def test_same_is_proven() -> None:
    """A case that takes 5 % longer is called the same in at most one suite in twenty: its interval
    misses the truth on that side once in forty, and a suspect is looked at twice."""
    wrong, suites = 0, 1000
    for seed in range(suites):
        comparison = made({"x": 1.05}, others=4, sd=0.02, seed=seed)
        verdict = next(v for v in judge(comparison).verdicts if v.case == "x")
        wrong += verdict.word == "same"
    assert stats.binomtest(wrong, suites, 0.05, alternative="greater").pvalue > 1e-3, wrong


def test_noise_is_of_sd_one() -> None:
    draw = np.random.default_rng(6)
    for noise in (normal, correlated, spells):
        assert noise(draw, (400, 8, 60)).std() == pytest.approx(1, abs=0.03)
    common = correlated(draw, (4000, 2))
    assert np.corrcoef(common.T)[0, 1] == pytest.approx(0.5, abs=0.05)
    assert stats.kurtosis(heavy_tailed(draw, (4000,))) > 2
