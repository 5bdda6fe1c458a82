"""All directions through one eager graph at once: two ways to vmap `torch.autograd.grad`.

`is_grads_batched=True` runs the *legacy* vmap of torch: backward formulas without a batching rule
there (tanh, softplus, layer_norm, conv …) silently become loops over the directions.
`torch.func.vmap` around `autograd.grad` takes today's rules over the same graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, autograd

from .functions import Function
from .loops import columns, pull, start
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy


def unit_directions(of: Tensor, size: int) -> Tensor:
    """`[size, B, size]`: each unit direction, the same for every row of the batch."""
    basis = torch.eye(size, dtype=of.dtype, device=of.device)
    return basis[:, None].expand(size, len(of), size)


def for_each_row(directions: Tensor, x: Tensor) -> Tensor:
    """`[k, B, n]`: the directions `[k, n]`, the same for every row of x."""
    return directions[:, None].expand(len(directions), *x.shape)


def pull_batched(
    y: Tensor, x: Tensor, v: Tensor, *, keep: bool = False, create_graph: bool = False
) -> Tensor:
    """`vᵀ ∂y/∂x` for `v: [K, *y.shape]` by `is_grads_batched`: `[K, *x.shape]`."""
    if not y.requires_grad:
        return x.new_zeros(len(v), *x.shape)
    (pulled,) = autograd.grad(
        y,
        x,
        v,
        retain_graph=keep or create_graph,
        create_graph=create_graph,
        is_grads_batched=True,
        allow_unused=True,  # materialize_grads would forget the batch of directions
    )
    return x.new_zeros(len(v), *x.shape) if pulled is None else pulled


@strategy(Operator.JACOBIAN, mode="reverse", sweep="legacy-vmap", needs=["sum"])
def is_grads_batched(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All outputs at once: one `autograd.grad` with `is_grads_batched=True`."""
    m = f(*inputs).shape[1]
    basis = unit_directions(inputs[0], m)

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        rows = pull_batched(y, x, basis, create_graph=options.create_graph)
        return Orders(y, rows.movedim(0, 1))

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="vmap", needs=["sum"])
def vmap_autograd_grad(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All outputs at once: `torch.func.vmap` over `autograd.grad` on one eager graph."""
    m = f(*inputs).shape[1]
    basis = unit_directions(inputs[0], m)

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        return Orders(y, _vmapped(y, x, basis, options))

    return evaluate


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="legacy-vmap", needs=["sum"])
def batched_double_backward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: the gradient with its graph, then all inputs by `is_grads_batched`."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        jacobian = [pull(y_k, x, one, create_graph=True) for y_k in columns(y)]
        hessians = [
            pull_batched(g, x, basis, keep=True, create_graph=options.create_graph).movedim(0, 1)
            for g in jacobian
        ]
        return Orders(y, torch.stack(jacobian, 1), torch.stack(hessians, 1))

    return evaluate


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="vmap", needs=["sum"])
def vmap_double_backward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: the gradient with its graph, then `vmap` over `autograd.grad`."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        jacobian = [pull(y_k, x, one, create_graph=True) for y_k in columns(y)]
        hessians = [_vmapped(g, x, basis, options) for g in jacobian]
        return Orders(y, torch.stack(jacobian, 1), torch.stack(hessians, 1))

    return evaluate


def _vmapped(y: Tensor, x: Tensor, basis: Tensor, options: Options) -> Tensor:
    keep = {"keep": True, "create_graph": options.create_graph}
    return torch.func.vmap(lambda v: pull(y, x, v, **keep))(basis).movedim(0, 1)
