"""The rule behind `strategy="auto"`: an ordered list for the sizes at hand; no trace, no timing.

The thresholds are those of the cost model, not of one machine: reverse mode pays for outputs,
forward mode for inputs, a vmap level pays where the single direction is too small to fill the
device, chunks where all directions at once no longer fit the cache. `prepare` takes the first one
that does not refuse, so each list ends with the strategy that takes least for granted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .operators import Operator


@dataclass(frozen=True)
class Regime:
    """What the rule looks at: inputs n and outputs m a row, rows B, dtype, device, training, and
    whether the result is to be sparse, or directions are to be taken in chunks."""

    n: int
    m: int
    B: int
    dtype: torch.dtype
    device: str
    create_graph: bool
    sparse: bool = False
    chunked: bool = False


def candidates(operator: Operator, regime: Regime) -> list[str]:
    """The strategies to try, best first."""
    if regime.sparse and operator in _SPARSE:
        return _SPARSE[operator]
    if regime.chunked and operator in _CHUNKED:
        return _CHUNKED[operator](regime)
    return _RULES[operator](regime)


def _gradient(regime: Regime) -> list[str]:
    return ["autograd-grad", "func-vjp", "autograd-grad-rows"]


def _vjp(regime: Regime) -> list[str]:
    return ["autograd-grad", "func-vjp", "autograd-grad-rows"]


def _jvp(regime: Regime) -> list[str]:
    return [
        *("dual-jvp", "func-jvp", "double-backward-jvp", "zero-aware-forward"),
        "dual-jvp-rows",
    ]


def _jacobian(regime: Regime) -> list[str]:
    # A direction forward costs about as much as one backward, but stores no graph.
    reverse = ["jacrev-sum", "vmap-autograd-grad", "loop-grad"]
    forward = ["vmap-jvp", "dual-loop"]
    if regime.m == 1:
        return ["loop-grad", *forward, "loop-grad-rows"]
    first, second = (reverse, forward) if regime.m <= regime.n else (forward, reverse)
    return [*first, *second, "zero-aware-forward", "loop-grad-rows"]


def _divergence(regime: Regime) -> list[str]:
    return ["vmap-jvp-trace", "jacrev-trace", "loop-grad-trace", "loop-grad-trace-rows"]


def _hvp(regime: Regime) -> list[str]:
    return [
        *("double-backward", "reverse-over-reverse", "forward-over-reverse"),
        "double-backward-rows",
    ]


def _hessian(regime: Regime) -> list[str]:
    return [
        *("vmap-double-backward", "fwd-rev", "rev-rev", "loop-double-backward"),
        "loop-double-backward-rows",
    ]


def _diagonal(regime: Regime) -> list[str]:
    return [
        *("nested-jvp", "vmap-vhvp", "loop-double-backward", "taylor2"),
        "loop-double-backward-rows",
    ]


def _bilaplacian(regime: Regime) -> list[str]:
    # A derivative of four levels costs so much that a chain or a graph is worth looking for.
    return [
        *("closed-form", "forward-laplacian", "nested-hessian", "loop-double-backward"),
        "loop-double-backward-rows",
    ]


_SPARSE = {
    Operator.JACOBIAN: ["partially-separable", "coloured"],
    Operator.HESSIAN: ["coloured"],
}


def _chunked_jacobian(regime: Regime) -> list[str]:
    both = ["chunked-jacrev", "chunked-jacfwd"]
    return both if regime.m <= regime.n else both[::-1]


def _chunked_diagonal(regime: Regime) -> list[str]:
    return ["chunked-nested-jvp"]


# Those that take as many directions at once as they are told to.
_CHUNKED = {
    Operator.JACOBIAN: _chunked_jacobian,
    Operator.HESSIAN: lambda regime: ["chunked-fwd-rev"],
    Operator.HESSIAN_DIAGONAL: _chunked_diagonal,
    Operator.LAPLACIAN: _chunked_diagonal,
}

_RULES = {
    Operator.GRADIENT: _gradient,
    Operator.VJP: _vjp,
    Operator.JVP: _jvp,
    Operator.JACOBIAN: _jacobian,
    Operator.DIVERGENCE: _divergence,
    Operator.HVP: _hvp,
    Operator.HESSIAN: _hessian,
    Operator.HESSIAN_DIAGONAL: _diagonal,
    Operator.LAPLACIAN: _diagonal,
    Operator.BILAPLACIAN: _bilaplacian,
}
