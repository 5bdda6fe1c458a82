"""Screen and confirmation: each rule decides alone somewhere, and the MDE is what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.power import normal, simulate
from reports.stages import (
    RULES,
    confirmed,
    least_called,
    minimum_detectable,
    screened,
    t_interval,
)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_the_interval_is_scipys() -> None:
    D = np.random.default_rng(0).normal(0.1, 0.02, (8, 3))
    mean, low, high = t_interval(D, 0.99)
    expected = stats.ttest_1samp(D, 0).confidence_interval(0.99)
    assert mean == pytest.approx(D.mean(axis=0))
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))


QUIET = np.linspace(-1e-4, 1e-4, 8)


@pytest.mark.parametrize(
    ("D", "call"),
    [
        (np.log(1.031) + QUIET, 1),
        (np.log(1.029) + QUIET, 0),
        (np.log(1 / 1.031) + QUIET, -1),
        (np.log(1 / 1.029) + QUIET, 0),
        # Sums of three of the eight are flipped without a smaller mean: p = 16/128.
        (np.array([0.3, 0.3, 0.3, 0.3, -1e-3, -1e-3, -1e-3, -1e-3]), 0),
    ],
    ids=["slower", "too-little", "faster", "too-little-faster", "p"],
)
def test_the_screen(D: np.ndarray, call: int) -> None:
    assert screened(column(*D)).calls.tolist() == [call]


EVEN = np.linspace(-1e-4, 1e-4, 10)


@pytest.mark.parametrize(
    ("D", "call"),
    [
        (np.log(1.051) + EVEN, 1),
        (np.log(1.049) + EVEN, 0),
        # All above zero, so p is 1/512; one wild pair takes the bound to 1.019.
        (np.array([0.05] * 9 + [0.3]), 0),
        (np.array([0.05] * 9 + [0.28]), 1),
        # A bound of 1.029 and a mean of 1.07; three small negatives make p 8/512.
        (np.array([0.1] * 7 + [-0.01] * 3), 0),
        (np.array([0.1] * 8 + [-0.01] * 2), 1),
    ],
    ids=["slower", "too-little", "bound", "bound-kept", "p", "p-kept"],
)
def test_the_confirmation(D: np.ndarray, call: int) -> None:
    assert confirmed(column(*D)).calls.tolist() == [call]
    assert confirmed(column(*-D)).calls.tolist() == [-call]


def suite(sd: float, cases: int = 60) -> np.ndarray:
    """A suite whose quietest luck and loudest luck are ordinary."""
    return sd * np.sqrt(2) * np.random.default_rng(8).normal(size=(8, cases))


@pytest.mark.parametrize("cases", [1, 60])
@pytest.mark.parametrize("sd", [0.01, 0.03, 0.08])
def test_the_mde_is_found_with_its_power(sd: float, cases: int) -> None:
    """Against simulation, on average over suites: each has its own critical value."""
    found = [
        minimum_detectable(sd * np.sqrt(2), screened(D).test, 8)[0]
        for D in sd * np.sqrt(2) * np.random.default_rng(4).normal(size=(40, 8, cases))
    ]
    power = simulate(2000, sd=sd, ratio=float(np.median(found)), cases=cases, noise=normal).power
    assert power == pytest.approx(RULES.power, abs=0.04)


def test_the_mde_without_noise_is_the_least_ratio_of_the_confirmation() -> None:
    test = screened(np.zeros((8, 3))).test
    assert minimum_detectable([0.0], test, 8) == pytest.approx([RULES.confirm_ratio])


def test_the_mde_grows_with_the_noise_and_with_the_power() -> None:
    test = screened(suite(0.03)).test
    mde = minimum_detectable(np.linspace(0, 0.2, 9), test, 8)
    assert (np.diff(mde) > 0).all()
    assert (minimum_detectable(0.04, test, 8, replace(RULES, power=0.9)) > mde[2] * 0.95).all()
    assert least_called(0.04, test, 8).shape == (1024, 1)
