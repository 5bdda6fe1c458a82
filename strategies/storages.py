"""Which storages an evaluation allocates, how long they live, and how many bytes they hold."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


class Storages:
    """The storages that operations allocate: their bytes in all, and at most at once.

    `total_bytes` of all together, also of those that were freed on the way; `peak_bytes` of those
    alive at once, `live_bytes` of those alive now. What an operation is given and did not come out
    of an earlier one lived before.
    """

    def __init__(self) -> None:
        self.total_bytes = self.peak_bytes = self.live_bytes = 0
        self._live: dict[int, tuple[weakref.ref[Any], int]] = {}

    def record(self, given: Iterable[Tensor], made: Iterable[Tensor]) -> None:
        """An operation took the tensors `given` and returned `made`."""
        old = {_key(tensor) for tensor in given}
        for tensor in made:
            key = _key(tensor)
            # A view or an in-place result lives in a storage that was given.
            if key in self._live or key not in old:
                self._hold(key, tensor.untyped_storage(), _bytes(tensor))
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _hold(self, key: int, storage: torch.UntypedStorage, size: int) -> None:
        before = 0
        if key in self._live:
            # `out=` and `resize_` may have made it larger.
            held, before = self._live[key]
        else:
            # torch keeps a storage's Python object as long as the storage itself.
            held = weakref.ref(storage, lambda _: self._free(key))
        self._live[key] = held, size
        self.live_bytes += size - before
        self.total_bytes += max(0, size - before)

    def _free(self, key: int) -> None:
        self.live_bytes -= self._live.pop(key)[1]


def strided(tree: Any) -> list[Tensor]:
    """The tensors of a tree that have a storage of their own kind: those of sparse ones are their
    indices and values, which operations return too."""
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided]


def has_memory(tensor: Tensor) -> bool:
    """Not so for torch's symbolic zeros, and on the meta device, where only shapes are computed."""
    return not (tensor._is_zerotensor() or tensor.is_meta)


def held_bytes(result: Any) -> int:
    """Bytes of the storages that hold a result, whole where it is a view; each counted once."""
    tensors = [part for leaf in tree_leaves(result) for part in _parts(leaf)]
    return sum({_key(tensor): _bytes(tensor) for tensor in tensors}.values())


def _parts(leaf: Any) -> tuple[Tensor, ...]:
    if not isinstance(leaf, Tensor):
        return ()
    return (leaf._indices(), leaf._values()) if leaf.layout == torch.sparse_coo else (leaf,)


def _key(tensor: Tensor) -> int:
    """What tells living storages apart."""
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() if has_memory(tensor) else 0
