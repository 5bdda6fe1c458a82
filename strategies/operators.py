"""The derivatives that can be asked for: their names, orders, directions and result shapes."""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import NamedTuple

from torch import Tensor

Shape = tuple[int, ...]


class Operator(StrEnum):
    """Which derivative of `f: [B, *in] -> [B, *out]`, row by row of the batch."""

    GRADIENT = "gradient"
    VJP = "vjp"
    JVP = "jvp"
    JACOBIAN = "jacobian"
    DIVERGENCE = "divergence"
    HVP = "hvp"
    HESSIAN = "hessian"
    HESSIAN_DIAGONAL = "hessian-diagonal"
    LAPLACIAN = "laplacian"

    @classmethod
    def _missing_(cls, value: object) -> Operator:
        raise ValueError(f"no operator {value!r}; known: {', '.join(cls)}")


SECOND_ORDER = frozenset(
    {Operator.HVP, Operator.HESSIAN, Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN}
)
SCALAR = frozenset({Operator.GRADIENT, Operator.HVP})
SQUARE = frozenset({Operator.DIVERGENCE})

# Like which side of f the direction `v` of an operator is shaped.
DIRECTIONS = {Operator.VJP: "out", Operator.JVP: "in", Operator.HVP: "in"}

_RESULTS = {
    Operator.GRADIENT: ("in",),
    Operator.VJP: ("in",),
    Operator.JVP: ("out",),
    Operator.JACOBIAN: ("out", "in"),
    Operator.DIVERGENCE: (),
    Operator.HVP: ("in",),
    Operator.HESSIAN: ("out", "in", "in"),
    Operator.HESSIAN_DIAGONAL: ("out", "in"),
    Operator.LAPLACIAN: ("out",),
}


class Orders(NamedTuple):
    """What one evaluation knows of f: its value and derivatives of order one and two.

    `first` is the operator's own result where its order is one; where its order is two it is the
    gradient `[B, *in]` for m = 1, else the Jacobian `[B, *out, *in]`. `second` is the operator's
    result where its order is two, else None. `variance`: of an estimator's result, in its shape,
    what its samples say of the variance of that result (nan of one sample); None of an exact one.
    """

    value: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None
    variance: Tensor | None = None


def result_shape(operator: Operator, batch: int, in_shape: Shape, out_shape: Shape) -> Shape:
    """`[B, …]`: the shape of the operator's result."""
    sides = {"in": in_shape, "out": out_shape}
    return (batch, *(size for side in _RESULTS[operator] for size in sides[side]))


def violated_shape(operator: Operator, in_shape: Shape, out_shape: Shape) -> str | None:
    """Why the operator is not defined for these shapes, or None."""
    n, m = prod(in_shape), prod(out_shape)
    if operator in SCALAR and m != 1:
        return f"{operator} needs one output a row, f has {m} (shape {out_shape})"
    if operator in SQUARE and n != m:
        return f"{operator} needs as many outputs as inputs a row, f has {m} and {n}"
    return None
