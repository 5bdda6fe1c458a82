"""Networks with steps: a recurrent one, unrolled by hand, and a flow of coupling layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal


class GatedRecurrence(nn.Module):
    """A GRU cell written out and unrolled in Python: `[B, 5, 4] -> [B, 3]`."""

    def __init__(self, n: int = 4, width: int = 16, m: int = 3) -> None:
        super().__init__()
        self.width = width
        self.of_input = nn.Linear(n, 3 * width)
        self.of_state = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, m)

    def forward(self, sequence: Tensor) -> Tensor:
        h = sequence.new_zeros(len(sequence), self.width)
        for x in sequence.unbind(1):
            h = self.step(x, h)
        return self.leave(h)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        reset_x, update_x, new_x = self.of_input(x).chunk(3, dim=-1)
        reset_h, update_h, new_h = self.of_state(h).chunk(3, dim=-1)
        reset, update = (reset_x + reset_h).sigmoid(), (update_x + update_h).sigmoid()
        new = (new_x + reset * new_h).tanh()
        return torch.lerp(new, h, update)


def unrolled_gru(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 16
) -> Problem:
    """A GRU unrolled over 5 steps of 4 numbers, 3 outputs: jacobian, vjp, jvp."""
    network = as_drawn(GatedRecurrence(), dtype, device, generator)
    return Problem(network, normal((batch, 5, 4), dtype, device, generator))


class Coupling(nn.Module):
    """`y₁ = x₁, y₂ = x₂ exp(tanh s(x₁)) + t(x₁)`, halves exchanged after (Dinh et al. 2017)."""

    def __init__(self, n: int, width: int = 24) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(n // 2, width), nn.Softplus(), nn.Linear(width, n))

    def forward(self, x: Tensor) -> Tensor:
        kept, moved = x.chunk(2, dim=-1)
        scale, shift = self.mlp(kept).chunk(2, dim=-1)
        return torch.cat([moved * scale.tanh().exp() + shift, kept], dim=-1)


def coupling_flow(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """Four affine coupling layers of a RealNVP flow, 6 -> 6: jacobian, divergence, vjp, jvp."""
    network = nn.Sequential(*(Coupling(6) for _ in range(4)))
    as_drawn(network, dtype, device, generator)
    return Problem(network, normal((batch, 6), dtype, device, generator))
