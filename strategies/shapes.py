"""Between the caller's shapes and the flat ones of the strategies: `[B, *in]` and `[B, n]`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .entries import Assemble, Entries, assembled
from .operators import DIRECTIONS, SECOND_ORDER, Estimate, Operator, Orders, Shape, result_shape
from .registry import Inputs
from .request import Setting

Run = Callable[..., Tensor | Orders]


def flat_inputs(setting: Setting) -> Callable[..., Inputs]:
    """`x` and the direction as `[B, n]` and `[B, m]`, contiguous; args stay as they are.

    Forward mode lays a tangent out as its primal, which torch cannot where an expanded x has
    several rows in one place.
    """
    B, directed = len(setting.x), setting.operator in DIRECTIONS
    if not directed and setting.x.dim() == 2:
        return lambda x, *args: (x.contiguous(), *args)

    def flat(x: Tensor, *rest: Tensor) -> Inputs:
        x = x.reshape(B, -1).contiguous()
        return (x, rest[0].reshape(B, -1).contiguous(), *rest[1:]) if directed else (x, *rest)

    return flat


def shaped_run(setting: Setting, run: Run, entries: Entries | None = None) -> Run:
    """Reshape flat inputs and results; cut what graph is left where none was asked for, and where
    one was, let a backward through a result that is constant in x find zeros.

    entries: where in the result those are that `run` computes, unless it computes all.
    """
    B, flat = len(setting.x), flat_inputs(setting)
    shape = result_shape(setting.operator, B, setting.in_shape, setting.out_shape)
    below = result_shape(setting.below, B, setting.in_shape, setting.out_shape)
    keep = setting.options.create_graph

    put = _whole(shape) if entries is None else _assembled(setting, entries)

    def owned(tensor: Tensor, x: Tensor) -> Tensor:
        if tensor.requires_grad and not keep:
            tensor = tensor.detach()
        elif x.requires_grad and keep and not tensor.requires_grad:
            # Of no entry: infinite ones would not come to zero.
            tensor = tensor + x[:0].sum()
        return tensor

    def result(x: Tensor, *rest: Tensor) -> Tensor | Orders:
        found = run(*flat(x, *rest))
        if not isinstance(found, Orders):
            return put(owned(found, x))
        assert found.value is not None
        assert found.first is not None
        value, first = owned(found.value, x).reshape(B, *setting.out_shape), owned(found.first, x)
        if found.second is None:
            found = found._replace(value=value, first=put(first))
        else:
            second = put(owned(found.second, x))
            found = found._replace(value=value, first=first.reshape(below), second=second)
        if isinstance(found, Estimate) and found.variance is not None:
            return Estimate(*found, put(owned(found.variance, x)))
        return found

    return result


def _whole(shape: Shape) -> Assemble:
    # Comparing costs a third of a view, which small networks feel.
    return lambda tensor: tensor if tensor.shape == shape else tensor.reshape(shape)


def _assembled(setting: Setting, entries: Entries) -> Assemble:
    axes = (setting.out_shape, *[setting.in_shape] * (len(entries.sizes) - 1))
    return assembled(entries, len(setting.x), axes, setting.options.layout)


def empty_run(setting: Setting, *, exact: bool) -> Run:
    """The answer to an empty batch: zeros of the right shapes, on the graph of x."""

    def zeros(x: Tensor, operator: Operator) -> Tensor:
        shape = result_shape(operator, 0, setting.in_shape, setting.out_shape)
        return x.new_zeros(shape) + 0 * x.sum()

    def run(x: Tensor, *rest: Tensor) -> Tensor | Orders:
        result = zeros(x, setting.operator)
        if setting.options.layout == "sparse":
            result = _sparse_zeros(result)
        if not setting.options.values:
            return result
        value = zeros(x, Operator.JVP)
        orders = Orders(value, result, None)
        if setting.operator in SECOND_ORDER:
            orders = Orders(value, zeros(x, setting.below), result)
        return orders if exact else Estimate(*orders, zeros(x, setting.operator))

    return run


def _sparse_zeros(of: Tensor) -> Tensor:
    nowhere = torch.zeros(of.dim(), 0, dtype=torch.int64, device=of.device)
    return torch.sparse_coo_tensor(
        nowhere, of.reshape(-1), of.shape, is_coalesced=True, check_invariants=False
    )
