"""The compile execution: the simplified graph through inductor, without a guard of its own.

A plan's shapes, dtypes and devices are fixed and checked, so nothing is left for dynamo to guard:
the recorded graph goes to inductor as it is. What could break a graph (a branch on values, Python
side effects) was refused when it was recorded, so that there is no partly compiled evaluation.

NOTE [tensors as inputs of a compiled graph]
Inductor writes small constants of a graph into the code that it generates. Tensors that f reads,
parameters and closures, may be updated in place between calls, so they are handed in as further
inputs; what was folded from fresh factories alone stays a constant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .functions import first_line, out_of_memory
from .graphs import constants
from .registry import Evaluate, Inputs, Options, Unsupported
from .simplify import FOLDED
from .tracing import check_replay, in_orders, recorded


def compiled(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """The simplified graph compiled by inductor; refuses what cannot be recorded or compiled."""
    with _inductor():
        return _compiled(evaluate, inputs, options)


def _compiled(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    graph = recorded(evaluate, inputs, options)
    held, there = lift(graph), flat_results(graph)
    ready = [_ready(t).requires_grad_(_differentiable(t, options)) for t in inputs]
    run = _compile(graph, [*ready, *held])

    def replay(*given: Tensor) -> Any:
        # The generated code takes the strides of the example for granted.
        found = run(*[t.contiguous() for t in given], *held)
        if not options.values:
            return found[0]
        results = iter(found)
        return tuple(next(results) if one else None for one in there)

    replay = in_orders(replay, options)
    # The backward is compiled here, when it is first asked for.
    check_replay(evaluate, replay, held, inputs, options)
    return replay


def _ready(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


def _differentiable(tensor: Tensor, options: Options) -> bool:
    return options.create_graph and tensor.is_floating_point()


def lift(graph: GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that f reads, see NOTE [tensors as inputs of a compiled graph];
    returns them in the order of these inputs."""
    held: dict[str, Tensor] = {}
    for node, tensor in list(constants(graph)):
        if not str(node.target).startswith(FOLDED):
            held[str(node.target)] = tensor
    places = _places(graph, held)
    for node, _ in list(constants(graph)):
        if str(node.target) in places:
            node.replace_all_uses_with(places[str(node.target)])
            graph.graph.erase_node(node)
    # What the module still has, inductor would hand in at every call.
    for name in [*graph._parameters, *graph._buffers]:
        if not name.startswith(FOLDED):
            delattr(graph, name)
    for node in graph.graph.nodes:
        # Tensors of the recording's own fake modes, which inductor would mix with its own.
        node.meta.clear()
    graph.recompile()
    return list(held.values())


def flat_results(graph: GraphModule) -> tuple[bool, ...]:
    """Make the graph return a plain tuple of tensors; returns which of its results there are."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    found = output.args[0]
    results = tuple(found) if isinstance(found, list | tuple) else (found,)
    output.args = (tuple(node for node in results if node is not None),)
    graph.recompile()
    return tuple(node is not None for node in results)


def _places(graph: GraphModule, held: dict[str, Tensor]) -> dict[str, Node]:
    *_, last = (node for node in graph.graph.nodes if node.op == "placeholder")
    with graph.graph.inserting_after(last):
        # Each insertion goes right after the last input, so the last one first.
        made = {where: graph.graph.placeholder(f"held_{where}") for where in reversed(held)}
    return made


def _compile(graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    try:
        run = torch._inductor.compile(graph, list(inputs))
        run(*inputs)
    except Exception as error:  # inductor and the C++ compiler raise whatever they meet
        if out_of_memory(error):
            raise
        raise Unsupported(f"cannot be compiled: {first_line(error)}") from error
    return run


@contextmanager
def _inductor() -> Iterator[None]:
    """Compile in this process, and take out of the environment what inductor leaves there."""
    before = dict(os.environ)
    import torch._inductor  # slow to import, and needed by this execution alone

    try:
        with torch._inductor.config.patch(compile_threads=1):
            yield
    finally:
        for name in set(os.environ) - set(before):
            if "INDUCTOR" in name:
                del os.environ[name]
