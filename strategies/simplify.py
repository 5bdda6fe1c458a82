"""Simplifies a recorded graph: less to compute and less to launch, the same result.

What simplification takes for granted: the shapes, dtypes and devices of the recording, which the
plan's guard checks at each call, and that nothing in the graph is written, which functionalization
sees to. What it does not: values. Whether it was right is tried afterwards, at other values than
the recorded ones (`tracing.check_replay`).

Sources: pytorch#69687 (zero tangents); the passes themselves are the classical ones (common
subexpressions, constants, dead code), here over the operations of aten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from .graphs import (
    call,
    drop_dead_code,
    kind,
    mutates,
    name,
    note_kinds,
    pure,
    record,
    replace,
)
from .simplify_loops import batch_loops
from .simplify_views import absorb_expands, drop_views, reads_strides
from .simplify_zeros import fold_zeros

aten = torch.ops.aten

# What a factory fills with where it says so by its name, and the position where it says a number.
_FILLS: dict[str, int] = {"zeros_like": 0, "new_zeros": 0, "ones_like": 1, "new_ones": 1}
_FILLS_WITH = {"full_like": 1, "new_full": 2}
_FACTORIES = {"full", "zeros", "ones", "eye", "arange", "scalar_tensor", "linspace"}
# A constant lives as long as its plan: larger ones are made at each call, as without a trace.
_LARGEST_CONSTANT = 2**24
# How the constants that were folded are named in the graph, unlike the tensors that f reads.
FOLDED = "_folded"


def simplify(graph: GraphModule, inputs: tuple[Tensor, ...]) -> GraphModule:
    """The graph without what does not contribute to its results.

    A graph that still writes somewhere once functionalized (into a buffer of f) stays as it is.
    """
    graph = functional(graph, inputs)
    if any(mutates(node) for node in graph.graph.nodes):
        return graph
    note_kinds(graph)
    if not reads_strides(graph.graph):
        _shorten(graph)
    fold_constants(graph)
    merge_common(graph)
    own_results(graph.graph)
    drop_dead_code(graph.graph)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _shorten(graph: GraphModule) -> None:
    fold_zeros(graph.graph)
    # The second round sees what the first one brought together.
    for _ in range(2):
        drop_views(graph.graph)
        merge_common(graph)
        batch_loops(graph.graph)
    absorb_expands(graph.graph)


def functional(graph: GraphModule, inputs: tuple[Tensor, ...]) -> GraphModule:
    """The graph without writes into its own tensors: recorded again, where it holds any.

    Recorded a second time because `functionalize` around the evaluation would not let it call
    `autograd.grad` on a leaf of its own.
    """
    if not any(mutates(node) for node in graph.graph.nodes):
        return graph
    with torch.no_grad():
        return record(functionalize(lambda *given: graph(*given)), inputs)


def merge_common(graph: GraphModule) -> None:
    """Compute once what is computed twice, tensors from outside included. Not what draws."""
    seen: dict[Any, Node] = {}
    for node in list(graph.graph.nodes):
        if not pure(node) or name(node).startswith("empty"):
            continue
        key = _key(graph, node)
        try:
            first = seen.setdefault(key, node)
        except TypeError:  # an argument that cannot be compared
            continue
        if first is not node:
            replace(node, first)


def _key(graph: GraphModule, node: Node) -> Any:
    if node.op == "get_attr":
        return id(getattr(graph, str(node.target)))
    return node.target, _hashable(node.args), _hashable(node.kwargs)


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((k, _hashable(v)) for k, v in sorted(value.items()))
    # 1, 1.0 and True are equal, and not the same argument.
    return type(value), value


def fold_constants(graph: GraphModule) -> None:
    """Compute once, now, what fresh factories alone lead to.

    Tensors that the graph reads from outside are no constants: f may read them, and a plan follows
    their updates in place.
    """
    for node in list(graph.graph.nodes):
        _independent(node)
    known: dict[Node, Tensor] = {}
    with torch.no_grad():
        for node in graph.graph.nodes:
            if _is_constant(node, known):
                found = node.target(*map_arg(node.args, known.get), **node.kwargs)
                if found.untyped_storage().nbytes() <= _LARGEST_CONSTANT:
                    known[node] = found
    for k, (node, value) in enumerate(known.items()):
        if any(user not in known for user in node.users):
            _put(graph, node, f"{FOLDED}{k}", value)


def _independent(node: Node) -> None:
    """Write a factory that takes only its kind from a tensor without that tensor."""
    to, fill = kind(node), _FILLS.get(name(node))
    at = _FILLS_WITH.get(name(node))
    if at is not None and at < len(node.args) and isinstance(node.args[at], int | float):
        fill = node.args[at]  # type: ignore[assignment]
    if to is None or fill is None:
        return
    how = {"dtype": to.dtype, "device": to.device}
    made = call(node.graph, node, aten.full.default, list(to.shape), fill, to=to, **how)
    replace(node, made)


def _is_constant(node: Node, known: dict[Node, Tensor]) -> bool:
    if node.op != "call_function" or not pure(node) or kind(node) is None:
        return False
    sources = node.all_input_nodes
    return all(s in known for s in sources) and (bool(sources) or name(node) in _FACTORIES)


def _put(graph: GraphModule, node: Node, where: str, value: Tensor) -> None:
    graph.register_buffer(where, value, persistent=False)
    with graph.graph.inserting_before(node):
        constant = graph.graph.get_attr(where)
    constant.meta["kind"] = kind(node)
    replace(node, constant)


def own_results(graph: Graph) -> None:
    """Clone a result that is an input, a tensor from outside or another result, or a view of one:
    the caller may write into what it gets."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    taken: set[Node] = set()

    def own(result: Node) -> Node:
        base, to = _base(result), kind(result)
        if to is not None and (base.op in ("placeholder", "get_attr") or result in taken):
            return call(graph, output, aten.clone.default, result, to=to)
        taken.add(result)
        return result

    output.args = map_arg(output.args, own)


_VIEWS = {
    *("expand", "reshape", "view", "t", "transpose", "permute", "select", "slice", "diagonal"),
    *("unsqueeze", "squeeze", "alias", "detach", "unfold", "as_strided", "_unsafe_view"),
    *("real", "imag", "movedim", "lift_fresh"),
}


def _base(node: Node) -> Node:
    while name(node) in _VIEWS and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
