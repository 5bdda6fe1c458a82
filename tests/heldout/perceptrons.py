"""Multilayer perceptrons with what plain chains lack: norms, residuals, learned activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal


def gelu_mlp(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """LayerNorm and GELU after each hidden layer, 12-48-48-6: jacobian, vjp, jvp."""
    network = nn.Sequential(
        nn.Linear(12, 48),
        nn.LayerNorm(48),
        nn.GELU(),
        nn.Linear(48, 48),
        nn.LayerNorm(48),
        nn.GELU(),
        nn.Linear(48, 6),
    )
    as_drawn(network, dtype, device, generator)
    return Problem(network, normal((batch, 12), dtype, device, generator))


class Residual(nn.Module):
    """`h + V silu(W h + b) + c` in each of three blocks, `[B, n] -> [B, 1]`."""

    def __init__(self, n: int, width: int = 32) -> None:
        super().__init__()
        self.enter = nn.Linear(n, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(3)
        )
        self.leave = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


def residual_mlp(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """Three residual blocks of SiLU and one output, 10-32-1: all scalar operators."""
    network = as_drawn(Residual(10), dtype, device, generator)
    return Problem(network, normal((batch, 10), dtype, device, generator))


class Rational(nn.Module):
    """An activation `P(h) / Q(h)` with learned coefficients, of degrees 3 and 2 (Padé).

    `Q = 1 + (b h)²` has no zeros. Start: Boullé et al. 2020, Rational neural networks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.above = nn.Parameter(torch.zeros(4))
        self.below = nn.Parameter(torch.zeros(1))

    def start(self) -> None:
        """Near the ReLU, from where such networks are trained."""
        with torch.no_grad():
            self.above.add_(torch.tensor([0.02, 0.5, 1.6, 1.2]).to(self.above))
            self.below.add_(1.5)

    def forward(self, h: Tensor) -> Tensor:
        a, b, c, d = self.above.unbind()
        return (a + h * (b + h * (c + h * d))) / (1 + (self.below * h) ** 2)


def rational(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """Learned rational activations, 5-24-24-5: jacobian, divergence, jvp, laplacian."""
    network = nn.Sequential(
        nn.Linear(5, 24), Rational(), nn.Linear(24, 24), Rational(), nn.Linear(24, 5)
    )
    as_drawn(network, dtype, device, generator)
    for layer in network:
        if isinstance(layer, Rational):
            layer.start()
    return Problem(network, normal((batch, 5), dtype, device, generator))
