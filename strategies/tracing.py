"""The traced execution: record an evaluation once with `functorch.make_fx`, simplify, replay it.

NOTE [detach in traces]
When an evaluation calls `autograd.grad` inside, the tracer records `aten.detach` for x and for
every tensor that a backward formula saves. Replayed without a graph they are harmless no-ops;
replayed with one they cut gradients silently. For create_graph all of them are removed. Whether
that was right (f itself may detach on purpose, and kernels without a second derivative may
appear) is not guessed but tried, at a point other than the traced one: value and gradients of the
replay must equal those of the eager evaluation, or the strategy refuses. The same trial stands
behind every simplification.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule

from .functions import agree, first_line, moved
from .graphs import constants, record
from .operators import Orders, orders_of
from .registry import Evaluate, Inputs, Options, Unsupported
from .replaying import replayable
from .simplify import simplify


def traced(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """Replay of the recorded operations; refuses what cannot be recorded or replays otherwise."""
    graph = recorded(evaluate, inputs, options)
    replay = in_orders(replayable(graph), options)
    check_replay(evaluate, replay, held_by(graph), inputs, options)
    return replay


def recorded(evaluate: Evaluate, inputs: Inputs, options: Options) -> GraphModule:
    """The simplified graph of one evaluation, through which gradients pass where they must."""
    graph = trace(evaluate, inputs)
    if options.create_graph:
        remove_detach(graph)
    return simplify(graph, inputs)


def in_orders(replay: Evaluate, options: Options) -> Evaluate:
    """A graph returns a plain tuple of what `values=True` calls `Orders`."""
    if not options.values:
        return replay
    return lambda *given: orders_of(cast("tuple[Tensor | None, ...]", replay(*given)))


def held_by(graph: GraphModule) -> list[Tensor]:
    """The tensors outside the inputs that the graph reads: parameters, closures, bases."""
    return [tensor for _, tensor in constants(graph)]


def trace(evaluate: Evaluate, inputs: Inputs) -> GraphModule:
    """The graph of aten operations of one evaluation; raises `Unsupported` where there is none."""

    # A function of its own, because make_fx counts default arguments of its function as inputs.
    def plain(*given: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        found = evaluate(*given)
        return found.parts if isinstance(found, Orders) else found

    try:
        return record(plain, inputs)
    except Exception as error:  # the tracer raises whatever an operation under it raises
        raise Unsupported(f"cannot be traced: {first_line(error)}") from error


def remove_detach(graph: GraphModule) -> None:
    """Let gradients pass where the recorded evaluation cut them, see NOTE [detach in traces]."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()


def check_replay(
    evaluate: Evaluate,
    replay: Evaluate,
    held: Iterable[Tensor],
    inputs: Inputs,
    options: Options,
) -> None:
    """Refuse a replay that is not the evaluation, in its values or, for create_graph, gradients.

    held: what the replay reads beside its inputs. Compared at another point than `inputs`.
    """
    here = tuple(
        moved(t, 1e-2, seed).requires_grad_(options.create_graph) if t.is_floating_point() else t
        for seed, t in enumerate(inputs)
    )
    expected, found = _tensors(evaluate(*here)), _tensors(_replayed(replay, here))
    for a, b in zip(expected, found, strict=True):
        if a.dtype != b.dtype or not agree(a, b):
            raise Unsupported(
                "its trace does not hold at other values than the traced ones"
                " (a branch or a constant in it depends on the values of x)"
            )
    if not options.create_graph:
        return
    sources = [t for t in (*here, *held) if t.requires_grad]
    for a, b in zip(gradients(expected, sources), gradients(found, sources), strict=True):
        if not agree(a, b):
            raise Unsupported(
                "create_graph: gradients through its trace differ from those of the eager"
                " evaluation (f detaches, or a recorded kernel has no derivative)"
            )


def _replayed(replay: Evaluate, inputs: Inputs) -> Tensor | Orders:
    try:
        return replay(*inputs)
    except RuntimeError as error:
        raise Unsupported(f"its trace cannot be replayed: {first_line(error)}") from error


def _tensors(found: Tensor | Orders) -> list[Tensor]:
    return [t for t in (found.parts if isinstance(found, Orders) else [found]) if t is not None]


def gradients(results: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
    """Gradients of one uneven projection of the results, so that no part cancels another."""
    total = sum((r * moved(torch.ones_like(r), 1.0)).sum() for r in results)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    try:
        return list(torch.autograd.grad(total, sources, materialize_grads=True))
    except RuntimeError as error:
        raise Unsupported(f"create_graph: {first_line(error)}") from error
