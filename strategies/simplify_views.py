"""Aliases and views that change nothing: vmap and the dispatcher write them for every operation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.fx import Graph, Node

from .graphs import as_kind_of, call, kind, name, replace

aten = torch.ops.aten

_ALIASES = {"alias", "detach", "lift", "lift_fresh", "lift_fresh_copy"}
_COPIES = {"clone", "_to_copy"}
# All keep the elements in row-major order, so that the last shape of a chain is all that counts.
_RESHAPES = {"view", "_unsafe_view", "reshape", "unsqueeze", "squeeze"}
_PERMUTATIONS = {"t", "transpose", "permute"}
# With one of these in the graph no node may stand for another one of other strides.
_READS_STRIDES = {"as_strided", "as_strided_scatter", "view_as_complex", "_reshape_alias"}

# Known to broadcast: torch's tag for elementwise operations is also on some that do not
# (`gelu_backward` where oneDNN computes it).
BROADCAST = {
    *("add", "sub", "mul", "div", "pow", "where", "maximum", "minimum", "addcmul", "addcdiv"),
    *("eq", "ne", "lt", "le", "gt", "ge", "tanh_backward", "sigmoid_backward"),
}


def drop_views(graph: Graph) -> None:
    """Drop aliases, copies and views that change nothing; make one of a chain of views.

    Copies may go because nothing is written in this graph and results are cloned where they would
    be an input (`own_results`). `view` becomes `reshape`: it may meet other strides than the
    recorded ones, where a sum with zeros was dropped.
    """
    for node in list(graph.nodes):
        if kind(node) is not None and (found := _simpler(node)) is not None:
            replace(node, found)


def reads_strides(graph: Graph) -> bool:
    """Whether an operation's result depends on the strides of what it is given."""
    return any(name(n) in _READS_STRIDES or n.target is aten.view.dtype for n in graph.nodes)


def _simpler(node: Node) -> Node | None:
    if node.target is operator.getitem:
        return _only_part(node)
    for names, rule in _RULES.items():
        if name(node) in names:
            return rule(node)
    return None


def _source(node: Node) -> Node:
    return cast(Node, node.args[0])


def _alias(node: Node) -> Node | None:
    return _source(node)


def _copy(node: Node) -> Node | None:
    """A copy in the layout that the source has; one in another layout is made for what follows."""
    known, found = kind(node), kind(_source(node))
    assert known is not None
    preserved = node.kwargs.get("memory_format") in (None, torch.preserve_format)
    if found == known and known.stride is not None:
        return _source(node)
    same = found is not None and found[:3] == known[:3]
    return _source(node) if same and preserved else None


def _overwritten(node: Node) -> Node | None:
    """`copy(a, b)`, what `a.copy_(b)` becomes without writes: b in the kind of a."""
    return as_kind_of(node, cast(Node, node.args[1]))


def _once(node: Node) -> Node | None:
    factor, known, found = node.args[1], kind(node), kind(_source(node))
    same = known is not None and found is not None and found[:3] == known[:3]
    return _source(node) if same and not isinstance(factor, Node) and factor == 1 else None


def _only_part(node: Node) -> Node | None:
    """The one part of a tensor that was split into one."""
    split = _source(node)
    if name(split) not in ("split", "split_with_sizes", "split_with_sizes_copy", "chunk"):
        return None
    whole, to = kind(split.args[0]), kind(node)
    assert to is not None
    return cast(Node, split.args[0]) if whole is not None and whole.shape == to.shape else None


def _reshape(node: Node) -> Node | None:
    to, base = kind(node), _source(node)
    assert to is not None
    while name(base) in _RESHAPES and kind(base) is not None:
        base = _source(base)
    found = kind(base)
    if found is None:
        return None
    if found.shape == to.shape:
        return base
    # A squeeze alone is always a view, whatever the strides; two views are one reshape.
    if base is _source(node) and name(node) in ("unsqueeze", "squeeze", "reshape"):
        return None
    return call(node.graph, node, aten.reshape.default, base, list(to.shape), to=to)


def _expand(node: Node) -> Node | None:
    to, base = kind(node), _source(node)
    assert to is not None
    found = kind(base)
    if found is not None and found.shape == to.shape:
        return base
    if name(base) == "expand":
        return call(node.graph, node, aten.expand.default, base.args[0], list(to.shape), to=to)
    return None


def _slice(node: Node) -> Node | None:
    found, to = kind(_source(node)), kind(node)
    assert to is not None
    return _source(node) if found is not None and found.shape == to.shape else None


def _permute(node: Node) -> Node | None:
    to, base = kind(node), _source(node)
    if to is None or name(base) not in _PERMUTATIONS:
        return base if _permutation(node) == sorted(_permutation(node)) else None
    inner = _permutation(base)
    order = [inner[dim] for dim in _permutation(node)]
    if order == sorted(order):
        return _source(base)
    return call(node.graph, node, aten.permute.default, _source(base), order, to=to)


def _permutation(node: Node) -> list[int]:
    """Which dimension of the source each dimension of the result is."""
    to = kind(node)
    assert to is not None
    order = list(range(len(to.shape)))
    if name(node) == "permute":
        return [dim % len(order) for dim in cast(list[int], node.args[1])]
    if name(node) == "t":
        return order[::-1]
    a, b = cast(tuple[int, int], node.args[1:3])
    if order:
        order[a], order[b] = order[b], order[a]
    return order


_RULES: dict[frozenset[str], Callable[[Node], Node | None]] = {
    frozenset(_ALIASES): _alias,
    frozenset(_COPIES): _copy,
    frozenset(_RESHAPES): _reshape,
    frozenset(_PERMUTATIONS): _permute,
    frozenset({"expand"}): _expand,
    frozenset({"slice"}): _slice,
    frozenset({"copy"}): _overwritten,
    frozenset({"mul", "div"}): _once,
}


def absorb_expands(graph: Graph) -> None:
    """Drop an `expand` before an elementwise operation that broadcasts by itself."""
    for node in graph.nodes:
        if name(node) not in BROADCAST or kind(node) is None:
            continue
        for k, arg in enumerate(node.args):
            if isinstance(arg, Node) and name(arg) == "expand" and _broadcasts(node, k, arg):
                node.update_arg(k, arg.args[0])


def _broadcasts(node: Node, at: int, expand: Node) -> bool:
    """Whether the operation gives the same with the expanded tensor's source in its place.

    All of one dtype: a tensor without dimensions has less say in the result's.
    """
    given: list[Any] = [arg for arg in node.all_input_nodes if kind(arg) is not None]
    source, to = kind(expand.args[0]), kind(node)
    if source is None or to is None or len({g.meta["kind"].dtype for g in given}) != 1:
        return False
    shapes = [kind(a) for k, a in enumerate(node.args) if k != at and isinstance(a, Node)]
    if any(found is None for found in shapes) or len(shapes) + 1 != len(given):
        return False
    others = [found.shape for found in shapes if found is not None]
    return tuple(torch.broadcast_shapes(source.shape, *others)) == to.shape
