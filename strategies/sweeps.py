"""A sweep over unit directions, so many at once.

NOTE [preallocation]
Copying each chunk into the result saves what a concatenation needs: all chunks beside the result,
twice its memory. But it writes in place, which a graph through the result does not survive, and of
which a recording makes a copy of the whole result for each chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from .registry import Options, Unsupported

# `[k, count]` directions to `[k, …]` results.
Along = Callable[[Tensor], Tensor]
Sweep = Callable[[Along], Tensor]

# While memory is measured only the first chunks are computed: those that follow take no more.
_FIRST: ContextVar[int | None] = ContextVar("first chunks", default=None)


def directions_at_once(options: Options, default: int = 32) -> int:
    """How many directions a chunked strategy takes at once."""
    if isinstance(options.chunk, str):
        raise Unsupported(
            f"chunk={options.chunk!r}: `prepare` turns a budget into a number of directions"
        )
    return options.chunk or default


def unit_sweep(count: int, of: Tensor, options: Options) -> Sweep:
    """What calls a function for all `count` unit directions, `options.chunk` of them at once.

    of: a tensor of their dtype and device. The sweep returns `[count, …]`.
    """
    size = min(directions_at_once(options), count)
    eye = torch.eye(size, dtype=of.dtype, device=of.device)
    spans = [(start, min(start + size, count)) for start in range(0, count, size)]

    def units(start: int, stop: int) -> Tensor:
        # Of a chunk's size, not `count²` numbers that a plan would hold.
        k = stop - start
        return pad(eye[:k, :k], (start, count - stop))

    def in_place(along: Along) -> Tensor:
        found: Tensor | None = None
        for start, stop in spans[: _FIRST.get()]:
            found = _put(found, along(units(start, stop)), start, count)
        assert found is not None
        return found

    def whole(along: Along) -> Tensor:
        return along(eye)

    def joined(along: Along) -> Tensor:
        return torch.cat([along(units(start, stop)) for start, stop in spans])

    if len(spans) == 1:
        return whole
    return in_place if writes_in_place(options) else joined


def writes_in_place(options: Options) -> bool:
    """Whether a sweep of several chunks does, see NOTE [preallocation]."""
    return options.execution == "eager" and not options.create_graph


def _put(result: Tensor | None, chunk: Tensor, start: int, count: int) -> Tensor:
    # A function of its own, so that no name keeps a chunk while the next one is computed.
    if result is None:
        result = chunk.new_empty(count, *chunk.shape[1:])
    result[start : start + len(chunk)] = chunk
    return result


@contextmanager
def first_chunks(count: int) -> Iterator[None]:
    """Of each sweep that writes into place only so many chunks are computed; the rest of its result
    is left as it was allocated."""
    token = _FIRST.set(count)
    try:
        yield
    finally:
        _FIRST.reset(token)
