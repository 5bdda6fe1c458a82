"""The gate for estimators: many evaluations against the reference, and the variance they report.

NOTE [judging an estimator]
One evaluation is off by its own noise, which says nothing. So a plan is called again and again,
each time with fresh probes, and R results are judged by what R independent results must be:

- unbiased: the mean of each entry is the reference up to a multiple of its standard error. The
  multiple is the quantile of Student's t for R - 1 degrees of freedom at `ALARM` over the number
  of entries, so that right strategies are called wrong less often than `ALARM`, however their
  entries hang together. One more entry sees what all have in common: their mean towards the
  reference, each in units of its standard deviation. What an exact strategy may be off is allowed
  beside it: that is all there is where an estimator has no variance.
- honest: the variance that `values=True` reports is, on average over calls and entries, that of the
  R results. It is called wrong where their ratio lies outside of `BAND` and is off by more than
  `DEVIATIONS` standard errors, which are measured from call to call as well.

A probe that is rare and decides everything (one entry in a thousand that carries the trace) may not
be drawn in R calls; no number of them is enough for every function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit
from torch import Tensor

from strategies import Estimate, Plan, Refusal, attempt
from strategies.drawing import samples_of

from .case import Subject
from .check import Checked, check, reference_of, wrong_kind
from .compare import ENTRY, Reference, errors, judged_by, tolerance, unusable, vacuous
from .problem import Array
from .reference import is_constant

CALLS, LEAST_CALLS, LIMIT_S = 64, 16, 0.5
ALARM = 1e-7
BAND = 1.5
DEVIATIONS = 6


@dataclass(frozen=True)
class Evaluations:
    """Results of R calls, `[R, …]`, and the variances that R calls reported."""

    results: Array
    reported: Array

    @property
    def variance(self) -> Array:
        """`[…]`: of one evaluation."""
        return self.results.var(0, ddof=1)


def check_plan(made: Subject, plan: Plan, result: Tensor, references: Path) -> Checked:
    """Judge a plan by its result, and that of an estimator by further ones too."""
    if made.strategy().exact or wrong_kind(made, result):
        return check(made, result, references)
    telling = _telling(made)
    if isinstance(telling, Refusal):
        reason = f"values=True, which gives its variance, is refused: {telling.reason}"
        return Checked("unsupported", reason)
    found = _evaluations(made, plan, telling, result)
    if isinstance(found, str):
        return Checked("wrong", found)
    return judge_estimates(made, found, reference_of(made, references))


def judge_estimates(made: Subject, found: Evaluations, trusted: Reference) -> Checked:
    """Compare the results with the reference and with one another, see NOTE [judging an
    estimator]."""
    dtype = made.case.dtype
    limit = tolerance(dtype, trusted)
    # Its one evaluation is not held to a tolerance.
    known = {"tolerance": None, "bound": trusted.bound, "method": trusted.method}
    error = {**errors(found.results[0], trusted, dtype), **known}
    finite = bool(np.isfinite(found.results).all())
    if (finite or not np.isfinite(trusted.value).all()) and (reason := unusable(trusted, limit)):
        return Checked("unsupported", reason)
    if not finite:
        return Checked("wrong", "not finite")
    allowed = np.broadcast_to(ENTRY * limit * judged_by(trusted, dtype), trusted.value.shape)
    estimate = _precision(made, found, trusted)
    if reason := _biased(found, trusted, allowed) or _misjudging(found, allowed):
        return Checked("wrong", reason, error, estimate)
    if not is_constant(made.case.operator, made.problem) and (reason := vacuous(trusted)):
        return Checked("unsupported", reason)
    return Checked("ok", None, error, estimate)


def _precision(made: Subject, found: Evaluations, trusted: Reference) -> dict[str, Any]:
    """Of one evaluation: its products, and its standard error over the norm of the reference."""
    norm = float(np.linalg.norm(trusted.value)) or 1.0
    draws = made.strategy().draws
    return {
        "samples": None if draws is None else samples_of(made.setting().options),
        "std_error": float(np.sqrt(found.variance.sum())) / norm,
        "evaluations": len(found.results),
    }


def _telling(made: Subject) -> Plan | Refusal:
    """The plan that gives the variance too."""
    setting = made.setting()
    setting = replace(setting, options=replace(setting.options, values=True))
    # Whether its operations are safe was asked when the plan was prepared.
    return attempt(setting, made.strategy(), by_table=False)


def _evaluations(made: Subject, plan: Plan, telling: Plan, result: Tensor) -> Evaluations | str:
    """Results of the plan, the given one first, and the variances that go with such; or what is
    wrong with these."""
    orders = telling(*made.inputs)
    if not isinstance(orders, Estimate) or orders.variance is None:
        return "an estimator that reports no variance"
    results = _repeated(lambda: plan(*made.inputs))
    reported = _repeated(lambda: telling(*made.inputs).variance)  # type: ignore[union-attr]
    if tuple(orders.variance.shape) != tuple(result.shape):
        return f"variance of shape {tuple(orders.variance.shape)}, not {tuple(result.shape)}"
    calls = min(len(results) + 1, len(reported))
    own = np.stack([_array(result), *results])
    return Evaluations(own[:calls], np.stack(reported)[:calls])


def _repeated(call: Callable[[], object]) -> list[Array]:
    begun, found = time.process_time(), list[Array]()
    while len(found) < CALLS:
        if len(found) >= LEAST_CALLS and time.process_time() - begun > LIMIT_S:
            break
        given = call()
        assert isinstance(given, Tensor)
        found.append(_array(given))
    return found


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().to_dense().cpu().double().numpy())


def _biased(found: Evaluations, trusted: Reference, allowed: Array) -> str | None:
    """Where the mean of the results is not the reference."""
    R, off, spread = len(found.results), found.results - trusted.value, np.sqrt(found.variance)
    # Below, the spread is that of rounding.
    alive = spread > allowed
    means, noise = (np.abs(off.mean(0)) - allowed).ravel(), spread.ravel()
    if alive.any():
        towards = np.sign(trusted.value) * off / np.where(alive, spread, 1)
        together = towards[:, alive].mean(1)
        slack = (allowed / np.where(alive, spread, 1))[alive].mean()
        means = np.append(means, abs(together.mean()) - slack)
        noise = np.append(noise, together.std(ddof=1))
    most = float(-stdtrit(R - 1, ALARM / (2 * noise.size)))
    away = means / np.maximum(noise / np.sqrt(R), np.finfo(float).tiny)
    if (away <= most).all():
        return None
    return (
        f"biased: the mean of {R} evaluations is {away.max():.2g} standard errors"
        f" from the reference, above {most:.2g}"
    )


def _misjudging(found: Evaluations, allowed: Array) -> str | None:
    """Where the reported variance is not that of the results."""
    R = len(found.results)
    if not np.isfinite(found.reported).all():
        return "the variance that it reports is not finite"
    squares = (found.results - found.results.mean(0)) ** 2 * R / (R - 1)
    size = (squares.mean(0) + found.reported.mean(0)) / 2
    alive = size > allowed**2
    if not alive.any():
        return None
    # Of each call, over the entries: each has the same weight, whatever its size.
    own, said = (each[:, alive] / size[alive] for each in (squares, found.reported))
    own, said = own.mean(1), said.mean(1)
    ratio = said.mean() / max(own.mean(), np.finfo(float).tiny)
    noise = np.sqrt((own.var(ddof=1) + said.var(ddof=1)) / R)
    if 1 / BAND <= ratio <= BAND or abs(own.mean() - said.mean()) <= DEVIATIONS * noise:
        return None
    return (
        f"the variance that it reports is {ratio:.2g} times that of {R} evaluations,"
        f" outside of {1 / BAND:.2g} to {BAND:g}"
    )
