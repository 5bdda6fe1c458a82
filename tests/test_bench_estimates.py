"""The gate for estimators on trial: right ones pass it, planted defects do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from bench import check_estimates, commands
from bench.case import Case, Subject, case_from_axes, subject
from bench.check_estimates import CALLS, Evaluations, judge_estimates
from bench.compare import Reference
from bench.grid import Block, blocks, cases
from bench.reference import reference
from strategies import STRATEGIES, Estimate, Operator, Refusal, Strategy, strategy
from strategies.diagonals import curve
from strategies.drawing import dimensions, signs
from strategies.estimators import averaged
from strategies.registry import Draws, Evaluate, Function, Inputs, Options

LAPLACIAN = Operator.LAPLACIAN
ESTIMATORS = [s for s in STRATEGIES.values() if not s.exact]

# Samples `[k, B, m]` of an evaluation to its result and what it reports of the variance.
Report = Callable[[Tensor, Options, int], tuple[Tensor, Tensor | None]]


def uniform(inputs: Inputs, options: Options) -> Callable[[], Tensor]:
    """Entries even in [-1, 1], of variance a third."""
    generator, draw = torch.Generator().manual_seed(0), signs(inputs, options)
    return lambda: torch.rand(draw().shape, generator=generator) * 2 - 1


def normal(inputs: Inputs, options: Options) -> Callable[[], Tensor]:
    """Of variance one, as they may be."""
    generator, draw = torch.Generator().manual_seed(0), signs(inputs, options)
    return lambda: torch.randn(draw().shape, generator=generator)


def frozen(inputs: Inputs, options: Options) -> Callable[[], Tensor]:
    """The same signs at every call."""
    probes = signs(inputs, options)()
    return lambda: probes


def unscaled(inputs: Inputs, options: Options) -> Callable[[], Tensor]:
    """Some of the unit vectors, the factor n/k forgotten."""
    draw = dimensions(inputs, options)
    return lambda: draw() / inputs[0].shape[1] ** 0.5


def right(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
    return averaged(drawn, options)


def without_replacement(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
    return averaged(drawn, options, n)


def reporting(factor: float) -> Report:
    """The right answer, the variance that many times as large."""

    def report(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
        mean, variance = averaged(drawn, options)
        return mean, None if variance is None else factor * variance

    return report


def silent(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
    return drawn.mean(0), None


def two_too_many(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
    """The mean over k + 2 of k samples."""
    return drawn.sum(0) / (len(drawn) + 2), averaged(drawn, options)[1]


def by_noise(drawn: Tensor, options: Options, n: int) -> tuple[Tensor, Tensor | None]:
    return drawn.mean(0) * torch.nan, averaged(drawn, options)[1]


BIASED, MISJUDGING = r"biased: the mean of \d+ evaluations is", "the variance that it reports is"
SOUND: dict[str, tuple[Draws, Report]] = {
    "signs": (signs, right),
    "normal": (normal, right),
    "dimensions": (dimensions, without_replacement),
}
PLANTED: dict[str, tuple[Draws, Report, str]] = {
    "factor n/k forgotten": (unscaled, without_replacement, BIASED),
    "probes of another variance": (uniform, right, BIASED),
    "mean over two too many": (signs, two_too_many, BIASED),
    "probes that stay": (frozen, right, BIASED),
    "variance of a sample": (
        signs,
        reporting(16),
        rf"{MISJUDGING} 1\d times that of \d+ eval",
    ),
    "variance over k twice": (signs, reporting(1 / 16), rf"{MISJUDGING} 0\.0\d+ times"),
    "variance as if with replacement": (dimensions, right, rf"{MISJUDGING} [12]\.?\d* times"),
    "variance as if without": (signs, without_replacement, rf"{MISJUDGING} 0\.[45]\d* times"),
    "no variance": (signs, silent, "an estimator that reports no variance"),
    "variance of zero": (signs, reporting(0), f"{MISJUDGING} 0 times"),
    "variance that is not finite": (signs, reporting(torch.nan), f"{MISJUDGING} not finite"),
    "not finite": (signs, by_noise, "not finite"),
}


@pytest.fixture
def plant() -> Iterator[Callable[[Draws, Report], Subject]]:
    """Makes an estimator of the Laplacian a strategy, and a case of it; gone after the test."""
    before = dict(STRATEGIES)

    def planted(draws: Draws, report: Report) -> Subject:
        @strategy(LAPLACIAN, mode="mine", sweep="vmap", needs=["sum"], exact=False, draws=draws)
        def planted_estimator(f: Function, inputs: Inputs, options: Options) -> Evaluate:
            """Planted."""

            def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Estimate:
                drawn = vmap(lambda v: curve(f, x, v, args))(probes)
                return Estimate(None, None, *report(drawn, options, x.shape[1]))

            return evaluate

        return subject(Case(LAPLACIAN, "planted-estimator", *SMALL))

    yield planted
    STRATEGIES.clear()
    STRATEGIES.update(before)


# mlp-scalar with 32 inputs, 16 rows.
SMALL = ("mlp-scalar", 16, (32,), (1,), {"n": 32})


@pytest.mark.parametrize("name", SOUND)
def test_sound_estimators_pass(
    name: str, plant: Callable[[Draws, Report], Subject], tmp_path: Path
) -> None:
    row = commands._checked(plant(*SOUND[name]).case, tmp_path)
    assert (row["status"], row["reason"]) == ("ok", "")
    assert row["estimate"]["samples"] == 16
    assert 0.05 < row["estimate"]["std_error"] < 1
    assert row["error"]["tolerance"] is None


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defects_are_wrong(
    name: str, plant: Callable[[Draws, Report], Subject], tmp_path: Path
) -> None:
    draws, report, said = PLANTED[name]
    row = commands._checked(plant(draws, report).case, tmp_path)
    assert row["status"] == "wrong"
    assert re.match(said, row["reason"]), row["reason"]


@pytest.mark.parametrize("found", ESTIMATORS, ids=lambda s: f"{s.operator}-{s.name}")
def test_every_estimator_of_the_suite_passes(found: Strategy, tmp_path: Path) -> None:
    for case in cases(blocks("smoke"), only=[f"{found.operator}/{found.name}/"]):
        row = commands._checked(case, tmp_path)
        assert (row["status"], row["reason"]) == ("ok", ""), case.id


def test_of_one_without_a_variance_nobody_can_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        check_estimates, "_telling", lambda made: Refusal("hutchinson", "no orders")
    )
    row = commands._checked(Case(LAPLACIAN, "hutchinson", *SMALL), tmp_path)
    assert row["status"] == "unsupported"
    assert row["reason"] == "values=True, which gives its variance, is refused: no orders"


def made() -> tuple[Subject, Reference]:
    case = Case(LAPLACIAN, "hutchinson", *SMALL)
    return subject(case), reference(LAPLACIAN, subject(case).problem)


def drawn(trusted: Reference, seed: int, calls: int = CALLS, heavy: bool = False) -> Evaluations:
    """Results and variances as an estimator gives them that has nothing to do with any code."""
    rng, shape = np.random.default_rng(seed), (calls, 16, *trusted.value.shape)
    noise = rng.exponential(size=shape) - 1 if heavy else rng.standard_normal(shape)
    samples = trusted.value * (1 + noise)
    return Evaluations(samples.mean(1), samples.var(1, ddof=1) / 16)


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("calls", [16, CALLS])
def test_right_results_are_never_called_wrong(calls: int, heavy: bool) -> None:
    subject_, trusted = made()
    statuses = {
        judge_estimates(subject_, drawn(trusted, seed, calls, heavy), trusted).status
        for seed in range(300)
    }
    assert statuses == {"ok"}


def test_one_row_that_is_off_is_enough() -> None:
    subject_, trusted = made()
    found = drawn(trusted, 0)
    results = found.results.copy()
    results[:, 3] *= 1.5
    reason = judge_estimates(subject_, replace(found, results=results), trusted).reason
    assert re.match(BIASED, str(reason))


def test_what_all_rows_have_in_common_is_seen_where_no_row_shows_it() -> None:
    subject_, trusted = made()
    found = drawn(trusted, 0)
    assert judge_estimates(subject_, found, trusted).status == "ok"
    shifted = replace(found, results=found.results + 0.12 * trusted.value)
    reason = judge_estimates(subject_, shifted, trusted).reason
    assert re.match(BIASED, str(reason))


def test_an_estimator_without_noise_is_held_to_the_tolerance() -> None:
    subject_, trusted = made()
    for off, status in ((1e-6, "ok"), (1e-2, "wrong")):
        results = np.broadcast_to(trusted.value * (1 + off), (CALLS, *trusted.value.shape))
        found = Evaluations(results, np.zeros_like(results))
        assert judge_estimates(subject_, found, trusted).status == status


def test_what_would_prove_nothing_is_refused_of_estimators_too() -> None:
    subject_, trusted = made()
    poor = replace(trusted, bound=0.01)
    checked = judge_estimates(subject_, drawn(trusted, 0), poor)
    assert checked.status == "unsupported"
    assert str(checked.reason).startswith("vacuous: the reference is known to 1e-02")
    assert checked.error == {}


def estimators(grid: str) -> list[Case]:
    return [c for c in cases(blocks(grid)) if not STRATEGIES[c.operator, c.strategy].exact]


def test_few_are_timed_by_default_and_only_where_they_draw_less_than_all() -> None:
    found = estimators("default")
    assert 7 <= len(found) <= 30
    assert all(np.prod(case.in_shape) > 16 for case in found)


def test_a_block_can_ask_for_small_ones() -> None:
    block = Block("mlp-scalar", [LAPLACIAN], B=2, params={"n": 3})
    names: dict[bool, Any] = {
        small: {c.strategy for c in cases([replace(block, small_estimates=small)])}
        for small in (False, True)
    }
    assert names[True] - names[False] == {"hutchinson", "hutch++", "sampled-dimensions"}


def test_a_case_of_one_has_axes_like_others() -> None:
    case = Case(LAPLACIAN, "hutch++", *SMALL)
    assert case_from_axes(case.axes) == case
    assert case.id == "laplacian/hutch++/mlp-scalar/n=32/B=16/float32/cpu"
