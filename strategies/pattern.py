"""Which outputs of a row depend on which inputs: the sparsity pattern, read off the graph of f.

Index sets go through the recorded graph of one row: every element of every tensor carries the set
of inputs that it may depend on, by the rules of `pattern_rules`. What is found holds at any point
and for any parameters, since their values are never looked at: a pattern may hold too much, never
too little. Only tensors of integers or booleans that f holds are read: they are indices and masks,
and say where things are. Rows are independent, so that the pattern of one is that of all.

Source: A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed. (2008), §7.1 (index domains).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from .functions import Function
from .graphs import constants, mutates, name, pure
from .pattern_rules import Hidden, Step, depending
from .pattern_sets import Sets, units
from .registry import Inputs, Unsupported
from .simplify import functional
from .tracing import trace


@dataclass(frozen=True)
class Pattern:
    """Where the Jacobian of a row may differ from zero.

    entries: booleans `[m, n]`. held: the tensors of integers that were read to tell it.
    """

    entries: csr_array
    held: tuple[Tensor, ...]


def pattern_of(f: Function, inputs: Inputs) -> Pattern:
    """The pattern of `f: [B, n] -> [B, m]`; raises `Unsupported` where f cannot be recorded."""
    graph, n = graph_of_row(f, inputs), inputs[0].shape[1]
    (found,) = walked(graph, {source_of(graph): units((1, n))}, n)
    return Pattern(found.rows, structure_of(graph))


def graph_of_row(f: Function, inputs: Inputs) -> GraphModule:
    """The operations of f for one row, without writes."""
    x, *args = (t.detach()[:1] for t in inputs)
    # With a graph behind x f takes the way on which it is differentiated otherwise.
    with torch.enable_grad():
        graph = trace(f, (x.clone().requires_grad_(), *args))
    graph = functional(graph, (x, *args))
    if any(mutates(node) for node in graph.graph.nodes):
        raise Unsupported("what depends on x is written into a tensor from outside of f")
    return graph


def source_of(graph: GraphModule) -> Node:
    """The node of x."""
    return next(node for node in graph.graph.nodes if node.op == "placeholder")


def structure_of(graph: GraphModule) -> tuple[Tensor, ...]:
    """The tensors from outside whose values are structure: indices and masks."""
    return tuple(tensor for _, tensor in constants(graph) if not _is_number(tensor.dtype))


def walked(graph: GraphModule, sources: dict[Node, Sets], n: int) -> list[Sets]:
    """The sets of the graph's results, out of n elements, given those of some of its nodes."""
    known = sets_of(graph, sources)
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    return [_or_empty(known[result], n) for result in output.all_input_nodes]


def sets_of(graph: GraphModule, sources: dict[Node, Sets]) -> dict[Node, Any]:
    """Of every node's result the sets, or what else is known of it."""
    known: dict[Node, Any] = {}
    for node in graph.graph.nodes:
        if node.op != "output":
            known[node] = sources[node] if node in sources else _result(graph, node, known)
    return known


def _or_empty(found: Any, n: int) -> Sets:
    return found if isinstance(found, Sets) else Sets.empty(found.shape, n)


def _result(graph: GraphModule, node: Node, known: dict[Node, Any]) -> Any:
    """Sets, or what is known of a result on which x has no influence."""
    if node.op == "get_attr":
        held = getattr(graph, str(node.target))
        structural = isinstance(held, Tensor) and not _is_number(held.dtype)
        return held.cpu() if structural else _hidden(node)
    if node.op != "call_function":
        return _hidden(node)
    args: Any = map_arg(node.args, known.__getitem__)
    kwargs: Any = map_arg(node.kwargs, known.__getitem__)
    if node.target is operator.getitem:
        return args[0][args[1]]
    leaves = tree_leaves((args, kwargs))
    if any(isinstance(leaf, Sets) for leaf in leaves):
        step = Step(node.target, name(node), args, kwargs, tuple(_shapes(node)))
        return _by_kind(node, depending(step))
    if not any(isinstance(leaf, Hidden) for leaf in leaves) and _tells_places(node):
        found: Any = node.target
        return found(*args, **{**kwargs, **({"device": "cpu"} if "device" in kwargs else {})})
    return _hidden(node)


def _tells_places(node: Node) -> bool:
    """Whether a result is indices or masks, and the same at each call."""
    seen = node.meta.get("val")
    return isinstance(seen, Tensor) and not _is_number(seen.dtype) and pure(node)


def _is_number(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _by_kind(node: Node, found: tuple[Any, ...]) -> Any:
    """One result, or several; those of integers have no derivative, and values that x moves."""
    several = not isinstance(node.meta["val"], Tensor)
    seen = list(node.meta["val"]) if several else [node.meta["val"]]
    kept = [
        sets if isinstance(val, Tensor) and _is_number(val.dtype) else _hidden_as(val)
        for val, sets in zip(seen, found, strict=True)
    ]
    return kept if several else kept[0]


def _shapes(node: Node) -> Iterator[tuple[int, ...]]:
    seen = node.meta.get("val")
    if seen is None:
        raise Unsupported(f"no pattern through {node.target}, whose result is not known")
    for val in [seen] if isinstance(seen, Tensor) else seen:
        yield tuple(val.shape) if isinstance(val, Tensor) else ()


def _hidden(node: Node) -> Any:
    seen = node.meta.get("val")
    return [_hidden_as(v) for v in seen] if isinstance(seen, list | tuple) else _hidden_as(seen)


def _hidden_as(val: Any) -> Any:
    return Hidden(tuple(val.shape), val.dtype) if isinstance(val, Tensor) else None
