"""Hessians and Hessian-vector products: every nesting of forward and reverse mode.

The names say the outer mode first: fwd-rev is `jacfwd(jacrev(f))`, what `torch.func.hessian` does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from .batched import for_each_row, unit_directions
from .functions import Function, row
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy
from .sweeps import unit_sweep


def gradient_of(f: Function, args: Inputs) -> Function:
    """`[B, n] -> [B, n]`: the gradient of the sum of all outputs of a row."""
    return grad(lambda z: f(z, *args).sum())


@strategy(Operator.HVP, mode="forward-over-reverse", sweep="one-pass", needs=["sum", "scalar"])
def forward_over_reverse(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`jvp` of `grad`: a forward pass along v through the backward pass."""

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        gradient, product, *_ = jvp(gradient_of(f, args), (x,), (v,))
        return Orders(None, gradient, product)

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "scalar"])
def reverse_over_reverse(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`grad` of `grad · v`: a backward through the backward pass."""

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        def along(z: Tensor) -> tuple[Tensor, Tensor]:
            gradient = gradient_of(f, args)(z)
            return (gradient * v).sum(), gradient

        product, gradient = grad(along, has_aux=True)(x)
        return Orders(None, gradient, product)

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-forward", sweep="one-pass", needs=["sum", "scalar"])
def reverse_over_forward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`grad` of the directional derivative along v."""

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Tensor:
        return grad(lambda z: jvp(lambda u: f(u, *args).sum(), (z,), (v,))[1])(x)

    return evaluate


@strategy(Operator.HESSIAN, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
def fwd_rev(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(torch.func.hessian(f))`: forward over reverse."""
    return vmap(hessian(row(f)))


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="vmap", needs=["rows"])
def rev_rev(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(jacrev(jacrev(f)))`."""
    return vmap(jacrev(jacrev(row(f))))


@strategy(Operator.HESSIAN, mode="forward-over-forward", sweep="vmap", needs=["rows"])
def fwd_fwd(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(jacfwd(jacfwd(f)))`."""
    return vmap(jacfwd(jacfwd(row(f))))


@strategy(Operator.HESSIAN, mode="reverse-over-forward", sweep="vmap", needs=["rows"])
def rev_fwd(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(jacrev(jacfwd(f)))`."""
    return vmap(jacrev(jacfwd(row(f))))


def _summed_jacobian(f: Function, args: Inputs) -> Function:
    """`[B, n] -> [m, B, n]`."""
    return jacrev(lambda z: f(z, *args).sum(0))


@strategy(Operator.HESSIAN, mode="forward-over-reverse", sweep="loop", needs=["sum"])
def loop_hvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: one `jvp` through the batch-summed `jacrev` each."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        jacobian = _summed_jacobian(f, args)
        pushed = [jvp(jacobian, (x,), (v,)) for v in basis]
        columns = torch.stack([column for _, column, *_ in pushed], -1)
        return Orders(None, pushed[0][0].movedim(0, 1), columns.movedim(0, 1))

    return evaluate


@strategy(
    Operator.HESSIAN, mode="forward-over-reverse", sweep="chunked", needs=["sum"], chunks=True
)
def chunked_fwd_rev(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """So many inputs at once: `vmap` of `jvp` through the batch-summed `jacrev`."""
    sweep = unit_sweep(inputs[0].shape[1], inputs[0], options)

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        jacobian = _summed_jacobian(f, args)
        columns = vmap(lambda v: jvp(jacobian, (x,), (v,))[1])
        found = sweep(lambda units: columns(for_each_row(units, x)))
        return found.movedim(0, -1).movedim(0, 1)

    return evaluate
