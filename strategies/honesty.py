"""Whether the graph of f tells the derivatives of its values, where something left the graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .functions import Function, moved, without_traces


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
            coarse, fine = (_difference(projected, x, v, order, h) for h in (4e-2, 2e-2))
            rounding = torch.finfo(x.dtype).eps * projected(x.detach()).norm() / 2e-2**order
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
    def at(step: float) -> Tensor:
        return f(x.detach() + step * v)

    if order == 1:
        return (at(h) - at(-h)) / (2 * h)
    return (at(h) - 2 * at(0.0) + at(-h)) / h**2
