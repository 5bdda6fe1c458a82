"""The diagonal of the Hessian, and its sum, without or with the Hessian around it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import hessian, jacrev, jvp, vmap

from .batched import for_each_row, unit_directions
from .forward import push
from .functions import Function, agree, moved, row
from .loops import columns, pull, start
from .operators import Operator, Orders
from .registry import (
    Evaluate,
    Inputs,
    Options,
    Unsupported,
    strategy,
    summed,
)
from .sweeps import unit_sweep

_DIAGONAL, _LAPLACIAN = Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN


@strategy(_LAPLACIAN, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
@summed
@strategy(_DIAGONAL, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
def from_hessian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The diagonal of `vmap(torch.func.hessian(f))`: the whole Hessian for its diagonal."""
    full = vmap(hessian(row(f)))
    return lambda x, *args: full(x, *args).diagonal(dim1=-2, dim2=-1)


@strategy(_LAPLACIAN, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
@summed
@strategy(_DIAGONAL, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
def vmap_vhvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once: `vmap` of eᵢ · H eᵢ, one `jvp` through `jacrev` each."""
    n = inputs[0].shape[1]
    basis = torch.eye(n, dtype=inputs[0].dtype, device=inputs[0].device)

    def one_row(z: Tensor, *args: Tensor) -> Tensor:
        jacobian = jacrev(lambda u: row(f)(u, *args))
        # Not as a product of matrices, which autocast would do in fewer digits.
        return vmap(lambda v: (jvp(jacobian, (z,), (v,))[1] * v).sum(-1))(basis).movedim(0, -1)

    return vmap(one_row)


@strategy(_LAPLACIAN, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "separable"])
@summed
@strategy(_DIAGONAL, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "separable"])
def double_backward_ones(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: `autograd.grad` twice with ones; only where no two inputs meet.

    The second ones give H·1, the row sums of the Hessian. They are its diagonal where it is
    diagonal, which is tried here at two points: then, and only then, H v = (H·1) ∘ v for every v.
    """
    x, args = inputs[0], inputs[1:]
    if not all(_inputs_apart(f, moved(x, 0.1, seed), args, seed) for seed in (5, 6)):
        raise Unsupported(
            "inputs of a row meet, so that H·1 is not the diagonal of the Hessian;"
            " loop-double-backward and nested-jvp are right for any f"
        )

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        x, y = start(f, x, args, options)
        one = torch.ones_like(y[:, 0])
        jacobian = [pull(y_k, x, one, create_graph=True) for y_k in columns(y)]
        sums = [
            pull(g, x, torch.ones_like(g), keep=True, create_graph=options.create_graph)
            for g in jacobian
        ]
        return Orders(y, torch.stack(jacobian, 1), torch.stack(sums, 1))

    return evaluate


@torch.enable_grad()
def _inputs_apart(f: Function, x: Tensor, args: Inputs, seed: int) -> bool:
    """Whether `H v = (H·1) ∘ v` for a v with no two entries alike, for every output."""
    x, y = start(f, x, args, Options())
    v = moved(torch.zeros_like(x), 1.0, seed)
    for y_k in columns(y):
        gradient = pull(y_k, x, torch.ones_like(y_k), create_graph=True)
        along = pull(gradient, x, v, keep=True)
        sums = pull(gradient, x, torch.ones_like(v), keep=True)
        # Both sides go through the same backward passes: they differ by rounding alone.
        if not agree(along, sums * v, tolerance=100 * torch.finfo(x.dtype).eps):
            return False
    return True


def curve(f: Function, x: Tensor, v: Tensor, args: Inputs) -> Tensor:
    """`[B, m]`: the second derivative of f along v, a forward pass through a forward pass."""
    return jvp(lambda z: push(f, z, v, args)[1], (x,), (v,))[1]


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="loop", needs=["sum"])
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="loop", needs=["sum"])
def loop_nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: `jvp` of `jvp` along eᵢ."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return torch.stack([curve(f, x, v, args) for v in basis], -1)

    return evaluate


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="vmap", needs=["sum"])
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="vmap", needs=["sum"])
def nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once: `vmap` of `jvp` of `jvp` along eᵢ; no graph, no Hessian."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return vmap(lambda v: curve(f, x, v, args))(basis).movedim(0, -1)

    return evaluate


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="chunked", needs=["sum"], chunks=True)
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="chunked", needs=["sum"], chunks=True)
def chunked_nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """So many inputs at once: `jvp` of `jvp` along eᵢ."""
    sweep = unit_sweep(inputs[0].shape[1], inputs[0], options)

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        curves = vmap(lambda v: curve(f, x, v, args))
        return sweep(lambda units: curves(for_each_row(units, x))).movedim(0, -1)

    return evaluate
