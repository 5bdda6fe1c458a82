"""The Laplacian of a chain, carried forward beside its tangents.

NOTE [the Laplacian as a row]
Where no graph is wanted the sum is one more row of the block of tangents: both are scaled by the
same slopes and multiplied by the same matrices, in one launch each, which reads the matrix once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .chain_blocks import Block, blocks, by_column, dense, times, transposed
from .chains import Diagonal, Factor
from .products import by_matrix, linear


def squares(block: Block) -> Tensor | float:
    """`‖J[j,:]‖²` of a block of tangents: `[B, k]`, `[k]`, or one number."""
    if block is None:
        return 1.0
    assert isinstance(block, Tensor)
    return (block * block).sum(-2)


def _last(factors: Sequence[Factor]) -> int:
    """Behind which factor, the last one that bends, nothing asks for the tangents."""
    bending = [k for k, f in enumerate(factors) if isinstance(f, Diagonal) and f.bend is not None]
    return max(bending, default=0)


def collapsed(
    factors: Sequence[Factor],
    block: Block,
    *,
    whole: bool = False,
    measure: Callable[[Block], Tensor | float] = squares,
) -> tuple[Tensor | None, Block]:
    """The Laplacian `[B, m]` by the tangents of a block, None where nothing bends, and the tangents
    of the result; both may carry a graph.

    whole: that these are wanted. measure: what stands for `‖J[j,:]‖²`.
    """
    last = len(factors) if whole else _last(factors)
    seen = blocks(map(transposed, factors[:last]), own=False, block=block)
    trace = None
    for factor in factors:
        block = next(seen, block)
        if isinstance(factor, Tensor):
            trace = None if trace is None else linear(trace, factor)
        else:
            trace = _bent(trace, factor, block, measure)
    return trace, next(seen, block)


def _bent(
    trace: Tensor | None, layer: Diagonal, block: Block, measure: Callable[[Block], Tensor | float]
) -> Tensor | None:
    carried = None if trace is None else trace * layer.slope
    if layer.bend is None:
        return carried
    bent = layer.bend * measure(block)
    return bent if carried is None else carried + bent


def in_one(
    factors: Sequence[Factor], block: Block, n: int, *, whole: bool = False
) -> tuple[Tensor | None, Block]:
    """What `collapsed` gives, without a graph: see NOTE [the Laplacian as a row].

    n: rows of the block.
    """
    last = len(factors) if whole else _last(factors)
    stack: Tensor | None = None
    for factor in factors[:last]:
        if stack is not None:
            stack = _stacked(stack, factor, n)
        elif isinstance(factor, Diagonal) and factor.bend is not None:
            stack = _first_stack(block, factor, n)
        else:
            block = times(block, transposed(factor))
    return _sum_alone(factors[last:], stack, block, n)


def _first_stack(block: Block, layer: Diagonal, n: int) -> Tensor:
    """The tangents of the first layer that bends, and the Laplacian behind them."""
    assert isinstance(layer.bend, Tensor)
    B, k = layer.bend.shape
    stack = layer.bend.new_empty(B, n + 1, k)
    if isinstance(block, Tensor):
        torch.mul(block.expand(B, n, k), by_column(layer.slope), out=stack[:, :n])
    else:
        stack[:, :n] = dense(times(block, layer), layer.bend, n)
    stack[:, n] = layer.bend * squares(block)
    return stack


def _stacked(stack: Tensor, factor: Factor, n: int) -> Tensor:
    if isinstance(factor, Tensor):
        return by_matrix(stack, factor.mT)
    if factor.bend is None:
        return stack.mul_(by_column(factor.slope))
    bent = factor.bend * squares(stack[:, :n])
    stack.mul_(by_column(factor.slope))[:, n] += bent
    return stack


def _sum_alone(
    factors: Sequence[Factor], stack: Tensor | None, block: Block, n: int
) -> tuple[Tensor | None, Block]:
    """The Laplacian through the factors behind the last tangents that are asked for."""
    trace = None if stack is None else stack[:, n]
    block = block if stack is None else stack[:, :n]
    for factor in factors:
        if isinstance(factor, Tensor):
            trace = None if trace is None else linear(trace, factor)
        else:
            trace = _bent(trace, factor, block, squares)
    return trace, block
