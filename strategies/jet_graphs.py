"""The recorded graph of f as a function of jets: which operations move with x, each by its rule."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import core_aten_decompositions, decomposition_table
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_map

from . import jet_binary, jet_elementwise, jet_layers, jet_linear, jet_matrices, jet_products
from .functions import Function, first_line
from .graphs import drop_dead_code, kind, name, note_kinds, record
from .jets import Jet, value_of
from .registry import Inputs, TorchLimit, Unsupported
from .replaying import replayable
from .simplify import functional, merge_common
from .simplify_views import drop_views, reads_strides
from .tracing import remove_detach

Call = Callable[..., Jet]

RULES: dict[str, Callable[..., Any]] = {
    **jet_linear.RULES,
    **jet_products.RULES,
    **jet_elementwise.RULES,
    **jet_binary.RULES,
    **jet_layers.RULES,
    **jet_matrices.RULES,
}

# Whose results do not move with x where they are differentiable.
_STILL = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "sign", "sgn"),
    *("floor", "ceil", "round", "trunc", "heaviside", "bernoulli", "_linalg_check_errors"),
}

# How often what an operation is taken apart into is taken apart itself.
_DEEP = 3

# Products of matrices that take the tangents of x itself for granted.
_OF_UNITS = {"mm": 0, "addmm": 1}


def by_rules(graph: GraphModule) -> Callable[..., Any]:
    """The graph as a function of the jet of x, in which each operation is its rule."""
    moved = set(moving(graph))
    copy = Graph()
    nodes: dict[Node, Node] = {}
    copy.output(copy.graph_copy(graph.graph, nodes))
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            if node in moved:
                nodes[node].target = _rule(node)
            elif any(source in moved for source in node.all_input_nodes):
                nodes[node].target = _of_values(node)
    return replayable(GraphModule(graph, copy))


def _rule(node: Node) -> Callable[..., Any]:
    return _named(functools.partial(RULES[name(node)], node.target), node)


def _of_values(node: Node) -> Callable[..., Any]:
    op: Any = node.target
    return _named(lambda *args, **kwargs: op(*map_values(args), **map_values(kwargs)), node)


def map_values(tree: Any) -> Any:
    """The values of the jets among the arguments of an operation."""
    return tree_map(value_of, tree)


def _named(call: Callable[..., Any], node: Node) -> Callable[..., Any]:
    """A function that the code of a graph can name."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    run.__name__ = f"jet_of_{node.name}"
    return run


def moving(graph: GraphModule) -> list[Node]:
    """x and the operations whose results have a jet."""
    found = {_input(graph)}
    for node in graph.graph.nodes:
        if node.op == "call_function" and not _still(node) and found & set(node.all_input_nodes):
            found.add(node)
    return [node for node in graph.graph.nodes if node in found]


def _input(graph: GraphModule) -> Node:
    return next(node for node in graph.graph.nodes if node.op == "placeholder")


def _still(node: Node) -> bool:
    known = kind(node)
    return name(node) in _STILL or (known is not None and not known.dtype.is_floating_point)


def recorded(f: Function, inputs: Inputs) -> GraphModule:
    """The operations of f, taken apart where they have no rule; refuses those that remain."""
    x, *args = (t.detach() for t in inputs)
    # With a graph behind x f takes the way on which it is differentiated otherwise.
    with torch.enable_grad():
        try:
            graph = record(f, (x.clone().requires_grad_(), *args))
        except Exception as error:  # the tracer raises whatever an operation under it raises
            raise TorchLimit(f"torch cannot: record f: {first_line(error)}") from error
    remove_detach(graph)
    graph = functional(graph, inputs)
    unknown = _unknown(graph)
    for _ in range(_DEEP):
        table = {op: there[op] for op in unknown if op in (there := _decompositions())}
        if not table:
            break
        with torch.no_grad():
            graph = record(graph, inputs, table)
        unknown = _unknown(graph)
    if unknown:
        ops = ", ".join(sorted({str(op).rpartition(".")[0] or str(op) for op in unknown}))
        raise Unsupported(f"no rule for {ops} in Taylor mode")
    return graph


def _unknown(graph: GraphModule) -> set[Any]:
    """The operations without a rule on which x has an influence, the graph shortened before."""
    note_kinds(graph)
    if not reads_strides(graph.graph):
        drop_views(graph.graph)
    merge_common(graph)
    drop_dead_code(graph.graph)
    graph.recompile()
    return {node.target for node in moving(graph) if not _known(node)}


def _known(node: Node) -> bool:
    return node.op == "placeholder" or node.target is operator.getitem or name(node) in RULES


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    return {**decomposition_table, **core_aten_decompositions()}


def only_in_products(graph: GraphModule) -> bool:
    """Whether x goes nowhere but, from the left, into products with matrices."""
    moved = set(moving(graph))
    x = _input(graph)

    def product(node: Node) -> bool:
        at = _OF_UNITS.get(name(node))
        once = at is not None and [k for k, arg in enumerate(node.args) if arg is x] == [at]
        return once and not (set(node.all_input_nodes) - {x}) & moved

    return all(product(user) for user in x.users)
