"""`torch.autograd.grad` in plain loops: where everyone starts, and what the others must beat.

Every strategy takes `f: [B, n] -> [B, m]`. Rows of the batch are independent, so the gradient of a
sum over rows holds the gradients of all rows: one backward serves the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, autograd

from .functions import Function, differentiable
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy, summed


def pull(
    y: Tensor, x: Tensor, v: Tensor, *, keep: bool = False, create_graph: bool = False
) -> Tensor:
    """`vᵀ ∂y/∂x`, zeros where no graph leads from y to x (autograd.grad would raise there)."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return autograd.grad(
        y,
        x,
        v,
        retain_graph=keep or create_graph,
        create_graph=create_graph,
        materialize_grads=True,
    )[0]


def start(f: Function, x: Tensor, args: Inputs, options: Options) -> tuple[Tensor, Tensor]:
    """x as the start of a graph, and f there."""
    z = differentiable(x, options.create_graph)
    return z, f(z, *args)


def columns(y: Tensor) -> Iterator[Tensor]:
    """Each `y[:, k]`; unbind would fill in zeros for every other column in each backward."""
    return (y[:, k] for k in range(y.shape[1]))


@strategy(Operator.GRADIENT, mode="reverse", sweep="one-pass", needs=["sum", "scalar"])
def autograd_grad(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One `autograd.grad` with ones: a single backward pass for the whole batch."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        return Orders(y, pull(y, x, torch.ones_like(y), create_graph=options.create_graph))

    return evaluate


@strategy(Operator.VJP, mode="reverse", sweep="one-pass", needs=["sum"], name="autograd-grad")
def autograd_grad_vjp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One `autograd.grad` with `grad_outputs=v`."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        return Orders(y, pull(y, x, v, create_graph=options.create_graph))

    return evaluate


@strategy(Operator.JVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum"])
def double_backward_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Forward mode out of two backwards: the vjp is linear in w, so its gradient in w is J v.

    Source: J. Townsend, "A new trick for calculating Jacobian vector products" (2017).
    """

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        w = torch.zeros_like(y).requires_grad_()
        pulled = pull(y, x, w, create_graph=True)
        return Orders(y, pull(pulled, w, v, create_graph=options.create_graph))

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", needs=["sum"])
def loop_grad(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: one `autograd.grad` each, the batch summed."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        rows = [
            pull(y_k, x, one, keep=True, create_graph=options.create_graph) for y_k in columns(y)
        ]
        return Orders(y, torch.stack(rows, 1))

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="replicated", needs=["rows"])
def replicate_batch(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All outputs in one backward: x repeated m times, each copy pulled back along one output."""
    (B, n), m = inputs[0].shape, f(*inputs).shape[1]
    basis = torch.eye(m, dtype=inputs[0].dtype, device=inputs[0].device)
    directions = basis[:, None].expand(m, B, m).reshape(m * B, m)

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        z = differentiable(x, options.create_graph)
        copies = z.expand(m, B, n).reshape(m * B, n)
        y = f(copies, *(a.expand(m, *a.shape).reshape(m * B, *a.shape[1:]) for a in args))
        rows = pull(y, copies, directions, create_graph=options.create_graph)
        return Orders(y[:B], rows.reshape(m, B, n).movedim(0, 1))

    return evaluate


@strategy(Operator.DIVERGENCE, mode="reverse", sweep="loop", needs=["sum", "square"])
def loop_grad_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: one `autograd.grad` each, of which one entry is kept."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        diagonal = [
            pull(y_k, x, one, keep=True, create_graph=options.create_graph)[:, k]
            for k, y_k in enumerate(columns(y))
        ]
        return Orders(y, torch.stack(diagonal).sum(0))

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "scalar"])
def double_backward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`autograd.grad` twice: the gradient with its graph, then that graph pulled back along v."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        gradient = pull(y, x, torch.ones_like(y), create_graph=True)
        return Orders(y, gradient, pull(gradient, x, v, create_graph=options.create_graph))

    return evaluate


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="loop", needs=["sum"])
def loop_double_backward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output and input by input: `autograd.grad` of every entry of every gradient."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        jacobian = [pull(y_k, x, one, create_graph=True) for y_k in columns(y)]
        rows = [
            pull(g_i, x, one, keep=True, create_graph=options.create_graph)
            for gradient in jacobian
            for g_i in columns(gradient)
        ]
        hessian = torch.stack(rows, 1).reshape(len(x), len(jacobian), -1, x.shape[1])
        return Orders(y, torch.stack(jacobian, 1), hessian)

    return evaluate


@strategy(
    Operator.LAPLACIAN,
    mode="reverse-over-reverse",
    sweep="loop",
    needs=["sum"],
    name="loop-double-backward",
)
@summed
@strategy(
    Operator.HESSIAN_DIAGONAL,
    mode="reverse-over-reverse",
    sweep="loop",
    needs=["sum"],
    name="loop-double-backward",
)
def loop_double_backward_diagonal(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: `autograd.grad` of each gradient entry, of which one entry is kept."""

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        jacobian = [pull(y_k, x, one, create_graph=True) for y_k in columns(y)]
        entries = [
            pull(g_i, x, one, keep=True, create_graph=options.create_graph)[:, i]
            for gradient in jacobian
            for i, g_i in enumerate(columns(gradient))
        ]
        diagonal = torch.stack(entries, 1).reshape(len(x), len(jacobian), -1)
        return Orders(y, torch.stack(jacobian, 1), diagonal)

    return evaluate
