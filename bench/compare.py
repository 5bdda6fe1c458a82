"""How far a result is from its reference, as a whole and entry by entry, and how far it may be.

NOTE [scale of an entry]
An entry that happens to be small carries the rounding of the numbers that it was computed with, so
its error is judged against their scale and not against the entry. With s(b, k) the root mean square
of ∂y_k/∂x (or ∂²y_k/∂x²) of row b over the inputs, the entries of a Jacobian or Hessian have the
scale s(b, k), and those of a contraction the root of the sum of the squares of what is summed:
‖v‖ s for J v and H v, √Σ_k (v_k s)² for vᵀJ, √Σ_k s² for a divergence, √n s for a Laplacian, n s
for a bilaplacian with s of ∂⁴y_k/∂x_i²∂x_j². Where there is one input, s is taken over the batch.
A row that is small or an output that is small is thus judged by its own size, although it cannot be
seen in the norm of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from strategies import Operator

from .problem import Array

TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
# The largest of a million normal errors is five times their root mean square, and the error of a
# row twice that of the whole: a tenfold tolerance for the worst entry refuses no right answer.
ENTRY = 10
# An entry may be off by so many roundings of the whole's root mean square, however small its row:
# a row that is truly zero among others is right where it is zero to rounding.
ROUNDINGS = 16
CONTRADICTED = "closed form that f contradicts"
DECLARE = "where f is made so, its Problem declares it `constant`"
# Above this tolerance a wrong answer would pass.
LOOSEST = 1e-2


@dataclass(frozen=True)
class Reference:
    """The answer `[B, …]` in float64, a bound of its relative error, how it was found, and the
    scale of the numbers behind each entry, see NOTE [scale of an entry].

    `bound` is absolute where the answer is zero; `scale` broadcasts to the answer.
    """

    value: Array
    bound: float
    method: str
    scale: Array


Contract = Callable[[Array, Any, int], Array]

_SCALES: Mapping[Operator, Contract] = {
    Operator.GRADIENT: lambda s, v, n: s[:, :1],
    Operator.VJP: lambda s, v, n: _rows(v * s),
    Operator.JVP: lambda s, v, n: _rows(v) * s,
    Operator.JACOBIAN: lambda s, v, n: s[:, :, None],
    Operator.DIVERGENCE: lambda s, v, n: _rows(s)[:, 0],
    Operator.HVP: lambda s, v, n: _rows(v) * s[:, :1],
    Operator.HESSIAN: lambda s, v, n: s[:, :, None, None],
    Operator.HESSIAN_DIAGONAL: lambda s, v, n: s[:, :, None],
    Operator.LAPLACIAN: lambda s, v, n: s * n**0.5,
    Operator.BILAPLACIAN: lambda s, v, n: s * n,
}


def _rows(a: Array) -> Array:
    """`[B, k] -> [B, 1]`: the norm of each row."""
    return np.linalg.norm(a, axis=1, keepdims=True)


def sizes(d: Array) -> Array:
    """`[B, m, …] -> [B, m]`: the root mean square over the inputs; of a lone one over the batch."""
    squares = d.reshape(*d.shape[:2], -1) ** 2
    lone = squares.shape[2] == 1
    mean = squares.mean(axis=0, keepdims=True) if lone else squares
    return np.broadcast_to(mean.mean(axis=2) ** 0.5, d.shape[:2])


def scale(operator: Operator, d: Array, v: Array | None) -> Array:
    """The scale of the operator's flat entries out of a derivative `d: [B, m, …]` of its order.

    The inputs' axes of the result have size one, see NOTE [scale of an entry].
    """
    return _SCALES[operator](sizes(d), v, d.shape[2] if d.ndim > 2 else 1)


def tolerance(dtype: str, trusted: Reference) -> float:
    """The largest relative error that passes: 1e-9 in float64, 1e-4 in float32, or ten times the
    reference's own bound where that is more. The worst entry may be off by `ENTRY` times that."""
    return max(TOLERANCES[dtype], 10 * trusted.bound)


def errors(result: Array, trusted: Reference, dtype: str) -> dict[str, Any]:
    """How far a result is from the reference.

    relative: `‖J − J*‖ / ‖J*‖` over the whole result, absolute where the reference is zero.
    elementwise: the largest `|J − J*|` of an entry over its scale.
    digits: `−log₁₀` of relative, at most 17. Not finite or another shape: infinite errors.
    """
    if result.shape != trusted.value.shape or not np.isfinite(result).all():
        return {"relative": float("inf"), "elementwise": float("inf"), "digits": 0.0}
    off, norm = np.abs(result - trusted.value), float(np.linalg.norm(trusted.value))
    relative = float(np.linalg.norm(off)) / (norm or 1.0)
    return {
        "relative": relative,
        "elementwise": float((off / judged_by(trusted, dtype)).max(initial=0.0)),
        "digits": float(np.clip(-np.log10(max(relative, 1e-17)), 0, 17)),
    }


def judged_by(trusted: Reference, dtype: str) -> Array:
    """Each entry's scale, or more where rounding of the whole or the reference's own error is all
    that could be seen in it: `ENTRY · tolerance` of it is what an entry may be off."""
    norm = float(np.linalg.norm(trusted.value))
    if not norm:
        return np.ones(())
    root = trusted.value.size**0.5
    least = max(ROUNDINGS * float(np.finfo(dtype).eps), 10 * trusted.bound * root)
    floor = least / (ENTRY * tolerance(dtype, trusted)) * norm / root
    return np.maximum(trusted.scale, floor)


def unusable(trusted: Reference, limit: float) -> str | None:
    """Why nothing can be compared with this reference under the tolerance `limit`, or None."""
    size = float(np.linalg.norm(trusted.value))
    if not np.isfinite(size):
        return "vacuous: the reference is not finite"
    if limit <= LOOSEST:
        return None
    if size and trusted.bound < 0.1:
        known = f"known to {trusted.bound:.0e} of itself only, by {trusted.method}"
        return f"vacuous: the reference is {known}"
    if trusted.method == CONTRADICTED:
        return f"vacuous: the reference is a {CONTRADICTED}"
    return (
        f"vacuous: the reference is zero within its own error, so that zeros would pass; {DECLARE}"
    )


def vacuous(trusted: Reference) -> str | None:
    """Why a right result would prove nothing by this reference, or None."""
    size = float(np.linalg.norm(trusted.value))
    if not size:
        return f"vacuous: the reference is zero, so that zeros would pass; {DECLARE}"
    spread = float(np.ptp(trusted.value))
    if trusted.value.size > 1 and spread <= (10 * trusted.bound + 1e-15) * size:
        return f"vacuous: all entries of the reference are equal, wherever they are; {DECLARE}"
    return None
