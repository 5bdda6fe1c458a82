"""The trusted answer: closed forms where known, else derivatives from values alone.

Nothing here shares code with a strategy, and nothing differentiates automatically. Every answer
comes with a bound of its error that was measured: of a closed form against values (`bounds`), of
values from the extrapolation tableau (`differences`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from strategies import FOURTH_ORDER, SECOND_ORDER, Operator, result_shape

from .bounds import measured
from .compare import Reference, scale
from .compare import tolerance as tolerance
from .differences import Estimate, first, second, units
from .fourths import of_all_pairs
from .precise import Evaluator
from .problem import Array, Problem

Shape = tuple[int, ...]


# A form by its name and what computes it, computed or out of what was kept of it.
Keep = Callable[[str, Callable[[], Estimate]], Estimate]


def reference(
    operator: Operator,
    problem: Problem,
    v: Tensor | None = None,
    keep: Keep = lambda form, compute: compute(),
) -> Reference:
    """The operator's result at the problem, for the direction v where it takes one.

    keep: of the derivatives from values, which several operators are made of.
    """
    B = len(problem.x)
    direction = None if v is None else v.detach().cpu().double().reshape(B, -1).numpy()
    f = Evaluator(problem.f, problem.x, problem.args)
    found, scales = from_closed_form(operator, problem, f, direction) or from_values(
        operator, f, direction, keep
    )
    norm = float(np.linalg.norm(found.value))
    value = found.value
    if is_constant(operator, problem) and norm <= 10 * found.bound:
        # Declared, and zero within its error: differences of a linear f leave their rounding.
        value, norm = np.zeros_like(value), 0.0
    bound = found.bound / norm if norm else found.bound
    shape, ones = _shapes(operator, problem)
    return Reference(value.reshape(shape), bound, found.method, scales.reshape(ones))


def is_constant(operator: Operator, problem: Problem) -> bool:
    """Whether the problem declares that its derivative of the operator's order is constant."""
    if operator in FOURTH_ORDER and "fourth" in problem.constant:
        return True
    return ("hessian" if operator in SECOND_ORDER else "jacobian") in problem.constant


# A flat result, and the scale of its entries.
Found = tuple[Estimate, Array]


def from_closed_form(
    operator: Operator, problem: Problem, f: Evaluator, v: Array | None
) -> Found | None:
    """The operator's flat result out of the closed forms that are there, or None."""
    form = next((name for name in _COMBINED[operator][0] if name in problem.exact), None)
    if form is None:
        return None
    return _combined(operator, form, measured(f, form, problem.exact[form]()), v)


def from_values(
    operator: Operator,
    f: Evaluator,
    v: Array | None,
    keep: Keep = lambda form, compute: compute(),
) -> Found:
    """The operator's flat result out of values of f alone."""
    if operator in _ALONG:
        return _ALONG[operator](f, v)
    form = next(name for name in _COMBINED[operator][0] if name in _FORMS)
    return _combined(operator, form, keep(form, lambda: _FORMS[form](f)), v)


def _combined(operator: Operator, form: str, d: Estimate, v: Array | None) -> Found:
    full = form == "hessian" and operator in (Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN)
    behind = np.einsum("bmii->bmi", d.value) if full else d.value
    value = _COMBINED[operator][1](behind, v)
    bound = d.bound * _gain(operator, behind, v)
    return Estimate(value, bound, d.method), scale(operator, behind, v)


def _gain(operator: Operator, d: Array, v: Array | None) -> float:
    """How much contracting `d: [B, m, …]` may enlarge an error in the norm, by Cauchy-Schwarz."""
    if v is not None:
        return float(np.linalg.norm(v, axis=1).max(initial=0.0))
    if operator in FOURTH_ORDER:
        return float(d.shape[2])
    summed = operator in (Operator.DIVERGENCE, Operator.LAPLACIAN) and d.ndim > 2
    return float(d.shape[2]) ** 0.5 if summed else 1.0


Combine = Callable[[Array, Any], Array]

# Which forms serve an operator, best first, and how (of a Hessian the diagonal, where it will do).
_COMBINED: Mapping[Operator, tuple[tuple[str, ...], Combine]] = {
    Operator.GRADIENT: (("jacobian",), lambda d, v: d[:, 0]),
    Operator.VJP: (("jacobian",), lambda d, v: np.einsum("bm,bmn->bn", v, d)),
    Operator.JVP: (("jacobian",), lambda d, v: np.einsum("bmn,bn->bm", d, v)),
    Operator.JACOBIAN: (("jacobian",), lambda d, v: d),
    Operator.DIVERGENCE: (("jacobian",), lambda d, v: np.einsum("bii->b", d)),
    Operator.HVP: (("hessian",), lambda d, v: np.einsum("bmij,bj->bi", d, v)),
    Operator.HESSIAN: (("hessian",), lambda d, v: d),
    Operator.HESSIAN_DIAGONAL: (("hessian-diagonal", "hessian"), lambda d, v: d),
    Operator.LAPLACIAN: (
        ("laplacian", "hessian-diagonal", "hessian"),
        lambda d, v: d.sum(-1) if d.ndim > 2 else d,
    ),
    Operator.BILAPLACIAN: (("fourth",), lambda d, v: d.sum((-2, -1))),
}


def _values_jacobian(f: Evaluator) -> Estimate:
    found = first(f, units(f.n))
    return Estimate(found.value.transpose(1, 2, 0), found.bound, found.method)


def _values_hessian(f: Evaluator) -> Estimate:
    e = units(f.n)
    found = second(f, e, np.broadcast_to(e, (f.n, *e.shape)))
    return Estimate(found.value.transpose(2, 3, 0, 1), found.bound, found.method)


def _values_diagonal(f: Evaluator) -> Estimate:
    e = units(f.n)
    found = second(f, e, e[:, None])
    return Estimate(found.value[:, 0].transpose(1, 2, 0), found.bound, found.method)


_FORMS: Mapping[str, Callable[[Evaluator], Estimate]] = {
    "jacobian": _values_jacobian,
    "hessian": _values_hessian,
    "hessian-diagonal": _values_diagonal,
    "fourth": of_all_pairs,
}


# Along one direction values need no whole matrix; the scale is then that of the row of the result.
def _values_jvp(f: Evaluator, v: Array | None) -> Found:
    assert v is not None
    found = first(f, v[None])
    value = found.value[0]
    scales = np.broadcast_to(scale(Operator.GRADIENT, value[:, None], None), value.shape)
    return Estimate(value, found.bound, found.method), scales


def _values_hvp(f: Evaluator, v: Array | None) -> Found:
    assert v is not None
    size = np.abs(v).max() or 1.0
    found = second(f, v[None] / size, units(f.n)[None])
    value = size * found.value[0, :, :, 0].T
    scales = scale(Operator.GRADIENT, value[:, None], None)
    return Estimate(value, size * found.bound, found.method), scales


_ALONG: Mapping[Operator, Callable[[Evaluator, Array | None], Found]] = {
    Operator.JVP: _values_jvp,
    Operator.HVP: _values_hvp,
}


def _shapes(operator: Operator, problem: Problem) -> tuple[Shape, Shape]:
    """The result's shape, and that of its scale; f is asked for its output's."""
    B, in_shape = len(problem.x), tuple(problem.x.shape[1:])
    out_shape = tuple(problem.f(problem.x, *problem.args).shape[1:])
    ones = (1,) * len(in_shape)
    return result_shape(operator, B, in_shape, out_shape), result_shape(
        operator, B, ones, out_shape
    )


def cached_reference(folder: Path, key: str, compute: Callable[[], Reference]) -> Reference:
    """The reference kept under `key`, computed and kept where there is none yet.

    A file appears whole or not at all: several processes may ask at once.
    """
    path = folder / f"{key}.npz"
    if path.exists():
        with np.load(path) as kept:
            bound, method = float(kept["bound"]), str(kept["method"])
            return Reference(kept["value"], bound, method, kept["scale"])
    found = compute()
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".npz")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **vars(found))
    Path(name).replace(path)
    return found
