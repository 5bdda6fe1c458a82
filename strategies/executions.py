"""How a strategy's code runs: as it is written, or as a recording of it, replayed or compiled."""

from __future__ import annotations

from collections.abc import Callable

from .compiling import compiled
from .cuda_graphs import cuda_graph
from .registry import Evaluate, Inputs, Options
from .tracing import traced


def eager(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """As written: Python and the dispatcher at every call."""
    return evaluate


EXECUTIONS: dict[str, Callable[[Evaluate, Inputs, Options], Evaluate]] = {
    "eager": eager,
    "traced": traced,
    "compile": compiled,
    "cuda-graph": cuda_graph,
}
