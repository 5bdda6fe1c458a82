"""How a strategy's code runs: as it is written, or replayed from a trace of it."""

from __future__ import annotations

from collections.abc import Callable

from .registry import Evaluate, Inputs, Options
from .tracing import traced


def eager(evaluate: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """As written: Python and the dispatcher at every call."""
    return evaluate


EXECUTIONS: dict[str, Callable[[Evaluate, Inputs, Options], Evaluate]] = {
    "eager": eager,
    "traced": traced,
}
