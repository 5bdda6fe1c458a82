"""Reverse mode by the composable transforms of `torch.func` (the former functorch)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap
from torch.func import vjp as pullback

from .functions import Function, row
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy
from .sweeps import unit_sweep


@strategy(Operator.GRADIENT, mode="reverse", sweep="vmap", needs=["rows", "scalar"])
def vmap_grad(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(grad(f))`: the gradient of one row, mapped over the batch."""
    return vmap(grad(lambda z, *args: row(f)(z, *args)[0]))


@strategy(Operator.GRADIENT, mode="reverse", sweep="one-pass", needs=["sum", "scalar"])
def func_vjp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.func.vjp` of the whole batch with ones."""

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, pull, *_ = pullback(lambda z: f(z, *args), x)
        return Orders(y, pull(torch.ones_like(y))[0])

    return evaluate


@strategy(Operator.VJP, mode="reverse", sweep="one-pass", needs=["sum"], name="func-vjp")
def func_vjp_direction(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.func.vjp` of the whole batch."""

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        y, pull, *_ = pullback(lambda z: f(z, *args), x)
        return Orders(y, pull(v)[0])

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="vmap", needs=["rows"])
def vmap_jacrev(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(jacrev(f))`: all outputs of one row at once, mapped over the batch."""
    return vmap(jacrev(row(f)))


@strategy(Operator.JACOBIAN, mode="reverse", sweep="vmap", needs=["sum"])
def jacrev_sum(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`jacrev` of the outputs summed over the batch: one vmap level fewer than vmap-jacrev."""

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        def total(z: Tensor) -> tuple[Tensor, Tensor]:
            y = f(z, *args)
            return y.sum(0), y

        rows, y = jacrev(total, has_aux=True)(x)
        return Orders(y, rows.movedim(0, 1))

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="chunked", needs=["sum"], chunks=True)
def chunked_jacrev(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """So many outputs at once through one `vjp` of the batch sum: `jacrev(chunk_size=…)`."""
    sweep = unit_sweep(f(*inputs).shape[1], inputs[0], options)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        def total(z: Tensor) -> tuple[Tensor, Tensor]:
            y = f(z, *args)
            return y.sum(0), y

        _, pull, y = pullback(total, x, has_aux=True)  # type: ignore[misc]
        rows = sweep(vmap(lambda v: pull(v)[0]))
        return Orders(y, rows.movedim(0, 1))

    return evaluate


@strategy(Operator.DIVERGENCE, mode="reverse", sweep="vmap", needs=["rows", "square"])
def jacrev_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The trace of `vmap(jacrev(f))`: the whole Jacobian for its diagonal."""
    jacobian = vmap(jacrev(row(f)))
    return lambda x, *args: jacobian(x, *args).diagonal(dim1=-2, dim2=-1).sum(-1)
