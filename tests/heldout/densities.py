"""Sums of bumps: a mixture density network and a radial-basis network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal


class MixtureDensity(nn.Module):
    """`-log p(y | x)` of a mixture whose parameters are a network of x: `[B, 6], [B] -> [B]`."""

    def __init__(self, n: int = 6, components: int = 5, width: int = 32) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(n, width), nn.Tanh(), nn.Linear(width, width), nn.Softplus()
        )
        self.heads = nn.Linear(width, 3 * components)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits, means, spreads = self.heads(self.trunk(x)).chunk(3, dim=-1)
        z = (y[:, None] - means) * torch.exp(-spreads)
        each = logits.log_softmax(-1) - z**2 / 2 - spreads - math.log(2 * math.pi) / 2
        return -each.logsumexp(-1)


def mixture_density(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """The likelihood of a mixture density network, targets in args: gradient, hvp, hessian."""
    network = as_drawn(MixtureDensity(), dtype, device, generator)
    x = normal((batch, 6), dtype, device, generator)
    return Problem(network, x, args=(normal((batch,), dtype, device, generator),))


class RadialBasis(nn.Module):
    """`W exp(-β ‖x - c‖²) + b` over 24 centers, each with its own β: `[B, 6] -> [B, 4]`."""

    def __init__(self, n: int = 6, centers: int = 24, m: int = 4) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(centers, n))
        self.log_beta = nn.Parameter(torch.zeros(centers))
        self.leave = nn.Linear(centers, m)

    def forward(self, x: Tensor) -> Tensor:
        distances = (x[:, None] - self.centers).square().sum(-1)
        return self.leave(torch.exp(-0.2 * self.log_beta.exp() * distances))


def radial_basis(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """A radial-basis network, 6 -> 4: jacobian, vjp, jvp, laplacian, hessian-diagonal."""
    network = as_drawn(RadialBasis(), dtype, device, generator)
    return Problem(network, normal((batch, 6), dtype, device, generator))
