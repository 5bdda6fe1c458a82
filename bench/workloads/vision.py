"""Networks whose derivatives nobody writes by hand: a small CNN, an attention block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..problem import Problem
from .registry import workload
from .values import as_drawn, normal


@workload(version=1)
def cnn(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 4,
    size: int = 8,
) -> Problem:
    """Two convolutions, average pooling and a linear layer, 3×S×S -> 10, softplus: saliency."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Softplus(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 10),
    )
    as_drawn(network, dtype, device, generator)
    return Problem(network, normal((batch, 3, size, size), dtype, device, generator))


class AttentionBlock(nn.Module):
    """A pre-norm transformer block with one energy a row: `[B, tokens, width] -> [B]`.

    The softmax is written out: torch's fused attention has no forward-mode formula and no second
    derivative on the CPU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.queries = nn.Linear(width, width)
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.energy = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm_attention(x)
        scores = self.queries(h) @ self.keys(h).transpose(-1, -2) / x.shape[-1] ** 0.5
        x = x + scores.softmax(-1) @ self.values(h)
        x = x + self.mlp(self.norm_mlp(x))
        return self.energy(x).sum((-1, -2))


@workload(version=1)
def attention(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 4,
    tokens: int = 4,
    width: int = 8,
) -> Problem:
    """A transformer block (LayerNorm, softmax attention, GELU) with one energy a row."""
    block = AttentionBlock(width)
    as_drawn(block, dtype, device, generator)
    return Problem(block, normal((batch, tokens, width), dtype, device, generator))
