"""The derivatives that can be asked for: their names, orders, directions and result shapes."""

from __future__ import annotations

from collections.abc import Sequence
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
    BILAPLACIAN = "bilaplacian"

    @classmethod
    def _missing_(cls, value: object) -> Operator:
        raise ValueError(f"no operator {value!r}; known: {', '.join(cls)}")


# Of order two, or four: what has a gradient below it.
SECOND_ORDER = frozenset(
    {
        *(Operator.HVP, Operator.HESSIAN, Operator.HESSIAN_DIAGONAL),
        *(Operator.LAPLACIAN, Operator.BILAPLACIAN),
    }
)
FOURTH_ORDER = frozenset({Operator.BILAPLACIAN})
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
    Operator.BILAPLACIAN: ("out",),
}


class Orders(NamedTuple):
    """What one evaluation knows of f: its value and derivatives of order one and two.

    `first` is the operator's own result where its order is one; where it is of `SECOND_ORDER` it is
    the gradient `[B, *in]` for m = 1, else the Jacobian `[B, *out, *in]`. `second` is the result of
    an operator of `SECOND_ORDER`, the bilaplacian's too, which is of order four; else None.
    """

    value: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        """All that there is, in a plain tuple, see `orders_of`."""
        return tuple(self)


class Estimate(Orders):
    """The `Orders` of an estimator, still three, with `variance` beside: what its samples say of
    the variance of its result, in the result's shape (nan of one sample)."""

    variance: Tensor | None

    def __new__(
        cls,
        value: Tensor | None,
        first: Tensor | None,
        second: Tensor | None,
        variance: Tensor | None,
    ) -> Estimate:
        made = super().__new__(cls, value, first, second)
        made.variance = variance
        return made

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        return (*self, self.variance)

    def _replace(self, **changed: Tensor | None) -> Estimate:
        value, first, second = (changed.get(name, own) for name, own in self._asdict().items())
        return Estimate(value, first, second, self.variance)


def orders_of(parts: Sequence[Tensor | None]) -> Orders:
    """What `parts` came from."""
    value, first, second, *variance = parts
    return Estimate(value, first, second, *variance) if variance else Orders(value, first, second)


def own_result(found: Tensor | Orders, second: bool) -> Tensor:
    """The operator's own result out of what a strategy had at hand.

    second: whether the operator is of `SECOND_ORDER`.
    """
    own = found if isinstance(found, Tensor) else found.second if second else found.first
    assert own is not None
    return own


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
