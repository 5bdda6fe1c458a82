"""The gate: a result is compared, whole, with the reference before anything is timed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strategies import result_shape

from .case import Case, Subject
from .compare import ENTRY, Reference, errors, tolerance, unusable, vacuous
from .differences import Estimate
from .problem import Array
from .reference import cached_reference, is_constant, reference

LAYOUTS: Mapping[str, torch.layout] = {"dense": torch.strided, "sparse": torch.sparse_coo}


@dataclass(frozen=True)
class Checked:
    """How far a result is from the reference, and why it has no time: it is wrong, or it is
    unsupported since by this reference nobody could tell. `reason` is None where it is right;
    `estimate` is what is known of the precision of an estimator."""

    status: str
    reason: str | None = None
    error: dict[str, Any] = field(default_factory=dict)
    estimate: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """What the case's row keeps of it; a row without a status was ok."""
        found: dict[str, Any] = {"error": self.error}
        found |= {"estimate": self.estimate} if self.estimate else {}
        return {**found, "status": self.status, "reason": self.reason} if self.reason else found


def check(made: Subject, result: Tensor, references: Path) -> Checked:
    """Compare a result with the reference of its problem, kept in the folder `references`."""
    if reason := wrong_kind(made, result):
        return Checked("wrong", reason)
    found = result.detach().to_dense().cpu().double().numpy()
    return judge(made, found, reference_of(made, references))


def judge(made: Subject, result: Array, trusted: Reference) -> Checked:
    """Compare values; a wrong result is wrong also where a right one would prove nothing."""
    case = made.case
    limit = tolerance(case.dtype, trusted)
    found = errors(result, trusted, case.dtype)
    error = {**found, "tolerance": limit, "bound": trusted.bound, "method": trusted.method}
    finite = bool(np.isfinite(result).all())
    if (finite or not np.isfinite(trusted.value).all()) and (reason := unusable(trusted, limit)):
        return Checked("unsupported", reason)
    if reason := "not finite" if not finite else _too_far(found, limit):
        return Checked("wrong", reason, error if finite else {})
    constant = is_constant(case.operator, made.problem)
    if not constant and (reason := vacuous(trusted)):
        return Checked("unsupported", reason)
    return Checked("ok", None, error)


def wrong_kind(made: Subject, result: Tensor) -> str | None:
    """Why a result cannot be compared with anything, or None."""
    case, x = made.case, made.problem.x
    shape = result_shape(case.operator, case.B, case.in_shape, case.out_shape)
    if result.layout != LAYOUTS[case.layout]:
        return f"layout {result.layout}, not {LAYOUTS[case.layout]}"
    if tuple(result.shape) != shape:
        return f"shape {tuple(result.shape)}, not {shape}"
    if result.dtype != x.dtype or result.device != x.device:
        return f"{result.dtype} on {result.device}, not {x.dtype} on {x.device}"
    return None


def _too_far(found: Mapping[str, float], limit: float) -> str | None:
    against = "against the reference, above"
    if not found["relative"] <= limit:
        return f"relative error {found['relative']:.1e} {against} {limit:.0e}"
    if not found["elementwise"] <= ENTRY * limit:
        worst = f"an entry is off by {found['elementwise']:.1e} of its scale"
        return f"{worst} {against} {ENTRY * limit:.0e}"
    return None


def reference_of(made: Subject, references: Path) -> Reference:
    """The trusted answer of a case's problem: computed once a run, shared by its processes, and
    what it is made of by those of other operators."""

    def keep(form: str, compute: Callable[[], Estimate]) -> Estimate:
        def whole() -> Reference:
            found = compute()
            return Reference(found.value, found.bound, found.method, np.zeros(0))

        kept = cached_reference(references, _key(made.case, form), whole)
        return Estimate(kept.value, kept.bound, kept.method)

    case = made.case
    return cached_reference(
        references,
        _key(case, f"of {case.operator}"),
        lambda: reference(case.operator, made.problem, made.v, keep),
    )


def _key(case: Case, what: str) -> str:
    same = [what, case.workload, dict(case.params), case.B, case.dtype, case.device]
    return hashlib.sha256(json.dumps(same, default=str).encode()).hexdigest()[:20]
