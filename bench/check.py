"""The gate: a result is compared, whole, with the reference before anything is timed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from strategies import result_shape

from .case import Case, Subject
from .reference import Reference, cached_reference, errors, reference, tolerance


@dataclass(frozen=True)
class Checked:
    """How far a result is from the reference, and why that is too far, or None."""

    error: dict[str, Any]
    reason: str | None


def check(made: Subject, result: Tensor, references: Path) -> Checked:
    """Compare a result with the reference of its problem, kept in the folder `references`."""
    case = made.case
    if reason := _wrong_kind(case, made, result):
        return Checked({}, reason)
    trusted = reference_of(made, references)
    found = errors(result.detach().cpu().double().numpy(), trusted)
    limit = tolerance(case.dtype, trusted)
    error = {**found, "tolerance": limit, "bound": trusted.bound, "method": trusted.method}
    if not found["relative"] <= limit:
        return Checked(
            error,
            f"relative error {found['relative']:.1e} against the reference, above {limit:.0e}",
        )
    return Checked(error, None)


def _wrong_kind(case: Case, made: Subject, result: Tensor) -> str | None:
    shape = result_shape(case.operator, case.B, case.in_shape, case.out_shape)
    x = made.problem.x
    if tuple(result.shape) != shape:
        return f"shape {tuple(result.shape)}, not {shape}"
    if result.dtype != x.dtype or result.device != x.device:
        return f"{result.dtype} on {result.device}, not {x.dtype} on {x.device}"
    if not bool(result.isfinite().all()):
        return "not finite"
    return None


def reference_of(made: Subject, references: Path) -> Reference:
    """The trusted answer of a case's problem: computed once a run, shared by its processes."""
    case = made.case
    same = [str(case.operator), case.workload, dict(case.params), case.B, case.dtype, case.device]
    key = hashlib.sha256(json.dumps(same, default=str).encode()).hexdigest()[:20]
    return cached_reference(references, key, lambda: reference(case.operator, made.problem, made.v))
