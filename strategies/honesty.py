"""Whether the graph of f tells the derivatives of its values, where something left the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .functions import Function, first_line, moved, without_traces
from .registry import Unsupported

# By order: where, in steps, and with which weights central differences ask.
_CENTRAL: dict[int, dict[float, float]] = {
    1: {1: 0.5, -1: -0.5},
    2: {1: 1, 0: -2, -1: 1},
    3: {2: 0.5, 1: -1, -1: 1, -2: -0.5},
    4: {2: 1, 1: -4, 0: 6, -1: -4, -2: 1},
}


def graph_tells_the_truth(f: Function, x: Tensor, args: Sequence[Tensor], *, order: int) -> bool:
    """Whether the derivative of f along one direction, by its graph, is that of its values.

    Asked where something left the graph inside f, which may be of no account (the maximum that a
    softmax subtracts) or silently wrong. Central differences at two steps: what they differ by is
    the noise that is allowed.
    """
    v = _scaled(moved(torch.zeros_like(x), 1.0, seed=3), x)

    def projected(z: Tensor) -> Tensor:
        rows = f(z, *args).reshape(len(x), -1)
        return (rows * moved(torch.zeros_like(rows[0].detach()), 1.0, seed=4)).sum(-1)

    with without_traces(x.device):
        try:
            by_graph = _along(projected, x, v, order)
        except RuntimeError:
            # torch has none, which the strategies will say themselves.
            return True
        return _as_values_say(projected, x, v, by_graph, order)


def check_backward(run: Function, inputs: Sequence[Tensor]) -> None:
    """Refuse an evaluation through which torch's backward raises, or is not the derivative of what
    it returns: formulas of torch hold for so many derivatives each, and do not say when no more.

    run: `(x, …) -> [B, …]`, dense or coalesced, asked along one direction of x.
    """
    x, *rest = inputs
    v = _scaled(_random(x, seed=3), x)

    def projected(z: Tensor) -> Tensor:
        found = run(z, *rest)
        entries = found.values() if found.is_sparse else found
        rows = entries.reshape(len(x), -1)
        return (rows * _random(rows[0], seed=4)).sum(-1)

    try:
        by_graph = _along(projected, x, v, 1)
    except RuntimeError as error:
        raise Unsupported(f"create_graph: {first_line(error)}") from error
    if not _as_values_say(projected, x, v, by_graph, 1, allowed=0.005):
        raise Unsupported(
            "create_graph: torch's backward through its result is not the derivative of the result"
            " (a formula in f that holds for fewer derivatives)"
        )


def _scaled(v: Tensor, x: Tensor) -> Tensor:
    return v / v.norm() * x.detach().norm().clamp_min(1e-3)


def _random(like: Tensor, seed: int) -> Tensor:
    """Of either sign: smooth directions and weights hide behind the symmetries of a norm."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.detach())


def _as_values_say(
    f: Function, x: Tensor, v: Tensor, by_graph: Tensor, order: int, *, allowed: float = 0.04
) -> bool:
    """allowed: what share of the derivative is laid to the differences beside their noise."""
    with torch.no_grad():
        # Above order two rounding asks for larger steps.
        h = 2e-2 if order < 3 else 1e-1
        coarse, fine = (_difference(f, x, v, order, k * h) for k in (2, 1))
        rounding = torch.finfo(x.dtype).eps * f(x.detach()).norm() / h**order
    # At half the step a central difference is off by a third of what the two differ by.
    noise = (coarse - fine).norm() + allowed * torch.maximum(by_graph.norm(), fine.norm())
    return not bool((by_graph - fine).norm() > 2 * (noise + rounding))


def _along(f: Function, x: Tensor, v: Tensor, order: int) -> Tensor:
    """The derivative of that order of `f: [B, …] -> [B]` along v, by its graph."""
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_()
        found = f(z.clone())
        for left in reversed(range(order)):
            if not found.requires_grad:
                return torch.zeros_like(found)
            # A compiled backward cannot be kept.
            (pulled,) = torch.autograd.grad(
                found.sum(), z, create_graph=left > 0, materialize_grads=True
            )
            found = (pulled * v).reshape(len(x), -1).sum(1)
    return found.detach()


def _difference(f: Function, x: Tensor, v: Tensor, order: int, h: float) -> Tensor:
    ends = [w * f(x.detach() + k * h * v) for k, w in _CENTRAL[order].items()]
    return sum(ends[1:], ends[0]) / h**order
