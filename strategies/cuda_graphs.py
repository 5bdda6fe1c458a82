"""The cuda-graph execution: the simplified graph captured once on the device, then relaunched.

A CUDA graph replays its kernels at the addresses of the capture: inputs are copied into buffers of
its own, results are cloned out of it, so that the next call does not overwrite them. Parameters
keep their addresses, hence in-place updates are followed.

Not run: no CUDA device was at hand. `_capture` follows PyTorch's notes on CUDA graphs (warm-up on a
side stream, then `torch.cuda.graph`); everything around it is tested with a stand-in for it.

Source: https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .functions import first_line, out_of_memory
from .registry import Evaluate, Inputs, Options, Unsupported
from .replaying import replayable
from .tracing import check_replay, held_by, in_orders, recorded

# Runs a function once and returns its result with a call that computes it again, in place.
Capture = Callable[[Callable[[], Any]], tuple[Any, Callable[[], object]]]

_WARM_UP = 3


def cuda_graph(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """One launch for the whole evaluation; refused off CUDA devices and for create_graph."""
    if options.create_graph:
        raise Unsupported(
            "create_graph: a CUDA graph relaunches kernels, of which autograd keeps no graph;"
            " execution='traced' or 'compile' trains"
        )
    device = inputs[0].device
    if device.type != "cuda":
        raise Unsupported(f"cuda-graph needs x on a CUDA device, not on {device}")
    return captured(evaluate, inputs, options, _capture)


def captured(evaluate: Evaluate, inputs: Inputs, options: Options, capture: Capture) -> Evaluate:
    """The simplified graph, relaunched by what `capture` returns."""
    graph = recorded(evaluate, inputs, options)
    held, run = held_by(graph), replayable(graph)
    buffers = tuple(t.detach().clone() for t in inputs)
    try:
        results, relaunch = capture(lambda: run(*buffers))
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise Unsupported(f"cannot be captured: {first_line(error)}") from error

    def replay(*given: Tensor) -> Any:
        with torch.no_grad():
            for buffer, tensor in zip(buffers, given, strict=True):
                buffer.copy_(tensor)
            relaunch()
            return tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, results)

    replay = in_orders(replay, options)
    check_replay(evaluate, replay, held, inputs, options)
    return replay


def _capture(run: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
    # On a side stream first: libraries allocate their workspaces in the first calls, which a
    # capture forbids.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        results = run()
    return results, graph.replay
