"""Networks of coordinates: fields over space, as implicit representations and PINNs use them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal


class Siren(nn.Module):
    """`sin(ω (W h + b))` layers, ω in the first only (Sitzmann et al. 2020), `[B, n] -> [B, m]`."""

    def __init__(self, n: int, m: int, omega: float = 6.0, width: int = 32) -> None:
        super().__init__()
        self.omega = omega
        self.enter = nn.Linear(n, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.leave = nn.Linear(width, m)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sin(self.omega * self.enter(x))
        for layer in self.hidden:
            h = torch.sin(layer(h))
        return self.leave(h)


def siren(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """A vector field by sines, 3-32-32-32-3: jacobian, divergence, jvp, vjp, laplacian."""
    network = as_drawn(Siren(3, 3), dtype, device, generator)
    return Problem(network, normal((batch, 3), dtype, device, generator, 0.5))


def siren_scalar(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """A scalar field by sines, 3-32-32-32-1: all scalar operators."""
    network = as_drawn(Siren(3, 1), dtype, device, generator)
    return Problem(network, normal((batch, 3), dtype, device, generator, 0.5))


class FourierFeatures(nn.Module):
    """`cos` and `sin` of fixed random projections, then an MLP: `[B, 2] -> [B]`."""

    def __init__(self, frequencies: Tensor, width: int = 32) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(frequencies)
        self.mlp = nn.Sequential(
            nn.Linear(2 * frequencies.shape[1], width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.frequencies
        return self.mlp(torch.cat([phase.cos(), phase.sin()], dim=-1)).squeeze(-1)


def fourier_features(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """Sixteen random frequencies and a tanh MLP, 2-32-32-32-1: all scalar operators."""
    frequencies = normal((2, 16), dtype, device, generator, 3.0)
    network = as_drawn(FourierFeatures(frequencies), dtype, device, generator)
    return Problem(network, normal((batch, 2), dtype, device, generator, 0.5))


class DeepOperator(nn.Module):
    """`Σ_k branch_k(u) trunk_k(x)` for sensor values u: `[B, 2], [B, 20] -> [B]`."""

    def __init__(self, sensors: int = 20, width: int = 32) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(sensors, width), nn.ReLU(), nn.Linear(width, width))
        self.trunk = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        return torch.einsum("bk,bk->b", self.branch(u), self.trunk(x)) + self.offset


def deep_operator(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """A DeepONet by its query x, sensor values of each row in args: all scalar operators."""
    network = as_drawn(DeepOperator(), dtype, device, generator)
    x = normal((batch, 2), dtype, device, generator)
    return Problem(network, x, args=(normal((batch, 20), dtype, device, generator),))
