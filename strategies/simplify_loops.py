"""Loops over directions that legacy vmap wrote out: one elementwise operation for all of them.

`is_grads_batched` has no batching rule for many backward formulas, so that it applies them to one
direction after the other and stacks what comes out. In the graph that is
`stack([g(select(x, 0, k), y) for k in range(K)])`, which for an elementwise g is `g(x, y)`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.fx import Graph, Node

from .graphs import call, kind, name, replace
from .simplify_views import BROADCAST

_ELEMENTWISE = BROADCAST | {
    "softplus_backward",
    "silu_backward",
    "neg",
    "tanh",
    "sin",
    "cos",
    "exp",
}


def batch_loops(graph: Graph) -> None:
    """Replace each stack of one elementwise operation over all slices by the operation itself."""
    for node in list(graph.nodes):
        if name(node) == "stack" and (found := _batched(node)) is not None:
            replace(node, found)


def _batched(stack: Node) -> Node | None:
    parts, to = cast(list[Any], stack.args[0]), kind(stack)
    dim = stack.args[1] if len(stack.args) > 1 else 0
    if to is None or dim != 0 or not all(isinstance(part, Node) for part in parts):
        return None
    first = parts[0]
    whole = _sliced(first, 0)
    if name(first) not in _ELEMENTWISE or whole is None or not _one_dtype(first):
        return None
    found = kind(whole)
    if found is None or found.shape != to.shape or found.dtype != to.dtype:
        return None
    rest = first.args[1:]
    if not all(_is_next(part, first, whole, k) for k, part in enumerate(parts)):
        return None
    # The others are of a slice's shape or broadcast to it: one dimension fewer than the whole.
    if any((kind(a) or to).shape != to.shape[1:] for a in rest if isinstance(a, Node)):
        return None
    return call(stack.graph, stack, first.target, whole, *rest, to=to, **first.kwargs)


def _sliced(part: Node, k: int) -> Node | None:
    """The tensor of which the operation's first argument is slice k, or None."""
    source = part.args[0] if part.args else None
    if not isinstance(source, Node) or source.target is not torch.ops.aten.select.int:
        return None
    return cast(Node, source.args[0]) if tuple(source.args[1:]) == (0, k) else None


def _is_next(part: Node, first: Node, whole: Node, k: int) -> bool:
    same = part.target is first.target and part.args[1:] == first.args[1:]
    return same and part.kwargs == first.kwargs and _sliced(part, k) is whole


def _one_dtype(node: Node) -> bool:
    # Without dimensions, a tensor has less say in the result's dtype than with them.
    return len({found.dtype for a in node.all_input_nodes if (found := kind(a))}) == 1
