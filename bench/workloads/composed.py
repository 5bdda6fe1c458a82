"""Networks that are no chain of layers: gates and dense skips, and a vector field of attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..problem import Problem
from .registry import workload
from .values import as_drawn, normal


class Gated(nn.Module):
    """`h ← [h, tanh(W h) ⊙ σ(V h)]` three times (a gated unit, a dense skip), then affine."""

    def __init__(self, n: int, m: int, width: int) -> None:
        super().__init__()
        sizes = [n + k * width for k in range(4)]
        self.units = nn.ModuleList(nn.Linear(size, 2 * width) for size in sizes[:-1])
        self.leave = nn.Linear(sizes[-1], m)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for unit in self.units:
            value, gate = unit(h).chunk(2, dim=-1)
            h = torch.cat([h, value.tanh() * gate.sigmoid()], dim=-1)
        return self.leave(h)


@workload(version=1)
def gated(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 8,
    m: int = 1,
    width: int = 32,
) -> Problem:
    """Three gated units with dense skips, n -> m: what the layers of a chain are without."""
    network = as_drawn(Gated(n, m, width), dtype, device, generator)
    return Problem(network, normal((batch, n), dtype, device, generator))


class TokenField(nn.Module):
    """Softmax attention of tokens and a linear map of each: `[B, tokens, width]` to the same."""

    def __init__(self, width: int, inner: int = 16) -> None:
        super().__init__()
        self.queries = nn.Linear(width, inner)
        self.keys = nn.Linear(width, inner)
        self.values = nn.Linear(width, inner)
        self.leave = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.queries(x) @ self.keys(x).transpose(-1, -2) / 4
        return self.leave((scores.softmax(-1) @ self.values(x)).sin()) - x


@workload(version=1)
def token_field(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 8,
    tokens: int = 4,
    width: int = 4,
) -> Problem:
    """The velocity of tokens that attend to one another, tokens×width to the same."""
    field = as_drawn(TokenField(width), dtype, device, generator)
    return Problem(field, normal((batch, tokens, width), dtype, device, generator))
