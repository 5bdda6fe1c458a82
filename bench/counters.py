"""What is exact and repeatable about one evaluation: operations, FLOPs, bytes that live at once."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Counting(TorchDispatchMode):
    """Counts operations below every transform, their FLOPs, and the storages they leave alive.

    FLOPs are of products alone (matrices, convolutions, attention), two for each multiply-add.
    Bytes are of tensors (result and saved ones included), not of a kernel's scratch memory; what
    lived before the evaluation is not counted.
    """

    def __init__(self, before: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.ops = self.flops = self.peak_bytes = self._live_bytes = 0
        self._products: set[int] = set()
        self._old = {_key(t) for t in before}
        self._live: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.ops += 1
        self.flops += self._flops(func, args, kwargs or {}, result)
        inputs = {_key(t) for t in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            # A view or an in-place result lives in an input's storage: nothing new was allocated.
            if _key(tensor) not in inputs:
                self._remember(tensor)
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        return result

    def _flops(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> int:
        name = func._schema.name
        if name == "aten::mul" and isinstance(result, Tensor):
            self._products.add(id(result))
            weakref.finalize(result, self._products.discard, id(result))
        if name == "aten::sum" and id(args[0]) in self._products:
            # mul-sum stands for a product over the summed dimensions.
            return 2 * args[0].numel()
        if name in _PRODUCTS:
            return _PRODUCTS[name](*args)
        formula = flop_registry.get(func._overloadpacket)
        return int(formula(*args, **kwargs, out_val=result)) if formula else 0

    def _remember(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._live or key in self._old:
            return
        # torch keeps a storage's Python object as long as the storage itself.
        self._live[key] = weakref.ref(storage, lambda _: self._free(key)), storage.nbytes()
        self._live_bytes += storage.nbytes()

    def _free(self, key: int) -> None:
        self._live_bytes -= self._live.pop(key)[1]


# torch's registry counts nothing for products with a vector.
_PRODUCTS: dict[str, Callable[..., int]] = {
    "aten::mv": lambda matrix, vector: 2 * matrix.numel(),
    "aten::addmv": lambda added, matrix, vector: 2 * matrix.numel(),
    "aten::dot": lambda a, b: 2 * a.numel(),
    "aten::vdot": lambda a, b: 2 * a.numel(),
}


def _key(tensor: Tensor) -> int:
    """What tells living storages apart."""
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided]


def counters(evaluate: Callable[..., object], inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """`ops`, `flops` and `peak_bytes` of one evaluation."""
    with Counting(inputs) as counting:
        evaluate(*inputs)
    return {"ops": counting.ops, "flops": counting.flops, "peak_bytes": counting.peak_bytes}


def fallbacks(evaluate: Callable[..., object], inputs: tuple[Tensor, ...]) -> int:
    """How many times vmap fell back to a loop over its directions in one evaluation.

    torch says so only when asked; it is asked here alone, since every warning takes time.
    """
    show = torch._C._debug_only_display_vmap_fallback_warnings  # type: ignore[attr-defined]
    show(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evaluate(*inputs)
    finally:
        show(False)
    return sum("batching rule" in str(warning.message) for warning in caught)


def cuda_peak_bytes(call: Callable[[], object]) -> int:
    """Bytes that one call takes from the device's allocator above what lived before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)
