"""The diagonal of the Hessian, and its sum, without or with the Hessian around it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import hessian, jacrev, jvp, vmap

from .batched import unit_directions
from .forward import push
from .functions import Function, row
from .operators import Operator
from .registry import Evaluate, Inputs, Options, directions_at_once, strategy, summed

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
        return vmap(lambda v: jvp(jacobian, (z,), (v,))[1] @ v)(basis).movedim(0, -1)

    return vmap(one_row)


def _curve(f: Function, x: Tensor, v: Tensor, args: Inputs) -> Tensor:
    """`[B, m]`: the second derivative of f along v, a forward pass through a forward pass."""
    return jvp(lambda z: push(f, z, v, args)[1], (x,), (v,))[1]


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="loop", needs=["sum"])
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="loop", needs=["sum"])
def loop_nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input: `jvp` of `jvp` along eᵢ."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return torch.stack([_curve(f, x, v, args) for v in basis], -1)

    return evaluate


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="vmap", needs=["sum"])
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="vmap", needs=["sum"])
def nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once: `vmap` of `jvp` of `jvp` along eᵢ; no graph, no Hessian."""
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return vmap(lambda v: _curve(f, x, v, args))(basis).movedim(0, -1)

    return evaluate


@strategy(_LAPLACIAN, mode="forward-over-forward", sweep="chunked", needs=["sum"], chunks=True)
@summed
@strategy(_DIAGONAL, mode="forward-over-forward", sweep="chunked", needs=["sum"], chunks=True)
def chunked_nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """So many inputs at once: `jvp` of `jvp` along eᵢ."""
    size = directions_at_once(options)
    basis = unit_directions(inputs[0], inputs[0].shape[1])

    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        return vmap(lambda v: _curve(f, x, v, args), chunk_size=size)(basis).movedim(0, -1)

    return evaluate
