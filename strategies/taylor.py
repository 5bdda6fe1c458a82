"""Taylor mode for arbitrary functions: the recorded graph of f, read by the rules of `jets`.

`forward-laplacian` carries value, tangents and the sum of the second derivatives, `taylor2` a
second derivative for each direction. See `jets` for the sources.

NOTE [large blocks]
Tangents are n times as large as what they belong to. A block that does not fit the cache makes
every elementwise operation several times slower, and on CPU one that is fresh from the system
faults on every page: f is recorded for few rows, and the batch goes through in pieces.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, decomposition_table
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_map

from . import jet_binary, jet_elementwise, jet_layers, jet_linear, jet_matrices, jet_products
from .functions import Function, agree, first_line, moved
from .graphs import drop_dead_code, kind, mutates, name, note_kinds, record
from .jets import Jet, value_of
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, TorchLimit, Unsupported, strategy, summed
from .replaying import replayable
from .simplify import functional, merge_common
from .simplify_views import drop_views, reads_strides
from .tracing import gradients, held_by, remove_detach

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

# Products of matrices that take the tangents of x itself for granted.
_OF_UNITS = {"mm": 0, "addmm": 1}

# In bytes: the largest block of tangents that is not divided, and what it is divided to.
_LARGE, _PIECE = 32 * 2**20, 8 * 2**20


def _by_rules(graph: GraphModule) -> Callable[..., Any]:
    """The graph as a function of the jet of x, in which each operation is its rule."""
    moving = set(_moving(graph))
    copy = Graph()
    nodes: dict[Node, Node] = {}
    copy.output(copy.graph_copy(graph.graph, nodes))
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            if node in moving:
                nodes[node].target = _rule(node)
            elif any(source in moving for source in node.all_input_nodes):
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


def _moving(graph: GraphModule) -> list[Node]:
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


def _recorded(f: Function, inputs: Inputs) -> GraphModule:
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
    for _ in range(3):
        _shorten(graph)
        unknown = {node.target for node in _moving(graph) if not _known(node)}
        table = {op: there[op] for op in unknown if op in (there := _decompositions())}
        if not table:
            break
        with torch.no_grad():
            graph = record(graph, inputs, table)
    if unknown:
        ops = ", ".join(sorted({str(op).rpartition(".")[0] or str(op) for op in unknown}))
        raise Unsupported(f"no rule for {ops} in Taylor mode")
    return graph


def _shorten(graph: GraphModule) -> None:
    note_kinds(graph)
    if not reads_strides(graph.graph):
        drop_views(graph.graph)
    merge_common(graph)
    drop_dead_code(graph.graph)
    graph.recompile()


def _known(node: Node) -> bool:
    return node.op == "placeholder" or node.target is operator.getitem or name(node) in RULES


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    return {**decomposition_table, **core_aten_decompositions()}


def _only_in_products(graph: GraphModule) -> bool:
    """Whether x goes nowhere but, from the left, into products with matrices."""
    moving = set(_moving(graph))
    x = _input(graph)

    def product(node: Node) -> bool:
        at = _OF_UNITS.get(name(node))
        others = set(node.all_input_nodes) - {x}
        return at is not None and node.args[at] is x and not others & moving

    return all(product(user) for user in x.users)


def _jets_of(f: Function, inputs: Inputs, options: Options, collapsed: bool) -> Call:
    """`(x, *args)` to the jet of f there: value `[B, m]`, first `[n, B, m]`."""
    graph = _recorded(f, inputs)
    if any(mutates(node) for node in _moving(graph)):
        raise Unsupported("what depends on x is written into a tensor from outside of f")
    run, n, unit = _by_rules(graph), inputs[0].shape[1], _only_in_products(graph)

    def evaluate(x: Tensor, *args: Tensor) -> Jet:
        rows = x.new_zeros(()) if unit else torch.eye(n, dtype=x.dtype, device=x.device)[:, None]
        found = run(Jet(x, rows.expand(n, *x.shape), None, collapsed, unit=True), *args)
        if not isinstance(found, Jet):
            return Jet(found, found.new_zeros(n, *found.shape), None, collapsed)
        return found

    _check(f, evaluate, graph, inputs, options)
    return evaluate


def _check(
    f: Function, evaluate: Call, graph: GraphModule, inputs: Inputs, options: Options
) -> None:
    """Refuse where the recorded graph is not f at another point than the recorded one, or where
    autograd differentiates f otherwise than its operations say."""
    here = tuple(
        moved(t, 1e-2, seed).requires_grad_() if t.is_floating_point() else t
        for seed, t in enumerate(inputs)
    )
    with torch.enable_grad():
        y, replayed = f(here[0].clone(), *here[1:]), graph(*here)
        if not agree(y, replayed):
            raise Unsupported(
                "its trace does not hold at other values than the traced ones"
                " (a branch or a constant in it depends on the values of x)"
            )
        held = held_by(graph) if options.create_graph else []
        given = here if options.create_graph else here[:1]
        sources = [t for t in (*given, *held) if t.requires_grad]
        pairs = zip(gradients([y], sources), gradients([replayed], sources), strict=True)
    if not all(agree(a, b) for a, b in pairs):
        raise Unsupported(
            "autograd differentiates f otherwise than the operations of its trace (a Function with"
            " a backward of its own, or a tensor that f detaches)"
        )
    with torch.no_grad():
        jet = evaluate(*here)
    if not agree(jet.value, y):
        raise Unsupported("its rules do not give the value of f")


def _rows_at_once(f: Function, inputs: Inputs) -> int:
    """How many rows have blocks of tangents that fit the cache, see NOTE [large blocks]."""
    B, n = inputs[0].shape
    graph = _recorded(f, inputs)
    kinds = [known for node in _moving(graph) if (known := kind(node)) is not None]
    block = n * max((prod(k.shape) * k.dtype.itemsize for k in kinds), default=0)
    return B if block <= _LARGE else max(1, B * _PIECE // block)


def _taylor(
    f: Function, inputs: Inputs, options: Options, collapsed: bool
) -> Callable[..., Orders]:
    """`(x, *args) -> Orders`, whose second order is `[B, m, 1 or n]`."""
    B = len(inputs[0])
    rows = B if options.create_graph else _rows_at_once(f, inputs)
    pieces = -(-B // rows)
    sizes = [len(part) for part in torch.arange(B).tensor_split(pieces)]
    by_size = {
        size: _jets_of(f, tuple(t[:size] for t in inputs), options, collapsed)
        for size in set(sizes)
    }

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        if len(sizes) == 1:
            return _orders(by_size[B](x, *args), options)
        parts = zip(*(t.split(sizes) for t in (x, *args)), strict=True)
        found = [_orders(by_size[len(given[0])](*given), options) for given in parts]
        return Orders(*(torch.cat(order) for order in zip(*found, strict=True)))

    return evaluate


def _orders(jet: Jet, options: Options) -> Orders:
    """Directions last; the first order is the caller's own, and no view of a parameter."""
    first = jet.first.movedim(0, -1)
    first = first.clone() if options.values else first
    second = jet.second
    if second is None:
        second = jet.value.new_zeros(1 if jet.collapsed else len(jet.first), *jet.value.shape)
    return Orders(jet.value, first, second.movedim(0, -1))


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
def forward_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Collapsed Taylor mode: value, all tangents and the Laplacian in one forward pass."""
    jets = _taylor(f, inputs, options, collapsed=True)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        found = jets(x, *args)
        assert found.second is not None
        return found._replace(second=found.second.squeeze(-1))

    return evaluate


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
@summed
@strategy(Operator.HESSIAN_DIAGONAL, mode="taylor", sweep="one-pass", needs=["rows"])
def taylor2(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Taylor mode of order two: value, all tangents and a second derivative for each of them."""
    return _taylor(f, inputs, options, collapsed=False)
