"""Index sets of the elements of a tensor, and what operations make of them: shape by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array, vstack
from torch import Tensor

from .operators import Shape
from .registry import Unsupported

# Of all sets of a tensor: beyond, a pattern takes longer to find than it saves.
MOST = 2**24


@dataclass(frozen=True)
class Sets:
    """On which of n inputs each element of a tensor of this shape may depend: `[elements, n]`."""

    shape: Shape
    rows: csr_array

    @classmethod
    def empty(cls, shape: Shape, n: int) -> Sets:
        return cls(shape, csr_array((prod(shape), n), dtype=bool))

    @property
    def n(self) -> int:
        return self.rows.shape[1]

    def viewed(self, shape: Shape) -> Sets:
        return Sets(shape, self.rows)


def units(shape: Shape) -> Sets:
    """Of the inputs themselves: each element is one."""
    return Sets(shape, csr_array(eye_array(prod(shape), dtype=bool, format="csr")))


def numbered(shape: Shape, start: int = 0) -> Tensor:
    """The elements' numbers as a tensor; exact, and of a kind that every operation takes."""
    return torch.arange(start, start + prod(shape), dtype=torch.float64).reshape(shape)


def taken(sets: Sequence[Sets], at: Tensor) -> Sets:
    """The sets of elements by their numbers, counted from 1 through all; 0 is none."""
    n = sets[0].n
    index = at.reshape(-1).long().numpy()
    lengths = np.concatenate([[0], *(np.diff(s.rows.indptr) for s in sets)])
    _limit(lengths[index].sum())
    stacked = vstack([csr_array((1, n), dtype=bool), *(s.rows for s in sets)], format="csr")
    return Sets(tuple(at.shape), csr_array(stacked)[index])


def _limit(entries: int) -> None:
    if entries > MOST:
        raise Unsupported(
            f"f has a tensor that depends on its inputs in {entries} places, so many that a"
            " pattern is not worth looking for; vmap-jacfwd and jacrev-sum are for dense Jacobians"
        )


def expanded(sets: Sets, shape: Shape) -> Sets:
    """As `torch.expand` lays them out."""
    return sets if sets.shape == shape else taken([sets], numbered(sets.shape, 1).expand(shape))


def united(sets: Sequence[Sets], shape: Shape | None = None) -> Sets:
    """Element by element the union, broadcast."""
    shape = tuple(torch.broadcast_shapes(*(s.shape for s in sets))) if shape is None else shape
    found, *others = (expanded(s, shape).rows for s in sets)
    for rows in others:
        found = found + rows
    return Sets(shape, csr_array(found))


def gathered(sets: Sets, groups: Tensor, count: int) -> csr_array:
    """`[count, n]`: the union of all elements of a group, given the group of each."""
    group = groups.reshape(-1).long().numpy()
    own = np.arange(len(group))
    one = np.ones(len(group), dtype=bool)
    return csr_array(csr_array((one, (group, own)), shape=(count, len(group))) @ sets.rows)


def reduced(sets: Sets, dims: Sequence[int]) -> Sets:
    """The union along some axes, which stay with size 1."""
    along = {dim % len(sets.shape) for dim in dims} if sets.shape else set()
    shape = tuple(1 if k in along else size for k, size in enumerate(sets.shape))
    if shape == sets.shape:
        return sets
    groups = numbered(shape).expand(sets.shape)
    return Sets(shape, gathered(sets, groups, prod(shape)))


def fitted(sets: Sets, shape: Shape) -> Sets:
    """What was reduced, in the shape of the result: axes dropped, or repeated."""
    if len(shape) == len(sets.shape) and all(
        a in (1, b) for a, b in zip(sets.shape, shape, strict=True)
    ):
        return expanded(sets, shape)
    return sets.viewed(shape) if prod(shape) == prod(sets.shape) else every(sets, shape)


def every(sets: Sets, shape: Shape) -> Sets:
    """Each element of the result depends on whatever any element depends on."""
    whole = reduced(sets.viewed((prod(sets.shape),)), [0])
    return taken([whole], torch.ones(shape, dtype=torch.float64))
