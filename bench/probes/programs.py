"""Probes of how f is written: custom functions, writes, branches, what leaves the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .registry import Draw, Layer, probe


class _Sine(torch.autograd.Function):
    """The sine with formulas of its own for both modes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return cotangent * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent * ctx.saved_tensors[0].cos()


@probe()
def custom_function(draw: Draw) -> Layer:
    """A custom autograd.Function with backward, jvp and a vmap rule."""
    return lambda x: _Sine.apply(x * x)


@probe()
def checkpointed(draw: Draw) -> Layer:
    """torch.utils.checkpoint, not reentrant."""
    return lambda x: checkpoint(lambda z: (z * z).sin(), x, use_reentrant=False)


@probe()
def rearranged(draw: Draw) -> Layer:
    """Slices, stacks, transposes and fresh tensors: what moves data and writes nothing."""
    W = draw(2, 2)

    def layer(x: Tensor) -> Tensor:
        a, b = x[:, :2], x[:, 2:].flip(-1)
        pairs = torch.stack([a - b, -a], -1).mT @ W + torch.zeros(2, 2, dtype=x.dtype)
        edges = torch.cat([x[:, 0].unsqueeze(-1), b / 2], -1) ** 2
        spread = x[:, :1].expand(-1, 4) * torch.eye(4, dtype=x.dtype)[0]
        left, right = (pairs**3).permute(0, 2, 1).flatten(1).split(2, -1)
        empty = torch.empty(len(x), 0, dtype=x.dtype)
        return torch.cat([left, right * left, edges * x.new_ones(3), spread, empty], -1)

    return layer


@probe()
def in_place(draw: Draw) -> Layer:
    """In-place operations on a tensor made of x."""
    return lambda x: (x * x).sin_().mul_(x)


@probe()
def assigned(draw: Draw) -> Layer:
    """Columns written into a fresh tensor."""

    def layer(x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 2, dtype=x.dtype, device=x.device)
        out[:, 0] = x[:, 0] * x[:, 1]
        out[:, 1] = x[:, 2] ** 3 + x[:, 3]
        return out

    return layer


@probe()
def indexing(draw: Draw) -> Layer:
    """Advanced indexing, gather and index_select."""
    order = torch.tensor([3, 1, 0])

    def layer(x: Tensor) -> Tensor:
        picked = x[:, order.to(x.device)]
        return picked * x.gather(1, order.to(x.device).expand(len(x), 3)) * x[:, 1:]

    return layer


@probe()
def no_grad(draw: Draw) -> Layer:
    """A part computed under no_grad: detached in part."""

    def layer(x: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = 2 * x * x
        return x + hidden

    return layer


@probe()
def branch(draw: Draw) -> Layer:
    """A Python branch on a value."""
    return lambda x: x**3 if bool((x.detach() > -100).all()) else x


@probe()
def item(draw: Draw) -> Layer:
    """A number taken out of a tensor by .item()."""
    return lambda x: x**3 * (1 + x.detach().isfinite().sum().item())
