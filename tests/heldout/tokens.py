"""Attention: a small vision transformer, and an energy of tokens by several heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def written_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`softmax(q kᵀ / √d) v` over `[B, heads, tokens, d]`."""
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v


class VisionTransformer(nn.Module):
    """Patches by a strided convolution, a class token, one pre-norm block: `[B, 1, 8, 8] -> 10`."""

    def __init__(self, attention: Attention, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.attention, self.heads = attention, heads
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 5, width))
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        h = self.patches(image).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], dim=1) + self.positions
        h = h + self.attend(self.norm(h))
        h = h + self.mlp(self.after(h))
        return self.head(h[:, 0])

    def attend(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(self.attention(q, k, v).transpose(1, 2).flatten(2))


def vit_block(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 8
) -> Problem:
    """A vision transformer of one block, 1x8x8 -> 10: jacobian, vjp, jvp."""
    network = as_drawn(VisionTransformer(written_attention), dtype, device, generator)
    return Problem(network, normal((batch, 1, 8, 8), dtype, device, generator))


def vit_fused(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 8
) -> Problem:
    """The same with torch's fused attention, without forward mode there: jacobian, vjp, jvp."""
    network = as_drawn(VisionTransformer(scaled_dot_product_attention), dtype, device, generator)
    return Problem(network, normal((batch, 1, 8, 8), dtype, device, generator))


class TokenEnergy(nn.Module):
    """`-Σ_i log Σ_j exp(q_i · k_j) / heads`, an energy of tokens: `[B, 6, 4] -> [B]`.

    The energy transformer's (Hoover et al. 2023): no values, its gradient is the attention.
    """

    def __init__(self, width: int = 4, heads: int = 3, inner: int = 8) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.zeros(heads, inner, width))
        self.keys = nn.Parameter(torch.zeros(heads, inner, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q = torch.einsum("hdw,btw->bhtd", self.queries, h)
        k = torch.einsum("hdw,btw->bhtd", self.keys, h)
        scores = torch.einsum("bhtd,bhsd->bhts", q, k)
        return -scores.logsumexp(-1).mean(1).sum(-1)


def attention_energy(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 16
) -> Problem:
    """An energy transformer's attention term, 6 tokens of width 4: all scalar operators."""
    network = as_drawn(TokenEnergy(), dtype, device, generator)
    with torch.no_grad():
        network.queries.mul_(2)
    return Problem(network, normal((batch, 6, 4), dtype, device, generator))
