"""Row by row, for an f whose rows meet: BatchNorm in train mode, a mean over the batch.

There a sum over the batch mixes rows and a row alone is another function. Every strategy here takes
nothing for granted: it returns ∂ row b / ∂ row b with the other rows held still, and pays B times
what its batched sibling, of the same name without `-rows`, does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .forward import push_dual
from .functions import Function
from .loops import pull, start
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy, summed


def _pulled(f: Function, x: Tensor, v: Tensor, args: Inputs, options: Options) -> Orders:
    """f, and of each row of the batch `v_bᵀ ∂y_b/∂x_b`: `[B, n]`."""
    x, y = start(f, x, args, options)
    rows = [
        pull(y[b], x, v[b], keep=True, create_graph=options.create_graph)[b] for b in range(len(y))
    ]
    return Orders(y, torch.stack(rows))


@strategy(Operator.GRADIENT, mode="reverse", sweep="loop", needs=["scalar"])
def autograd_grad_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row: B backwards, each of one row's output."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        return _pulled(f, x, x.new_ones(len(x), 1), args, options)

    return evaluate


@strategy(Operator.VJP, mode="reverse", sweep="loop", name="autograd-grad-rows")
def autograd_grad_rows_vjp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row: B backwards, each of one row's outputs along v."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        return _pulled(f, x, v, args, options)

    return evaluate


@strategy(Operator.JVP, mode="forward", sweep="loop")
def dual_jvp_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row: B forward passes with dual numbers, each with one row moving along v."""
    apart = torch.eye(len(inputs[0]), dtype=inputs[0].dtype, device=inputs[0].device)[:, :, None]

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        pushed = [push_dual(f, x, one_row * v, args) for one_row in apart]
        return Orders(pushed[0][0], torch.stack([t[b] for b, (_, t) in enumerate(pushed)]))

    return evaluate


def _first(y: Tensor, x: Tensor, create_graph: bool) -> list[Tensor]:
    """Of each row and output in turn `∂y_bk/∂x_b: [n]`.

    Apart, since a backward of one entry through a stack of them passes through them all.
    """
    one = torch.ones_like(y[0, 0])
    return [
        pull(y[b, k], x, one, keep=True, create_graph=create_graph)[b]
        for b, k in np.ndindex(*y.shape)
    ]


@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop")
def loop_grad_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and output by output: B·m backwards."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        return Orders(y, torch.stack(_first(y, x, options.create_graph)).reshape(*y.shape, -1))

    return evaluate


@strategy(Operator.DIVERGENCE, mode="reverse", sweep="loop", needs=["square"])
def loop_grad_trace_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and output by output: B·n backwards, of each of which one entry is kept."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        diagonal = [g[k % len(g)] for k, g in enumerate(_first(y, x, options.create_graph))]
        return Orders(y, torch.stack(diagonal).reshape(y.shape).sum(-1))

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-reverse", sweep="loop", needs=["scalar"])
def double_backward_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row: the gradient of one row with its graph, pulled back along v."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        gradients = _first(y, x, create_graph=True)
        products = [
            pull(g, x, v[b], keep=True, create_graph=options.create_graph)[b]
            for b, g in enumerate(gradients)
        ]
        return Orders(y, torch.stack(gradients), torch.stack(products))

    return evaluate


def _second(f: Function, options: Options, keep: Callable[[Tensor, int], Tensor]) -> Evaluate:
    """f, its Jacobian, and of each row `∂²y_bk/∂x_bi∂x_b: [n]` what `keep(row, i)` leaves."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        (B, m), n = y.shape, x.shape[1]
        one = torch.ones_like(y[0, 0])
        gradients = _first(y, x, create_graph=True)
        kept = [
            keep(pull(g[i], x, one, keep=True, create_graph=options.create_graph)[k // m], i)
            for k, g in enumerate(gradients)
            for i in range(n)
        ]
        second = torch.stack(kept)
        return Orders(
            y,
            torch.stack(gradients).reshape(B, m, n),
            second.reshape(B, m, n, *second.shape[1:]),
        )

    return evaluate


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="loop")
def loop_double_backward_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row, output by output and input by input: B·m·n double backwards."""
    return _second(f, options, lambda row, i: row)


@strategy(
    Operator.LAPLACIAN,
    mode="reverse-over-reverse",
    sweep="loop",
    name="loop-double-backward-rows",
)
@summed
@strategy(
    Operator.HESSIAN_DIAGONAL,
    mode="reverse-over-reverse",
    sweep="loop",
    name="loop-double-backward-rows",
)
def loop_double_backward_rows_diagonal(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and input by input: B·m·n double backwards, of each of which one entry is kept."""
    return _second(f, options, lambda row, i: row[i])
