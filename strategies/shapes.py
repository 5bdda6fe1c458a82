"""Between the caller's shapes and the flat ones of the strategies: `[B, *in]` and `[B, n]`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .operators import DIRECTIONS, SECOND_ORDER, Operator, Orders, Shape, result_shape
from .registry import Inputs
from .request import Setting

Run = Callable[..., Tensor | Orders]


def flat_inputs(setting: Setting) -> Callable[..., Inputs]:
    """`x` and the direction as `[B, n]` and `[B, m]`, contiguous; args stay as they are.

    Forward mode lays a tangent out as its primal, which torch cannot where an expanded x has
    several rows in one place.
    """
    B, directed = len(setting.x), setting.operator in DIRECTIONS

    def flat(x: Tensor, *rest: Tensor) -> Inputs:
        x = x.reshape(B, -1).contiguous()
        return (x, rest[0].reshape(B, -1).contiguous(), *rest[1:]) if directed else (x, *rest)

    return flat


def shaped_run(setting: Setting, run: Run) -> Run:
    """Reshape flat inputs and results; cut what graph is left where none was asked for, and where
    one was, let a backward through a result that is constant in x find zeros."""
    B, flat = len(setting.x), flat_inputs(setting)
    shape = result_shape(setting.operator, B, setting.in_shape, setting.out_shape)
    below = result_shape(setting.below, B, setting.in_shape, setting.out_shape)
    keep = setting.options.create_graph

    def shaped(tensor: Tensor, to: Shape, x: Tensor) -> Tensor:
        if tensor.requires_grad and not keep:
            tensor = tensor.detach()
        elif x.requires_grad and keep and not tensor.requires_grad:
            # Of no entry: infinite ones would not come to zero.
            tensor = tensor + x[:0].sum()
        return tensor.reshape(to)

    def result(x: Tensor, *rest: Tensor) -> Tensor | Orders:
        found = run(*flat(x, *rest))
        if not isinstance(found, Orders):
            return shaped(found, shape, x)
        assert found.value is not None
        assert found.first is not None
        value = shaped(found.value, (B, *setting.out_shape), x)
        variance = None if found.variance is None else shaped(found.variance, shape, x)
        if found.second is None:
            return Orders(value, shaped(found.first, shape, x), None, variance)
        second = shaped(found.second, shape, x)
        return Orders(value, shaped(found.first, below, x), second, variance)

    return result


def empty_run(setting: Setting, *, exact: bool) -> Run:
    """The answer to an empty batch: zeros of the right shapes, on the graph of x."""

    def zeros(x: Tensor, operator: Operator) -> Tensor:
        shape = result_shape(operator, 0, setting.in_shape, setting.out_shape)
        return x.new_zeros(shape) + 0 * x.sum()

    def run(x: Tensor, *rest: Tensor) -> Tensor | Orders:
        result = zeros(x, setting.operator)
        if not setting.options.values:
            return result
        value = zeros(x, Operator.JVP)
        variance = None if exact else zeros(x, setting.operator)
        if setting.operator in SECOND_ORDER:
            return Orders(value, zeros(x, setting.below), result, variance)
        return Orders(value, result, None, variance)

    return run
