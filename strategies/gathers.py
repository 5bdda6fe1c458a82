"""Where f gathers from x: what it takes before it computes anything, and the rest of its graph.

The first operations of many functions only move data: they take from x the cameras and points of
each observation, or a grid shifted by one. The rest is a function of what was gathered, in which an
element that several outputs use may stand once for each of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from .functions import Function
from .graphs import drop_dead_code, name
from .operators import Shape
from .pattern import sets_of, source_of, structure_of, walked
from .pattern_rules import Hidden, moves_data
from .pattern_sets import Sets, units
from .registry import Unsupported
from .replaying import replayable

# Gathered elements: beyond, they are no longer a part of what f computes with.
_MOST = 2**24


@dataclass(frozen=True)
class Gathered:
    """f as a function of what it gathers, `rest(z, *args)` with `z: [B, N]`.

    at: `[N]`, of which input each element is a copy, -1 where it is a constant. constants: `[N]`.
    entries: `[m, N]`, the pattern of the rest. held: tensors of integers that were read.
    """

    rest: Function
    at: Tensor
    constants: Tensor
    entries: Any
    held: tuple[Tensor, ...]


def taking(cut: Gathered) -> Callable[[Tensor], Tensor]:
    """`[B, n]` to `[B, N]`."""
    fixed, at, constants = cut.at < 0, cut.at.clamp_min(0), cut.constants
    if not bool(fixed.any()):
        return lambda x: x.index_select(1, at)
    return lambda x: torch.where(fixed, constants, x.index_select(1, at))


def gathered(graph: GraphModule, x: Tensor) -> Gathered:
    """Cut the graph of one row behind its gathers; `Unsupported` where no input is taken twice."""
    source, n = source_of(graph), x.shape[1]
    known = sets_of(graph, {source: units((1, n))})
    leaves = _leaves(graph, source, known)
    at = np.concatenate([_sources(known[leaf]) for leaf in leaves])
    taken = at[at >= 0]
    if len(np.unique(taken)) == len(taken) or len(at) > _MOST:
        raise Unsupported(
            "f gathers no input twice before it computes, so that nothing is taken apart; coloured"
            " is for any sparse Jacobian"
        )
    start, sources = 0, {source: Sets.empty((1, n), len(at))}
    for leaf in leaves:
        size = prod(known[leaf].shape)
        own = units((len(at),)).rows[start : start + size]
        sources[leaf] = Sets(known[leaf].shape, own)
        start += size
    (found,) = walked(graph, sources, len(at))
    before = _before(graph, leaves)(torch.zeros_like(x[:1]))
    constants = torch.cat([part.flatten() for part in before])
    rest = _flat(_behind(graph, leaves), [known[leaf].shape for leaf in leaves])
    places = torch.from_numpy(at).to(x.device)
    return Gathered(rest, places, constants, found.rows, structure_of(graph))


def _sources(sets: Sets) -> np.ndarray:
    """Of each element the one input that it is, or -1."""
    counts = np.diff(sets.rows.indptr)
    found = np.full(len(counts), -1, dtype=np.int64)
    found[counts == 1] = sets.rows.indices
    return found


def _leaves(graph: GraphModule, source: Node, known: dict[Node, Any]) -> list[Node]:
    """What is gathered and goes into an operation that computes."""
    moved = {source}
    for node in graph.graph.nodes:
        if node.op == "call_function" and _gathers(node, moved, known):
            moved.add(node)
    return [
        node
        for node in graph.graph.nodes
        if node in moved and any(user not in moved for user in node.users)
    ]


def _gathers(node: Node, moved: set[Node], known: dict[Node, Any]) -> bool:
    sources = node.all_input_nodes
    if not any(s in moved for s in sources) or any(_hides(known[s]) for s in sources):
        return False
    if any(isinstance(known[s], Sets) and s not in moved for s in sources):
        return False
    if node.target is operator.getitem:
        return True
    if not moves_data(name(node)):
        return False
    results = known[node] if isinstance(known[node], list) else [known[node]]
    return all(isinstance(r, Sets) and np.diff(r.rows.indptr).max(initial=0) <= 1 for r in results)


def _hides(found: Any) -> bool:
    return isinstance(found, Hidden)


def _before(graph: GraphModule, leaves: list[Node]) -> Callable[..., tuple[Tensor, ...]]:
    """`x: [1, n]` to the leaves."""
    copy, nodes, needed = Graph(), dict[Node, Node](), _sources_of(leaves)
    for node in graph.graph.nodes:
        if node.op == "placeholder" or node in needed:
            nodes[node] = copy.node_copy(node, nodes.__getitem__)
    copy.output(tuple(nodes[leaf] for leaf in leaves))
    run = replayable(GraphModule(graph, copy))
    others = sum(node.op == "placeholder" for node in copy.nodes) - 1
    return lambda x: run(x, *[None] * others)


def _sources_of(nodes: list[Node]) -> set[Node]:
    """The nodes and all that they are computed from."""
    ahead, seen = list(nodes), set[Node]()
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += node.all_input_nodes
    return seen


def _behind(graph: GraphModule, leaves: list[Node]) -> Callable[..., Tensor]:
    """`(*leaves, *args)` to f of one row."""
    copy, source = Graph(), source_of(graph)
    nodes = {leaf: copy.placeholder(f"gathered_{k}") for k, leaf in enumerate(leaves)}
    for node in graph.graph.nodes:
        if node.op == "output":
            copy.output(map_arg(node.args[0], nodes.__getitem__))
        # Not what leads from x to the leaves.
        elif node not in nodes and node is not source and set(node.all_input_nodes) <= nodes.keys():
            nodes[node] = copy.node_copy(node, nodes.__getitem__)
    drop_dead_code(copy)
    return replayable(GraphModule(graph, copy))


def _flat(behind: Callable[..., Tensor], shapes: list[Shape]) -> Function:
    """`(z: [B, N], *args) -> [B, m]`."""
    sizes = [prod(shape) for shape in shapes]

    def rest(z: Tensor, *args: Tensor) -> Tensor:
        parts = z.split(sizes, 1)
        if len(z) == 1:
            leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            return behind(*leaves, *args)
        rows = [part.reshape(len(z), *shape) for part, shape in zip(parts, shapes, strict=True)]
        return vmap(behind)(*rows, *(a[:, None] for a in args))[:, 0]

    return rest
