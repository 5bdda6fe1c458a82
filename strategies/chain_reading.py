"""Recognises a chain of affine and elementwise layers in the recorded graph of f.

What is looked at are operations, not modules: a product with a matrix, a sum with or a product by
something that does not depend on x, an elementwise operation of the table. All that does not depend
on x (weights, biases, what is made of args) is a graph of its own, run at each call: a plan follows
updates in place, and gradients reach parameters and args.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch.fx import Graph, GraphModule, Node

from .chain_steps import READERS, Beside, Rest, Steps, breaks, broken, called
from .chains import Affine, Chain, Step, value_of
from .functions import Function
from .graphs import drop_dead_code, kind, mutates, name
from .registry import Inputs, Options
from .replaying import replayable
from .simplify import simplify
from .tracing import check_replay, held_by, trace


def chain_of(f: Function, inputs: Inputs, options: Options) -> Chain:
    """f as a chain; `Unsupported` names the operation that breaks it.

    f: flat, `[B, n] -> [B, m]`. The chain is compared with f at another point than `inputs`.
    """
    graph = simplify(trace(f, inputs), inputs)
    steps, needed = _read(graph.graph, len(inputs[0]))
    constants = _without_x(graph, needed)
    chain = Chain(steps, replayable(constants))
    options = replace(options, values=False)
    evaluate = lambda x, *args: value_of(chain, x, args)  # noqa: E731
    check_replay(f, evaluate, held_by(constants), inputs, options)
    return chain


def _read(graph: Graph, B: int) -> tuple[tuple[Step, ...], list[Node]]:
    """The steps from x to the result, and the nodes that they read beside."""
    x, *_ = (node for node in graph.nodes if node.op == "placeholder")
    (output,) = (node for node in graph.nodes if node.op == "output")
    if any(mutates(node) for node in graph.nodes):
        raise broken("it writes into a tensor from outside")
    steps: list[Step | Beside] = []
    rest, node = Rest(B), x
    while output not in node.users:
        if len(node.users) != 1:
            raise broken(f"`{called(node)}` is used {len(node.users)} times")
        (after,) = node.users
        steps += _taken(after, node, rest)
        node = after
    return tuple(_with_neighbours(steps)), rest.needed


def _with_neighbours(steps: Sequence[Step | Beside]) -> Iterator[Step]:
    """The steps, each `Beside` taken up by the product that follows it."""
    waiting: Beside | None = None
    for step in [*steps, None]:
        if waiting is not None and not isinstance(step, Affine):
            raise broken("`cat` breaks it")
        if isinstance(step, Beside):
            waiting = step
        elif step is not None:
            yield step if waiting is None else replace(step, **vars(waiting))
            waiting = None


def _taken(node: Node, h: Node, rest: Rest) -> Steps:
    """What one operation on h adds to the chain."""
    reader = READERS.get(name(node))
    to, of = kind(node), kind(h)
    if reader is None or to is None or of is None or to.dtype != of.dtype:
        raise breaks(node)
    if not to.shape or to.shape[0] != rest.B:
        raise breaks(node)
    return reader(node, h, rest)


def _without_x(graph: GraphModule, needed: list[Node]) -> GraphModule:
    """The part of a graph that gives these nodes, which do not depend on its first input."""
    part, copies = Graph(), dict[Node, Node]()
    x, *_ = graph.graph.nodes
    part.node_copy(x)
    for node in graph.graph.nodes:
        apart = node is not x and all(source in copies for source in node.all_input_nodes)
        if node.op != "output" and apart:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(tuple(copies[node] for node in needed))
    drop_dead_code(part)
    return GraphModule(graph, part)
