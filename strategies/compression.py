"""What a sparse result is compressed to: colours, seeds, where entries are, and whether they hold.

NOTE [superset]
A pattern that holds too little would lose entries silently. It is tried at another point than the
example: the entries, summed along a direction with no zero in it, must be the vector-Jacobian or
Hessian-vector product that autograd gives there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from .colouring import coloured_columns, fewest
from .functions import half_the_digits, moved
from .registry import Inputs, Unsupported


@dataclass(frozen=True)
class Colours:
    """The colour of each column, or of each row where rows need fewer: these take reverse mode."""

    of: np.ndarray
    forward: bool

    @property
    def count(self) -> int:
        return int(self.of.max(initial=-1)) + 1

    def seeds(self, like: Tensor) -> Tensor:
        """`[colours, B, n or m]`: the sum of the unit directions of each colour."""
        chosen = torch.zeros(self.count, len(self.of), dtype=like.dtype)
        chosen[torch.from_numpy(self.of), torch.arange(len(self.of))] = 1
        return chosen.to(like.device)[:, None].expand(-1, len(like), -1)


def cheaper(entries: csr_array) -> Colours:
    """Those of columns or of rows; raises `Unsupported` where nothing is saved by either."""
    m, n = entries.shape
    found: list[Colours] = []
    for forward, matrix in ((True, entries), (False, csr_array(entries.T))):
        best = min([min(m, n), *(colours.count for colours in found)])
        if fewest(matrix) < best and (of := coloured_columns(matrix)) is not None:
            found.append(Colours(of, forward))
    # A direction forward costs about as much as one backward, but stores no graph.
    colours = min(found, key=lambda c: (c.count, not c.forward), default=None)
    if colours is None or colours.count >= min(m, n):
        least = min(fewest(entries), fewest(csr_array(entries.T)))
        raise Unsupported(
            f"nothing is saved: the pattern of {m} outputs by {n} inputs needs at least"
            f" {least if colours is None else colours.count} colours;"
            f" {'jacrev-sum' if m <= n else 'vmap-jacfwd'} is for dense Jacobians"
        )
    return colours


def with_sorted_rows(entries: csr_array) -> csr_array:
    """Each entry once, in order."""
    found = csr_array(entries)
    found.sum_duplicates()
    found.sort_indices()
    return found


def places_of(entries: csr_array, device: torch.device) -> Tensor:
    """`[2, K]`: the row and the column of each entry."""
    rows = np.repeat(np.arange(entries.shape[0]), np.diff(entries.indptr))
    return torch.from_numpy(np.stack([rows, entries.indices.astype(np.int64)])).to(device)


def products_at(entries: csr_array, colours: Colours, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where in all products, flat, each entry of each row of the batch is; and the places."""
    places = places_of(entries, x.device)
    by, of = (places[1], places[0]) if colours.forward else (places[0], places[1])
    size = entries.shape[0 if colours.forward else 1]
    colour = torch.from_numpy(colours.of).to(x.device)[by]
    rows = torch.arange(len(x), device=x.device)[:, None]
    return ((colour * len(x) + rows) * size + of).reshape(-1), places


def elsewhere(inputs: Inputs) -> list[Tensor]:
    x, *args = inputs
    return [moved(x, 0.1, seed=5), *(arg.detach() for arg in args)]


def compare(parts: Tensor, of: Tensor, expected: Tensor) -> None:
    """Whether the parts `[B, K]`, summed by input, are `[B, n]`: up to the rounding of each sum."""
    eps, parts = torch.finfo(parts.dtype).eps, parts.detach()
    found, size = (
        torch.zeros_like(expected).index_add_(1, of, part) for part in (parts, parts.abs())
    )
    allowed = half_the_digits(parts.dtype) * size + 1e3 * eps * size.max().nan_to_num()
    both = found.isfinite() & expected.isfinite()
    if bool(((found - expected).abs() > allowed)[both].any()):
        raise Unsupported(
            "the pattern read off the trace of f does not hold at another point than the traced one"
            " (a Function with a backward of its own?)"
        )
