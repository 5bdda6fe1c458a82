"""Derivatives of chains of affine and elementwise layers, written down instead of derived.

With J_l the Jacobian of the l-th pre-activation by x, G_l that of the result by the output of the
l-th elementwise layer, and σ′, σ″ its slopes and bends (Griewank and Walther, Evaluating
Derivatives, 2008; Dangel et al., Collapsing Taylor Mode, 2025):

    J = W_L D_{L-1} … D_1 W_1,  H = Σ_l J_lᵀ diag(G_l σ″_l) J_l,  Δ = Σ_l Σ_j G_lj σ″_lj ‖J_l[j,:]‖²

The Laplacian carries its sum forward, `t ← W (σ′ t + σ″ ‖J[j,:]‖²)`, which costs the same for any
number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .chain_blocks import Block, blocks, dense, in_parts, product, transposed
from .chain_laplacian import collapsed, in_one
from .chain_reading import chain_of
from .chains import Diagonal, Factor, factors_of
from .functions import Function
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy


@strategy(Operator.JACOBIAN, mode="closed-form", sweep="one-pass", needs=["sum", "chain"])
def closed_form_forward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The layers' matrices and slopes multiplied from the input on; only a chain of layers."""
    chain, own = chain_of(f, inputs, options), not options.create_graph

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=False)
        block = product(map(transposed, factors), own)
        return Orders(y, dense(block, x, x.shape[1], fresh=len(factors) > 1).mT)

    return evaluate


@strategy(Operator.JACOBIAN, mode="closed-form", sweep="one-pass", needs=["sum", "chain"])
def closed_form_reverse(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The layers' matrices and slopes multiplied from the output on; only a chain of layers."""
    chain, own = chain_of(f, inputs, options), not options.create_graph

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=False)
        block = product(reversed(factors), own)
        return Orders(y, dense(block, x, y.shape[1], fresh=len(factors) > 1))

    return evaluate


@strategy(
    Operator.LAPLACIAN,
    mode="closed-form",
    sweep="one-pass",
    needs=["sum", "chain"],
    name="closed-form",
)
def closed_form_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Value, n tangents and the collapsed sum through each layer; only a chain of layers."""
    chain, own = chain_of(f, inputs, options), not options.create_graph
    n = inputs[0].shape[1]

    def some_rows(factors: Sequence[Factor], y: Tensor) -> tuple[Tensor, ...]:
        if own:
            trace, block = in_one(factors, None, n, whole=options.values)
        else:
            trace, block = collapsed(factors, None, whole=options.values)
        trace = torch.zeros_like(y) if trace is None else trace
        return (trace, dense(block, y, n).mT) if options.values else (trace,)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=True)
        trace, *first = in_parts(some_rows, factors, y, n, whole=not own)
        return Orders(y, first[0] if first else None, trace)

    return evaluate


def curvatures(factors: Sequence[Factor], own: bool) -> tuple[dict[int, Tensor], Block]:
    """`G_l σ″_l: [B, m, k]` by the place of the layer, where it bends, and the Jacobian's block."""
    found: dict[int, Tensor] = {}
    seen = blocks(reversed(factors), own=own)
    for k, factor in reversed(list(enumerate(factors))):
        block = next(seen)
        if isinstance(factor, Diagonal) and factor.bend is not None:
            found[k] = _curvature(block, factor.bend)
    return found, next(seen)


def _curvature(block: Block, bend: Tensor) -> Tensor:
    if block is None:
        return torch.diag_embed(bend)
    assert isinstance(block, Tensor)
    return block * bend[:, None]


# What a layer adds to the result: the tangents of its pre-activation, and its curvatures.
Term = Callable[[Block, Tensor], Tensor]


def _hessian(block: Block, curvature: Tensor) -> Tensor:
    """`Jᵀ diag(c) J` for each row and output: `[B, m, n, n]`."""
    if block is None:
        return torch.diag_embed(curvature)
    assert isinstance(block, Tensor)
    B, m, k = curvature.shape
    n = block.shape[-2]
    # A weight of the first layer is turned: what is made of it would be copied into order.
    block = block.contiguous()
    tangents = block[:, None] if block.dim() == 3 else block
    weighted = (tangents * curvature[:, :, None]).reshape(B, m * n, k)
    return torch.matmul(weighted, block.mT).view(B, m, n, n)


def _diagonal(block: Block, curvature: Tensor) -> Tensor:
    """Its diagonal: `[B, m, n]`."""
    if block is None:
        return curvature
    assert isinstance(block, Tensor)
    return torch.matmul(curvature, (block * block).mT)


def _by_layers(
    f: Function, inputs: Inputs, options: Options, term: Term, axes: int, of_block: int
) -> Evaluate:
    """The sum of what the layers add, with as many axes of n as said.

    of_block: rows of the largest block.
    """
    chain, own = chain_of(f, inputs, options), not options.create_graph
    n = inputs[0].shape[1]

    def some_rows(factors: Sequence[Factor], y: Tensor) -> tuple[Tensor, ...]:
        found, jacobian = curvatures(factors, own)
        total = None
        last = max(found, default=0)
        for k, block in enumerate(blocks(map(transposed, factors[:last]), own=own)):
            if k in found:
                added = term(block, found[k])
                total = added if total is None else total.add_(added) if own else total + added
        if total is None:
            total = y.new_zeros(*y.shape, *[n] * axes)
        return (total, dense(jacobian, y, y.shape[1])) if options.values else (total,)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=True)
        second, *first = in_parts(some_rows, factors, y, of_block, whole=not own)
        return Orders(y, first[0] if first else None, second)

    return evaluate


@strategy(
    Operator.HESSIAN,
    mode="closed-form",
    sweep="one-pass",
    needs=["sum", "chain"],
    name="closed-form",
)
def closed_form_hessian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Layer by layer `Jᵀ diag(G σ″) J`: cotangents back, n tangents forth; only a chain of layers.

    No entry is computed by two derivatives, one inside the other.
    """
    m = _outputs(f, inputs)
    return _by_layers(f, inputs, options, _hessian, 2, m * inputs[0].shape[1])


@strategy(
    Operator.HESSIAN_DIAGONAL,
    mode="closed-form",
    sweep="one-pass",
    needs=["sum", "chain"],
    name="closed-form",
)
def closed_form_diagonal(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Layer by layer `(G σ″) (J ∘ J)`: the Hessian is never formed; only a chain of layers."""
    return _by_layers(f, inputs, options, _diagonal, 1, inputs[0].shape[1])


def _outputs(f: Function, inputs: Inputs) -> int:
    with torch.no_grad():
        return f(*inputs).shape[1]
