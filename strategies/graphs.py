"""What recording a graph and the passes over it share: kinds of tensors, purity, replacing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from functorch import make_fx
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import Graph, GraphModule, Node


def record(
    f: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    decompositions: Mapping[Any, Callable[..., Any]] | None = None,
) -> GraphModule:
    """The operations of aten that one call of f runs, those with a decomposition taken apart.

    The tracer notes shape and stride of every result as a fake tensor. Without a context it makes a
    mode for each, and a mode formats the whole stack where it is made: half the time of a trace.
    """
    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
        return make_fx(f, decomposition_table=decompositions)(*inputs)


class Kind(NamedTuple):
    """What the tracer saw of a tensor. It holds at every replay, since shapes are fixed.

    stride: None where a pass made the node.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    stride: tuple[int, ...] | None


def note_kinds(graph: GraphModule) -> None:
    """Write into `node.meta["kind"]` what is known of each node's result; None if no tensor."""
    for node in graph.graph.nodes:
        seen = node.meta.get("val")
        if node.op == "get_attr":
            seen = getattr(graph, node.target, None)
        node.meta["kind"] = _kind_of(seen) if isinstance(seen, Tensor) else None


def _kind_of(tensor: Tensor) -> Kind | None:
    if tensor.layout != torch.strided:
        return None
    return Kind(tuple(tensor.shape), tensor.dtype, tensor.device, tuple(tensor.stride()))


def kind(node: Any) -> Kind | None:
    """The kind of a node's result, None where it is no strided tensor."""
    return node.meta.get("kind") if isinstance(node, Node) else None


def name(node: Node) -> str:
    """`mul` of `aten::mul.Tensor`; empty for what is not an operation of aten."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::") if schema is not None else ""


def mutates(node: Node) -> bool:
    """Whether the node writes into one of its arguments."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def pure(node: Node) -> bool:
    """Whether the node does nothing but give its result, the same at each call."""
    if node.op == "get_attr":
        return True
    if node.op != "call_function":
        return False
    if not isinstance(node.target, torch._ops.OpOverload):
        return getattr(node.target, "__name__", "") == "getitem"
    seeded = torch.Tag.nondeterministic_seeded in node.target.tags
    asserts = node.target._schema.name.startswith(("aten::_assert", "aten::sym_constrain"))
    return not (mutates(node) or seeded or asserts)


def call(graph: Graph, before: Node, target: Any, *args: Any, to: Kind, **kwargs: Any) -> Node:
    """A new node before another one, with the kind that its result will have."""
    with graph.inserting_before(before):
        made = graph.call_function(target, args, kwargs)
    made.meta["kind"] = to._replace(stride=None)
    return made


def replace(node: Node, by: Node) -> None:
    """Let another node's result stand for this one's, and drop this one."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def as_kind_of(node: Node, stands: Node) -> Node | None:
    """What stands for a node, brought to its dtype and shape: `x + 0` is x only in the sum's own,
    and both may be the zero's doing. None on another device."""
    to, found = kind(node), kind(stands)
    if to is None or found is None or to.device != found.device:
        return None
    if found.dtype != to.dtype:
        there = Kind(found.shape, to.dtype, to.device, None)
        stands = call(
            node.graph, node, torch.ops.aten._to_copy.default, stands, to=there, dtype=to.dtype
        )
    if found.shape != to.shape:
        stands = call(
            node.graph, node, torch.ops.aten.expand.default, stands, list(to.shape), to=to
        )
    return stands


def drop_dead_code(graph: Graph) -> None:
    """Erase what nothing reads. torch's own pass keeps size checks, which all hold here: the
    shapes are those of the recording, or the guard refuses the call."""
    for node in reversed(graph.nodes):
        if pure(node) and not node.users:
            graph.erase_node(node)


def constants(graph: GraphModule) -> Iterator[tuple[Node, Tensor]]:
    """The nodes that read a tensor from outside the inputs: parameters, closures, bases."""
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            found = getattr(graph, node.target, None)
            if isinstance(found, Tensor):
                yield node, found
