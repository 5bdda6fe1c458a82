"""The operators as calls: `jacobian(f, x)` and its siblings are `prepare(…)(…)`.

All take `f(x, *args) -> [B, *out]`, `x: [B, *in]` and further tensors with the same B, and:

strategy: a name of `STRATEGIES` for the operator, or "auto".
race: of "auto", time the strategies on f itself: True, or about how many seconds that may take.
create_graph: the result is differentiable (parameters, x, args, direction).
chunk: directions at once, or a budget of bytes ("8 GiB"), for the chunked strategies.
layout: "dense", or "sparse" where a strategy offers it.
execution: "eager" or "traced".
values: return `Orders(value, first, second)`, of an estimator an `Estimate`, instead of the
    operator's result alone.
samples: of an estimator, how many products it takes (16 by default). Each call of a plan draws
    anew; a plan's first call always draws the same, and so does every call of these functions.

Errors: `ValueError` (shapes), `TypeError` (dtypes), `UnknownStrategy`, `Unsupported`. To evaluate
more than once, keep the plan: `plan = prepare("jacobian", f, x); plan(x)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, Unpack, cast, overload

from torch import Tensor

from .choosing import prepare
from .functions import Function
from .operators import Operator, Orders
from .registry import Keywords


class How(Keywords, total=False):
    """The keywords that every operator takes; see the module's docstring."""

    strategy: str
    race: bool | float


class Call(Protocol):
    """The type of an operator's call: `values=True` turns its result into `Orders`.

    vjp, jvp and hvp take their direction as the first of args.
    """

    @overload
    def __call__(
        self, f: Function, x: Tensor, *args: Tensor, values: Literal[True], **how: Unpack[How]
    ) -> Orders: ...

    @overload
    def __call__(
        self,
        f: Function,
        x: Tensor,
        *args: Tensor,
        values: Literal[False] = False,
        **how: Unpack[How],
    ) -> Tensor: ...


def _typed(call: Callable[..., Tensor | Orders]) -> Call:
    return cast(Call, call)


@_typed
def gradient(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂f/∂x` of one output a row: `[B, *in]`."""
    return prepare(Operator.GRADIENT, f, x, *args, values=values, **how)(x, *args)


@_typed
def vjp(
    f: Function, x: Tensor, v: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`vᵀ ∂f/∂x` for `v: [B, *out]` (torch's `grad_outputs`): `[B, *in]`."""
    return prepare(Operator.VJP, f, x, v, *args, values=values, **how)(x, v, *args)


@_typed
def jvp(
    f: Function, x: Tensor, v: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂f/∂x v` for `v: [B, *in]` (torch's `tangents`): `[B, *out]`."""
    return prepare(Operator.JVP, f, x, v, *args, values=values, **how)(x, v, *args)


@_typed
def jacobian(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂f/∂x` of every output of a row by every input of that row: `[B, *out, *in]`."""
    return prepare(Operator.JACOBIAN, f, x, *args, values=values, **how)(x, *args)


@_typed
def divergence(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """The trace of the Jacobian of as many outputs as inputs: `[B]`."""
    return prepare(Operator.DIVERGENCE, f, x, *args, values=values, **how)(x, *args)


@_typed
def hvp(
    f: Function, x: Tensor, v: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂²f/∂x² v` of one output a row for `v: [B, *in]`: `[B, *in]`."""
    return prepare(Operator.HVP, f, x, v, *args, values=values, **how)(x, v, *args)


@_typed
def hessian(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂²f/∂x²` of every output of a row: `[B, *out, *in, *in]`."""
    return prepare(Operator.HESSIAN, f, x, *args, values=values, **how)(x, *args)


@_typed
def hessian_diagonal(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`∂²f/∂xᵢ²` of every output of a row by every input of that row: `[B, *out, *in]`."""
    return prepare(Operator.HESSIAN_DIAGONAL, f, x, *args, values=values, **how)(x, *args)


@_typed
def laplacian(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`Σᵢ ∂²f/∂xᵢ²` of every output of a row: `[B, *out]`."""
    return prepare(Operator.LAPLACIAN, f, x, *args, values=values, **how)(x, *args)


@_typed
def bilaplacian(
    f: Function, x: Tensor, *args: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`Δ²f = Σᵢⱼ ∂⁴f/∂xᵢ²∂xⱼ²` of every output of a row: `[B, *out]`.

    With values it stands as `second` of the orders, beside f and its gradient or Jacobian.
    """
    return prepare(Operator.BILAPLACIAN, f, x, *args, values=values, **how)(x, *args)
