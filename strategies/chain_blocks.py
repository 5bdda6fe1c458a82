"""Blocks of tangents and cotangents, and how they pass the factors of a chain.

A block of tangents is `[B, n, k]`, one of cotangents `[B, m, k]`: since weights are the same for
all rows, a layer is one product of matrices, of B·n or B·m rows. What is the same for all rows, or
of the only one, is a matrix, until a layer tells rows apart.

NOTE [blocks in the cache]
Allocations of 32 MB and more are mapped afresh at each call, and an elementwise operation on them
costs five times one in the cache. Without a graph the rows go in parts whose blocks fit it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .chains import Diagonal, Factor, rows_of
from .products import by_matrix

# None: the identity.
Block = Tensor | Diagonal | None
# The results for some rows, of their factors and values.
Of = Callable[[Sequence[Factor], Tensor], tuple[Tensor, ...]]

_LARGEST_BLOCK = 4 * 2**20


def by_row(slope: Tensor | float | None) -> bool:
    """Whether a slope or a bend is another one for each row of several."""
    return isinstance(slope, Tensor) and slope.dim() == 2 and len(slope) > 1


def by_column(slope: Tensor | float) -> Tensor | float:
    """To scale the columns of a block by a slope."""
    return slope[:, None] if by_row(slope) else slope  # type: ignore[index]


def by_entry(slope: Tensor | float) -> Tensor | float:
    """To scale the rows of a matrix by a slope, `[B, k, 1]` or `[k, 1]`."""
    if not isinstance(slope, Tensor) or not slope.dim():
        return slope
    return slope[..., None] if by_row(slope) else slope.reshape(-1, 1)


def times(block: Block, factor: Factor, *, own: bool = False) -> Block:
    """A block by a factor on its right, a matrix `[k, out]` or a diagonal.

    own: the block may be written into.
    """
    if isinstance(factor, Diagonal):
        if not isinstance(block, Tensor):
            assert block is None
            return factor
        rows = by_row(factor.slope)
        spread = rows and block.dim() == 2
        slope = factor.slope[:, None] if rows else factor.slope  # type: ignore[index]
        # Spread over the rows, a transposed matrix would keep its order, which no product likes.
        block = block.contiguous() if spread else block
        return block.mul_(slope) if own and not spread else block * slope
    if isinstance(block, Diagonal):
        return by_entry(block.slope) * factor
    return factor if block is None else by_matrix(block, factor)


def transposed(factor: Factor) -> Factor:
    return factor.mT if isinstance(factor, Tensor) else factor


def blocks(factors: Iterable[Factor], *, own: bool, block: Block = None) -> Iterator[Block]:
    """The block before each factor, and the one after the last.

    own: a block may be written into when the next one is asked for.
    """
    fresh = False
    yield block
    for factor in factors:
        before, block = block, times(block, factor, own=own and fresh)
        # The first one may be a factor itself.
        fresh = before is not None
        yield block


def product(factors: Iterable[Factor], own: bool) -> Block:
    """The identity times the factors, one by one from its right."""
    # Not unpacked, which would keep all of them.
    return deque(blocks(factors, own=own), maxlen=1).pop()


def dense(block: Block, like: Tensor, rows: int, *, fresh: bool = False) -> Tensor:
    """The block of its own memory: `[B, rows, k]`; like: `[B, …]`. fresh: it has it already."""
    B = len(like)
    if fresh and B == 1 and isinstance(block, Tensor):
        return block.view(1, rows, -1)
    if block is None:
        block = torch.eye(rows, dtype=like.dtype, device=like.device)
    if isinstance(block, Diagonal):
        slope = torch.as_tensor(block.slope, dtype=like.dtype, device=like.device)
        return torch.diag_embed(slope.expand(B, rows))
    # One that is alike for all rows may be a weight itself.
    return block if block.dim() == 3 else block.expand(B, -1, -1).clone()


def in_parts(of: Of, factors: Sequence[Factor], y: Tensor, rows: int, whole: bool) -> list[Tensor]:
    """The results for all rows of the batch, see NOTE [blocks in the cache].

    rows: of a block. whole: all at once.
    """
    B = len(y)
    widest = max([f.shape[0] for f in factors if isinstance(f, Tensor)], default=1)
    size = B if whole else max(1, _LARGEST_BLOCK // (rows * widest * y.element_size()))
    if size >= B:
        return list(of(factors, y))
    # As many parts as it takes, of one size.
    size = math.ceil(B / math.ceil(B / size))
    parts = [
        of(rows_of(factors, start, start + size), y[start : start + size])
        for start in range(0, B, size)
    ]
    return [torch.cat(part) for part in zip(*parts, strict=True)]
