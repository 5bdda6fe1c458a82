"""A result of which most is always zero: its entries are computed, and put where they belong.

A strategy that knows where they are returns `Entries`. Executions run what computes the values, a
plain dense tensor; the result is put together outside of them, so that a trace neither holds the
places nor fills zeros twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .guard import PlanMismatch
from .operators import SECOND_ORDER, Operator, Orders, Shape
from .registry import Evaluate

Assemble = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Entries:
    """How to compute the entries that may differ from zero, and where they are.

    values: `(x, *args)` to `[B, K]`, or `Orders` with these in place of the operator's result.
    places: `[2, K]`, output and input of each entry of a row, or `[3, K]` with both inputs of a
    second derivative; sorted, each once. held: tensors whose values said where.
    """

    operator: Operator
    values: Evaluate
    places: Tensor
    sizes: Shape
    held: tuple[Tensor, ...] = ()

    def __call__(self, x: Tensor, *args: Tensor) -> Tensor | Orders:
        """The operator's result, dense and flat."""
        found = self.values(x, *args)
        put = assembled(self, len(x), tuple((size,) for size in self.sizes), "dense")
        if isinstance(found, Tensor):
            return put(found)
        if self.operator in SECOND_ORDER:
            assert found.second is not None
            return found._replace(second=put(found.second))
        assert found.first is not None
        return found._replace(first=put(found.first))


def assembled(
    entries: Entries, B: int, shapes: tuple[Shape, ...], layout: Literal["dense", "sparse"]
) -> Assemble:
    """`[B, K]` to the result `[B, …]`: each axis of `entries.sizes` in its shape."""
    shape = (B, *(size for axis in shapes for size in axis))
    put = _sparse(entries, shape, shapes) if layout == "sparse" else _dense(entries, shape)
    seen = [(tensor, tensor._version) for tensor in entries.held]

    def assemble(values: Tensor) -> Tensor:
        if any(tensor._version != version for tensor, version in seen):
            raise PlanMismatch(
                "a tensor of indices that f holds was written to since the plan was prepared;"
                " prepare again"
            )
        return put(values)

    return assemble


def _dense(entries: Entries, shape: Shape) -> Assemble:
    strides = [prod(entries.sizes[k + 1 :]) for k in range(len(entries.sizes))]
    at = sum(place * stride for place, stride in zip(entries.places, strides, strict=True))
    assert isinstance(at, Tensor)
    return lambda values: (
        values.new_zeros(shape[0], prod(shape[1:])).index_copy_(1, at, values).reshape(shape)
    )


def _sparse(entries: Entries, shape: Shape, shapes: tuple[Shape, ...]) -> Assemble:
    """Coalesced: the batch comes first, and a row's places are sorted."""
    B, K = shape[0], entries.places.shape[1]
    axes = [
        torch.from_numpy(np.stack(np.unravel_index(place.cpu().numpy(), axis)))
        for place, axis in zip(entries.places, shapes, strict=True)
        if axis
    ]
    rows = torch.arange(B).repeat_interleave(K)[None]
    indices = torch.cat([rows, *(axis.repeat(1, B) for axis in axes)]).to(entries.places.device)
    return lambda values: torch.sparse_coo_tensor(
        indices, values.reshape(-1), shape, is_coalesced=True, check_invariants=False
    )
