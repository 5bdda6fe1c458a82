"""What one evaluation does, operation by operation, below every transform: FLOPs, elements, bytes.

The units and what is not seen are in docs/method.md, section Counters.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .storages import Storages, has_memory, strided


class Counting(TorchDispatchMode):
    """Counts what reaches the dispatcher below every transform.

    `ops`: operations, views included. `flops`: of products alone (matrices, vectors, convolutions,
    attention), two for each multiply-add. `elements`: numbers written by elementwise operations,
    those whose entry at a place is made of the entries at the same place of their inputs, after
    broadcasting, or of none: what torch tags `pointwise`, and copies, fills and activations that it
    does not tag. Views write nothing; products, reductions, gathers, `cat` and `stack` are not
    elementwise. `storages`: what was allocated. `watch` looks on after every operation, and may
    raise.
    """

    def __init__(self, watch: Callable[[Counting], None] = lambda counting: None) -> None:
        super().__init__()
        self._watch = watch
        self.ops = self.flops = self.elements = 0
        self.storages = Storages()
        self._products: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with zeros_known():
            result = func(*args, **(kwargs or {}))
        made = strided(result)
        self.ops += 1
        self.flops += self._flops(func, args, kwargs or {}, result)
        self.elements += _written(made) if _elementwise(func) else 0
        # `torch.tensor` allocates out of sight, and is first seen here.
        fresh = func._schema.name == "aten::lift_fresh"
        self.storages.record([] if fresh else strided((args, kwargs)), made)
        self._watch(self)
        return result

    def _flops(self, func: Any, args: tuple[Any, ...], kwargs: Any, result: Any) -> int:
        name = func._schema.name
        if name == "aten::mul" and isinstance(result, Tensor):
            self._products.add(id(result))
            weakref.finalize(result, self._products.discard, id(result))
        if name == "aten::sum" and id(args[0]) in self._products:
            # mul-sum stands for a product over the summed dimensions.
            return 2 * args[0].numel()
        name = name.removesuffix("_")
        if name in _PRODUCTS:
            return _PRODUCTS[name](*args)
        formula = _registered(name)
        return int(formula(*args, **kwargs, out_val=result)) if formula else 0


# torch's registry counts nothing for products with a vector.
_PRODUCTS: dict[str, Callable[..., int]] = {
    "aten::mv": lambda matrix, vector: 2 * matrix.numel(),
    "aten::addmv": lambda added, matrix, vector: 2 * matrix.numel(),
    "aten::dot": lambda a, b: 2 * a.numel(),
    "aten::vdot": lambda a, b: 2 * a.numel(),
}

# Elementwise, and without torch's tag.
_UNTAGGED = frozenset(
    {
        *("copy", "_to_copy", "lift_fresh_copy", "masked_fill", "bernoulli", "native_dropout"),
        *("fill", "zero", "full", "full_like", "new_full", "scalar_tensor"),
        *("ones", "ones_like", "new_ones", "zeros", "zeros_like", "new_zeros"),
        *("_prelu_kernel", "_prelu_kernel_backward", "rrelu_with_noise_backward"),
        *("elu_backward", "hardshrink_backward", "hardsigmoid_backward", "hardswish"),
        *("hardswish_backward", "hardtanh_backward", "leaky_relu_backward", "log_sigmoid_forward"),
        *("log_sigmoid_backward", "mish_backward", "softplus_backward", "softshrink_backward"),
    }
)


@functools.cache
def _registered(name: str) -> Callable[..., Any] | None:
    """torch's formula, also for the operation in place."""
    namespace, _, own = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), own, None)
    return flop_registry.get(packet) if packet is not None else None


@functools.cache
def _elementwise(func: Any) -> bool:
    namespace, _, name = func._schema.name.partition("::")
    if torch.Tag.pointwise in func.tags or name.removesuffix("_") in _UNTAGGED:
        return True
    # A prim carries no tags; the operation of aten that it stands for does.
    like = getattr(torch.ops.aten, name, None) if namespace == "prims" else None
    return like is not None and any(
        torch.Tag.pointwise in getattr(like, overload).tags for overload in like.overloads()
    )


def zeros_known() -> Any:
    """Let operations called from here see torch's symbolic zeros for what they are.

    Below a dispatch mode the key that handles them is switched off, and an operation made of others
    (`mul` with a number) would read their memory, which is not there.
    """
    excluded = torch._C._dispatch_tls_local_exclude_set().remove(torch._C.DispatchKey.ZeroTensor)
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


def _written(made: list[Tensor]) -> int:
    return sum(tensor.numel() for tensor in made if has_memory(tensor))
