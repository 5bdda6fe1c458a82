"""The trusted answer: closed forms where known, else derivatives from values alone.

Nothing here shares code with a strategy, and nothing differentiates automatically.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from strategies import Operator, result_shape

from .differences import Estimate, first, second, units
from .precise import Evaluator
from .problem import Array, Exact, Problem

# Rounding of the closed forms: a few hundred operations in float64 behind each entry.
CLOSED_FORM = 1e-13
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class Reference:
    """The answer `[B, …]` in float64, a bound of its relative error, and how it was found."""

    value: Array
    bound: float
    method: str


def reference(operator: Operator, problem: Problem, v: Tensor | None = None) -> Reference:
    """The operator's result at the problem, for the direction v where it takes one."""
    B = len(problem.x)
    direction = None if v is None else v.detach().cpu().double().reshape(B, -1).numpy()
    found = from_closed_form(operator, problem.exact, direction)
    if found is None:
        found = _from_values(operator, problem, direction)
    norm = float(np.linalg.norm(found.value))
    bound = found.bound / norm if norm else found.bound
    return Reference(_shaped(operator, problem, found.value), bound, found.method)


def from_closed_form(operator: Operator, exact: Exact, v: Array | None) -> Estimate | None:
    """The operator's flat result out of the closed forms that are there, or None."""
    needed, combine = _COMBINED[operator]
    form = next((name for name in needed if name in exact), None)
    if form is None:
        return None
    value = combine(form, exact[form](), v)
    return Estimate(value, CLOSED_FORM * float(np.linalg.norm(value)), "closed form")


def _diagonal(form: str, d: Array, v: Array | None) -> Array:
    return np.einsum("bmii->bmi", d) if form == "hessian" else d


def _laplacian(form: str, d: Array, v: Array | None) -> Array:
    return d if form == "laplacian" else _diagonal(form, d, v).sum(-1)


Combine = Callable[[str, Array, Any], Array]

# Which closed forms serve an operator, best first, and how.
_COMBINED: Mapping[Operator, tuple[tuple[str, ...], Combine]] = {
    Operator.GRADIENT: (("jacobian",), lambda _, d, v: d[:, 0]),
    Operator.VJP: (("jacobian",), lambda _, d, v: np.einsum("bm,bmn->bn", v, d)),
    Operator.JVP: (("jacobian",), lambda _, d, v: np.einsum("bmn,bn->bm", d, v)),
    Operator.JACOBIAN: (("jacobian",), lambda _, d, v: d),
    Operator.DIVERGENCE: (("jacobian",), lambda _, d, v: np.einsum("bii->b", d)),
    Operator.HVP: (("hessian",), lambda _, d, v: np.einsum("bmij,bj->bi", d, v)),
    Operator.HESSIAN: (("hessian",), lambda _, d, v: d),
    Operator.HESSIAN_DIAGONAL: (("hessian-diagonal", "hessian"), _diagonal),
    Operator.LAPLACIAN: (("laplacian", "hessian-diagonal", "hessian"), _laplacian),
}


def _from_values(operator: Operator, problem: Problem, v: Array | None) -> Estimate:
    f = Evaluator(problem.f, problem.x, problem.args)
    return _FROM_VALUES[operator](f, v)


def _values_jacobian(f: Evaluator, v: Array | None) -> Estimate:
    found = first(f, units(f.n))
    return Estimate(found.value.transpose(1, 2, 0), found.bound, found.method)


def _values_gradient(f: Evaluator, v: Array | None) -> Estimate:
    found = _values_jacobian(f, v)
    return Estimate(found.value[:, 0], found.bound, found.method)


def _values_vjp(f: Evaluator, v: Array | None) -> Estimate:
    assert v is not None
    found = _values_jacobian(f, v)
    value = np.einsum("bm,bmn->bn", v, found.value)
    return Estimate(value, found.bound * float(np.abs(v).max()), found.method)


def _values_jvp(f: Evaluator, v: Array | None) -> Estimate:
    assert v is not None
    found = first(f, v[None])
    return Estimate(found.value[0], found.bound, found.method)


def _values_divergence(f: Evaluator, v: Array | None) -> Estimate:
    found = _values_jacobian(f, v)
    return Estimate(np.einsum("bii->b", found.value), found.bound, found.method)


def _values_hvp(f: Evaluator, v: Array | None) -> Estimate:
    assert v is not None
    size = np.abs(v).max() or 1.0
    found = second(f, v[None] / size, units(f.n)[None])
    return Estimate(size * found.value[0, :, :, 0].T, size * found.bound, found.method)


def _values_hessian(f: Evaluator, v: Array | None) -> Estimate:
    e = units(f.n)
    found = second(f, e, np.broadcast_to(e, (f.n, *e.shape)))
    return Estimate(found.value.transpose(2, 3, 0, 1), found.bound, found.method)


def _values_diagonal(f: Evaluator, v: Array | None) -> Estimate:
    e = units(f.n)
    found = second(f, e, e[:, None])
    return Estimate(found.value[:, 0].transpose(1, 2, 0), found.bound, found.method)


def _values_laplacian(f: Evaluator, v: Array | None) -> Estimate:
    found = _values_diagonal(f, v)
    return Estimate(found.value.sum(-1), found.bound * f.n**0.5, found.method)


_FROM_VALUES: Mapping[Operator, Callable[[Evaluator, Array | None], Estimate]] = {
    Operator.GRADIENT: _values_gradient,
    Operator.VJP: _values_vjp,
    Operator.JVP: _values_jvp,
    Operator.JACOBIAN: _values_jacobian,
    Operator.DIVERGENCE: _values_divergence,
    Operator.HVP: _values_hvp,
    Operator.HESSIAN: _values_hessian,
    Operator.HESSIAN_DIAGONAL: _values_diagonal,
    Operator.LAPLACIAN: _values_laplacian,
}


def _shaped(operator: Operator, problem: Problem, value: Array) -> Array:
    """From `[B, n]` and `[B, m]` to the problem's own shapes; f is asked for its output's."""
    in_shape = tuple(problem.x.shape[1:])
    out_shape = tuple(problem.f(problem.x, *problem.args).shape[1:])
    return value.reshape(result_shape(operator, len(problem.x), in_shape, out_shape))


def errors(result: Array, trusted: Reference) -> dict[str, Any]:
    """How far a result is from the reference.

    relative: `‖J − J*‖ / ‖J*‖` over the whole result, absolute where the reference is zero.
    elementwise: the largest `|J − J*|` of an entry over the root mean square of J*.
    digits: `−log₁₀` of relative, at most 17. Not finite or another shape: infinite errors.
    """
    if result.shape != trusted.value.shape or not np.isfinite(result).all():
        return {"relative": float("inf"), "elementwise": float("inf"), "digits": 0.0}
    off, norm = np.abs(result - trusted.value), float(np.linalg.norm(trusted.value))
    mean = norm / max(off.size, 1) ** 0.5
    relative = float(np.linalg.norm(off)) / (norm or 1.0)
    return {
        "relative": relative,
        "elementwise": float(off.max(initial=0.0)) / (mean or 1.0),
        "digits": float(np.clip(-np.log10(max(relative, 1e-17)), 0, 17)),
    }


def tolerance(dtype: str, trusted: Reference) -> float:
    """The largest relative error that passes: 1e-9 in float64, 1e-4 in float32, or ten times the
    reference's own bound where that is more."""
    return max(TOLERANCES[dtype], 10 * trusted.bound)


def cached_reference(folder: Path, key: str, compute: Callable[[], Reference]) -> Reference:
    """The reference kept under `key`, computed and kept where there is none yet.

    A file appears whole or not at all: several processes may ask at once.
    """
    path = folder / f"{key}.npz"
    if path.exists():
        with np.load(path) as kept:
            return Reference(kept["value"], float(kept["bound"]), str(kept["method"]))
    found = compute()
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".npz")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, value=found.value, bound=found.bound, method=found.method)
    Path(name).replace(path)
    return found
