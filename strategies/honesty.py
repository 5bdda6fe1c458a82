"""Whether the graph of f tells the derivatives of its values, where something left the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .functions import Function, moved, without_traces

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
    v = moved(torch.zeros_like(x), 1.0, seed=3)
    v = v / v.norm() * x.detach().norm().clamp_min(1e-3)

    def projected(z: Tensor) -> Tensor:
        """`[B]`: an uneven sum of each row's outputs, so that none cancels another."""
        rows = f(z, *args).reshape(len(x), -1)
        return (rows * moved(torch.zeros_like(rows[0].detach()), 1.0, seed=4)).sum(-1)

    with without_traces(x.device):
        by_graph = _along(projected, x, v, order)
        if by_graph is None:
            return True
        with torch.no_grad():
            # Above order two rounding asks for larger steps.
            h = 2e-2 if order < 3 else 1e-1
            coarse, fine = (_difference(projected, x, v, order, k * h) for k in (2, 1))
            rounding = torch.finfo(x.dtype).eps * projected(x.detach()).norm() / h**order
    noise = (coarse - fine).norm() + 0.02 * torch.maximum(by_graph.norm(), fine.norm())
    return not bool((by_graph - fine).norm() > 4 * (noise + rounding))


def _along(f: Function, x: Tensor, v: Tensor, order: int) -> Tensor | None:
    """The derivative of that order of `f: [B, …] -> [B]` along v, by its graph; None where torch
    has none, which the strategies will say themselves."""
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_()
        found = f(z.clone())
        for _ in range(order):
            if not found.requires_grad:
                return torch.zeros_like(found)
            try:
                (pulled,) = torch.autograd.grad(
                    found.sum(), z, create_graph=True, materialize_grads=True
                )
            except RuntimeError:
                return None
            found = (pulled * v).reshape(len(x), -1).sum(1)
    return found.detach()


def _difference(f: Function, x: Tensor, v: Tensor, order: int, h: float) -> Tensor:
    ends = [w * f(x.detach() + k * h * v) for k, w in _CENTRAL[order].items()]
    return sum(ends[1:], ends[0]) / h**order
