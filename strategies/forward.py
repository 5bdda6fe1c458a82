"""Forward mode: one direction of the input costs about one more forward pass, and no graph.

Dual numbers (`torch.autograd.forward_ad`), `torch.func.jvp` on top of them, and `linearize`, which
runs f once and replays the linear part for each direction.

NOTE [out_dims]
Where a tangent is the same for all directions (a constant or linear f), `vmap(…, out_dims=k)` with
k other than 0 reads sizes out of bounds (a bug of torch): directions come first, and are moved.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jacfwd, jvp, linearize, vmap

from .batched import for_each_row, unit_directions
from .functions import Function, row
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy
from .sweeps import unit_sweep

Push = Callable[[Function, Tensor, Tensor, Inputs], tuple[Tensor, Tensor]]

_FOLDED = "linearize computes the linear part's constants without a graph (a limit of torch)"


def push(f: Function, x: Tensor, v: Tensor, args: Inputs) -> tuple[Tensor, Tensor]:
    """`f(x)` and `∂f/∂x v` by `torch.func.jvp`."""
    y, tangent, *_ = jvp(lambda z: f(z, *args), (x,), (v,))
    return y, tangent


def push_dual(f: Function, x: Tensor, v: Tensor, args: Inputs) -> tuple[Tensor, Tensor]:
    """`f(x)` and `∂f/∂x v` by dual numbers; an output without a tangent does not depend on x."""
    with forward_ad.dual_level():
        y, tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, v), *args))
        return y, torch.zeros_like(y) if tangent is None else tangent


@strategy(Operator.JVP, mode="forward", sweep="one-pass", needs=["sum"])
def dual_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Dual numbers: `forward_ad.make_dual(x, v)` through f."""
    return lambda x, v, *args: Orders(*push_dual(f, x, v, args))


@strategy(Operator.JVP, mode="forward", sweep="one-pass", needs=["sum"])
def func_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.func.jvp` of the whole batch."""
    return lambda x, v, *args: Orders(*push(f, x, v, args))


@strategy(
    Operator.JVP,
    mode="forward",
    sweep="one-pass",
    needs=["sum"],
    name="linearize",
    not_differentiable=_FOLDED,
)
def linearize_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.func.linearize` at x, then its linear part at v."""

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        y, linear = linearize(lambda z: f(z, *args), x)
        return Orders(y, linear(v))

    return evaluate


@strategy(Operator.JACOBIAN, mode="forward", sweep="loop", needs=["sum"])
def dual_loop(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: one forward pass with dual numbers each."""
    return _columns(f, inputs, push_dual)


@strategy(Operator.JACOBIAN, mode="forward", sweep="loop", needs=["sum"])
def loop_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: one `torch.func.jvp` each."""
    return _columns(f, inputs, push)


def _columns(f: Function, inputs: Inputs, push: Push) -> Evaluate:
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        pushed = [push(f, x, v, args) for v in basis]
        return Orders(pushed[0][0], torch.stack([column for _, column in pushed], -1))

    return evaluate


@strategy(Operator.JACOBIAN, mode="forward", sweep="vmap", needs=["rows"])
def vmap_jacfwd(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap(jacfwd(f))`: all inputs of one row at once, mapped over the batch."""
    return vmap(jacfwd(row(f)))


@strategy(Operator.JACOBIAN, mode="forward", sweep="vmap", needs=["sum"])
def vmap_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once: `vmap` of `jvp` of the whole batch, one vmap level fewer than jacfwd."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return vmap(lambda v: push(f, x, v, args)[1])(basis).movedim(0, -1)

    return evaluate


@strategy(Operator.JACOBIAN, mode="forward", sweep="chunked", needs=["sum"], chunks=True)
def chunked_jacfwd(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """So many inputs at once: the chunked jacfwd that torch does not have."""
    sweep = unit_sweep(inputs[0].shape[1], inputs[0], options)

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        columns = vmap(lambda v: push(f, x, v, args)[1])
        return sweep(lambda units: columns(for_each_row(units, x))).movedim(0, -1)

    return evaluate


@strategy(
    Operator.JACOBIAN,
    mode="forward",
    sweep="vmap",
    needs=["sum"],
    not_differentiable=_FOLDED,
)
def linearize_vmap(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.func.linearize` at x, then all inputs at once through its linear part."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, linear = linearize(lambda z: f(z, *args), x)
        return Orders(y, vmap(linear)(basis).movedim(0, -1))

    return evaluate


@strategy(Operator.DIVERGENCE, mode="forward", sweep="loop", needs=["sum", "square"])
def loop_jvp_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: one forward pass with dual numbers each, of which one entry is kept."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        columns = (push_dual(f, x, v, args)[1] for v in basis)
        return torch.stack([column[:, i] for i, column in enumerate(columns)]).sum(0)

    return evaluate


@strategy(Operator.DIVERGENCE, mode="forward", sweep="vmap", needs=["rows", "square"])
def jacfwd_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The trace of `vmap(jacfwd(f))`: the whole Jacobian for its diagonal."""
    jacobian = vmap(jacfwd(row(f)))
    return lambda x, *args: jacobian(x, *args).diagonal(dim1=-2, dim2=-1).sum(-1)


@strategy(Operator.DIVERGENCE, mode="forward", sweep="vmap", needs=["sum", "square"])
def vmap_jvp_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once: `vmap` of eᵢ · J eᵢ, so that the Jacobian is never stored."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return vmap(lambda v: (v * push(f, x, v, args)[1]).sum(-1))(basis).sum(0)

    return evaluate
