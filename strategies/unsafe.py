"""Operations through which this torch computes nested forward mode silently wrong.

NOTE [nested forward mode]
The forward-mode formulas of some operations recompute a saved intermediate without its own tangent.
One `jvp` through them is right; another derivative on top of it, forward or reverse, misses a term
and says nothing (pytorch#196696, #192540, #196695 for the determinants and solve; the norm layers
with statistics of their own input were found here, by the gate). A reverse pass below is right:
the modes forward-over-reverse and reverse-over-reverse are not concerned. Every entry is proven
wrong by a test, which fails once torch has mended it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .functions import Function, without_traces

NESTED_FORWARD = frozenset({"forward-over-forward", "reverse-over-forward"})

Arguments = tuple[Any, ...]


def _always(arguments: Arguments) -> bool:
    return True


def _own_statistics(arguments: Arguments) -> bool:
    training = arguments[5]
    return bool(training)


# By the version of torch for which each was measured; an unknown version takes the newest.
UNSAFE: dict[str, Mapping[str, Callable[[Arguments], bool]]] = {
    "2.13": {
        "aten::_linalg_det": _always,
        "aten::_linalg_slogdet": _always,
        "aten::_linalg_solve_ex": _always,
        "aten::native_batch_norm": _own_statistics,
        "aten::native_layer_norm": _always,
    },
}


class _Seen(TorchDispatchMode):
    def __init__(self, unsafe: Mapping[str, Callable[[Arguments], bool]]) -> None:
        super().__init__()
        self.unsafe = unsafe
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Arguments = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name
        if name in self.unsafe and self.unsafe[name](args):
            self.found.add(name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def unsafe_operations(f: Function, x: Tensor, args: Sequence[Tensor]) -> list[str]:
    """The operations of f through which nested forward mode is wrong on this torch."""
    release = ".".join(torch.__version__.split(".")[:2])
    seen = _Seen(UNSAFE.get(release, UNSAFE[max(UNSAFE)]))
    with torch.no_grad(), without_traces(x.device), seen:
        f(x.detach(), *args)
    return sorted(seen.found)
