"""One look at f before anything is differentiated: what it is made of, and what it does beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.nn import Module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .functions import Function, agree, is_real, without_traces
from .registry import Unsupported

# A custom Function hides its backward from the dispatcher, and nests by rules of its own.
CUSTOM_FUNCTION = "autograd.Function"


@dataclass(frozen=True)
class Probe:
    """What calls of f showed.

    `y: [B, *out]`; `connected`: a graph leads from y to x; `modules`: those that ran;
    `operations`: what it is made of, by the names of `operation`; `writes`: into what f writes that
    it does not make itself, or None; `cuts`: functions that x went into and left without a graph;
    `repeats`: further calls gave the same; `leaves`: where x carries no graph, functions by which
    f starts one of its own.
    """

    y: Tensor
    connected: bool
    modules: tuple[Module, ...] = field(repr=False)
    operations: frozenset[str] = frozenset()
    writes: str | None = None
    cuts: tuple[str, ...] = ()
    repeats: bool = True
    leaves: tuple[str, ...] = ()


def probe(f: Function, x: Tensor, args: Sequence[Tensor]) -> Probe:
    """Call f, and again, for what `Probe` holds; nothing of the calls remains.

    What f raises goes on, but for parameters that cannot meet x: `Unsupported`.
    """
    dispatched, called, bare = Dispatched(), Called(), Called()
    with (
        torch.inference_mode(False),
        without_traces(x.device) as modules,
        torch.enable_grad(),
    ):
        leaf = x.detach().clone().requires_grad_()
        # Not the leaf itself: torch forbids to write into it before anyone could see the attempt.
        z = leaf.clone()
        given = tuple(arg.clone() for arg in args)
        try:
            with called, dispatched:
                y: Any = f(z, *given)
        except RuntimeError as error:
            if reason := _misplaced(x, modules):
                raise Unsupported(reason) from error
            raise
        if not is_real(y):
            return Probe(y, False, tuple(modules))
        nodes = list(graph_of(y))
        # Few outputs may come out alike by chance where f draws random numbers.
        calls = 16 if dispatched.draws else 1
        repeats = _repeats(f, (x.detach(), *given), y, bare, calls)
    custom = {CUSTOM_FUNCTION} if any(isinstance(n, BackwardCFunction) for n in nodes) else set()
    return Probe(
        y.detach(),
        any(getattr(node, "variable", None) is leaf for node in nodes),
        tuple(modules),
        frozenset(dispatched.operations | custom),
        dispatched.written(z, given, modules),
        tuple(sorted(called.cuts)),
        repeats,
        tuple(sorted(bare.started - called.started)),
    )


def _repeats(f: Function, inputs: Sequence[Tensor], y: Tensor, called: Called, times: int) -> bool:
    """Whether so many further calls of f give y again; `called` notes what they go through."""
    x, *args = inputs
    # The same kernels on the same numbers: nothing but the order of atomic sums may differ.
    tolerance = 8 * torch.finfo(y.dtype).eps ** 0.75
    for _ in range(times):
        with called:
            again = f(x.clone(), *args)
        if not is_real(again) or not agree(y, again, tolerance):
            return False
    return True


def _misplaced(x: Tensor, modules: Sequence[Module]) -> str | None:
    """What is wrong with the parameters of the modules that ran before f raised, or None."""
    for module in modules:
        for p in module.parameters(recurse=False):
            name = type(module).__name__
            if p.device != x.device:
                return f"parameters of {name} are on {p.device}, x is on {x.device}; move either"
            if p.is_inference():
                return (
                    f"parameters of {name} are inference tensors, which no graph may hold;"
                    " make the module outside of inference_mode"
                )
    return None


def graph_of(y: Tensor) -> Iterator[Any]:
    """The nodes of the graph behind a tensor, each once."""
    stack, visited = [y.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        yield node
        stack += [parent for parent, _ in node.next_functions]


def _in_training(args: Sequence[Any], result: Any) -> bool:
    return bool(args[5])


def _at_zero(args: Sequence[Any], result: Any) -> bool:
    return bool((result == 0).any())


# Operations that are another one, where it comes to derivatives, in some of their uses.
_USES: dict[str, tuple[str, Callable[[Sequence[Any], Any], bool]]] = {
    "aten::native_batch_norm": ("in training", _in_training),
    "aten::linalg_vector_norm": ("at 0", _at_zero),
}


def operation(func: Any, args: Sequence[Any], result: Any) -> str:
    """The name of an operation as the table of proven ones knows it: `aten::add`, or with its use,
    `aten::native_batch_norm in training`."""
    name = func._schema.name
    if name not in _USES:
        return str(name)
    use, applies = _USES[name]
    return f"{name} {use}" if applies(args, result) else str(name)


class Dispatched(TorchDispatchMode):
    """Notes the operations that reach the dispatcher, and what they write into."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()
        self.draws = False
        self._made: set[int] = set()
        self._written: list[tuple[str, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._note_writes(func, args, kwargs)
        self.draws |= torch.Tag.nondeterministic_seeded in func.tags
        result = func(*args, **kwargs)
        self.operations.add(operation(func, args, result))
        given = {_storage(t) for t in _tensors((args, kwargs))}
        self._made |= {_storage(t) for t in _tensors(result)} - given
        return result

    def _note_writes(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not func._schema.is_mutable:
            return
        for k, formal in enumerate(func._schema.arguments):
            value = args[k] if k < len(args) else kwargs.get(formal.name)
            if formal.alias_info is None or not formal.alias_info.is_write:
                continue
            name = func._schema.name.removeprefix("aten::")
            outside = [t for t in _tensors(value) if _storage(t) not in self._made]
            self._written += [(name, _storage(t)) for t in outside]

    def written(self, x: Tensor, args: Sequence[Tensor], modules: Sequence[Module]) -> str | None:
        """What was written into that f did not make: x, an arg, a tensor that is no buffer."""
        owners = {_storage(x): "x"} | {_storage(a): f"args[{k}]" for k, a in enumerate(args)}
        allowed = {_storage(b) for module in modules for b in module.buffers(recurse=False)}
        for name, storage in self._written:
            if storage not in allowed:
                return f"{owners.get(storage, 'a tensor from outside')} ({name})"
        return None


# By which a function starts a graph of its own.
_STARTS = {
    Tensor.detach: "detach",
    Tensor.requires_grad_: "requires_grad_",
    Tensor.requires_grad.__set__: "requires_grad",  # type: ignore[attr-defined]
    Tensor.data.__get__: ".data",  # type: ignore[attr-defined]
}


class Called(TorchFunctionMode):
    """Notes the functions that a tensor on the graph went into and left without one, and those by
    which f starts a graph of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts: set[str] = set()
        self.started: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _STARTS:
            self.started.add(_STARTS[func])
        if any(t.requires_grad for t in _tensors((args, kwargs))) and any(
            t.is_floating_point() and not t.requires_grad for t in _tensors(result)
        ):
            name = getattr(func, "__name__", str(func))
            self.cuts.add(".data" if name == "__get__" else name)
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)
