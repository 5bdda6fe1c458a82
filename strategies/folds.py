"""Derivatives of chains of layers that need fewer tangents than there are inputs.

Rank fold: with `f = g(W₁ x)`, `Δf = ⟨∂²g, W₁W₁ᵀ⟩`: any R with `RᵀR = W₁W₁ᵀ` has tangents enough,
one for each unit of the first layer. R is by an eigendecomposition, since W₁W₁ᵀ may be singular.
Where gradients must pass, it is not: its derivative does not exist where eigenvalues meet. There
`‖J[j,:]‖²` is written as `Σ_i J̃_ji (J̃ W₁W₁ᵀ)_ji` with J̃ the Jacobian by the first pre-activation.

Cyclic fold: with two hidden layers `tr J = tr(D₂ W₂ D₁ W₁W₃) = d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁`, one
product of matrices for all rows of the batch, and no Jacobian.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import takewhile

import torch
from torch import Tensor
from torch.nn.functional import linear

from .chain_blocks import Block, dense, product
from .chain_laplacian import collapsed, in_one
from .chain_reading import chain_of
from .chains import Chain, Diagonal, Factor, factors_of
from .functions import Function
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, Unsupported, strategy


def structure(chain: Chain, inputs: Inputs) -> list[Factor]:
    """The chain's factors at the example: their kinds and shapes are those of every call."""
    x, *args = inputs
    with torch.no_grad():
        return factors_of(chain, x, tuple(args), second=False)[1]


def _first(factors: Sequence[Factor]) -> list[Tensor]:
    """The matrices before the first elementwise layer."""
    return list(takewhile(lambda f: isinstance(f, Tensor), factors))  # type: ignore[arg-type]


def _multiplied(matrices: Sequence[Tensor]) -> Tensor:
    return reduce(lambda product, matrix: matrix @ product, matrices)


@strategy(Operator.LAPLACIAN, mode="closed-form", sweep="fold", needs=["sum", "chain"])
def rank_fold(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One tangent for each unit of the first layer, where there are more inputs than that."""
    chain, own = chain_of(f, inputs, options), not options.create_graph
    n, before = inputs[0].shape[1], _first(structure(chain, inputs))
    if not before or len(before[-1]) >= n:
        width = f"has {len(before[-1])} units" if before else "is elementwise"
        raise Unsupported(
            f"the first layer {width} for {n} inputs, so that a fold saves no tangents;"
            " closed-form takes as many as there are inputs"
        )

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=True)
        first, rest = _multiplied(factors[: len(before)]), factors[len(before) :]  # type: ignore[arg-type]
        trace = _folded(first, rest, own)
        jacobian = product(reversed(factors), own) if options.values else None
        return Orders(
            y,
            dense(jacobian, y, y.shape[1]) if options.values else None,
            torch.zeros_like(y) if trace is None else trace,
        )

    return evaluate


def _folded(first: Tensor, rest: Sequence[Factor], own: bool) -> Tensor | None:
    """The Laplacian, by factors or, where gradients must pass, by the Gram matrix itself."""
    gram = first @ first.mT
    if own:
        values, vectors = torch.linalg.eigh(gram)
        root = vectors.mT * values.clamp_min(0).sqrt()[:, None]
        return in_one(rest, root, len(root))[0]

    def measure(block: Block) -> Tensor:
        if block is None:
            return gram.diagonal()
        assert isinstance(block, Tensor)
        return (block * torch.matmul(gram, block)).sum(-2)

    return collapsed(rest, None, measure=measure)[0]


@strategy(Operator.DIVERGENCE, mode="closed-form", sweep="fold", needs=["sum", "square", "chain"])
def cyclic_fold(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One quadratic form a row in the slopes of exactly two hidden layers; no Jacobian."""
    chain = chain_of(f, inputs, options)
    found = structure(chain, inputs)
    inner = [k for k, factor in enumerate(found) if isinstance(factor, Diagonal)]
    if len(inner) != 2 or inner[0] == 0 or inner[1] == len(found) - 1:
        raise Unsupported(
            "the cyclic fold is for two elementwise layers between affine ones, f has"
            f" {len(inner)} elementwise layers in {len(found)}"
        )
    low, high = inner

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=False)
        parts = (factors[:low], factors[low + 1 : high], factors[high + 1 :])
        first, second, third = (_multiplied(part) for part in parts)  # type: ignore[arg-type]
        slopes = [_by_row(factors[k], x) for k in inner]
        return Orders(y, (linear(slopes[0], second * (first @ third).mT) * slopes[1]).sum(1))

    return evaluate


def _by_row(layer: Factor, x: Tensor) -> Tensor:
    """The slopes of a layer: `[B, k]`."""
    assert isinstance(layer, Diagonal)
    slope = layer.slope
    assert isinstance(slope, Tensor)
    return slope.expand(len(x), slope.shape[-1])
