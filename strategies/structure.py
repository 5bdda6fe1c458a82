"""What f does, as a key: its operations in order, who reads what, shapes and constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .functions import Function, without_traces
from .registry import Inputs

Structure = tuple[Any, ...]


class _Wiring(TorchDispatchMode):
    """Notes every operation with where each of its inputs comes from."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.steps: list[Structure] = []
        # Held, or another tensor could get the same identity.
        self._held: list[Tensor] = list(inputs)
        self._names = {id(tensor): k for k, tensor in enumerate(inputs)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = tuple(self._named(leaf) for leaf in tree_leaves((args, kwargs)))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.steps.append((str(func), given, tuple(map(_kind, made))))
        for tensor in made:
            self._names[id(tensor)] = len(self._held)
            self._held.append(tensor)
        return result

    def _named(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        # A parameter or a constant is known by its kind: plans read it anew at every call.
        return self._names.get(id(leaf), _kind(leaf))


def _kind(tensor: Tensor) -> Structure:
    return tuple(tensor.shape), str(tensor.dtype), str(tensor.device), tensor.requires_grad


def structure(f: Function, inputs: Inputs) -> Structure:
    """The structure of f at `inputs = (x, *args)`: the same for functions that compute the same
    way, whatever their parameters' values; nothing of the call remains."""
    x, *args = (t.detach().clone() for t in inputs)
    with without_traces(x.device), torch.enable_grad(), _Wiring((x, *args)) as wiring:
        f(x, *args)
    return (tuple(map(_kind, inputs)), *wiring.steps)
