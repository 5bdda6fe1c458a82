"""Multilayer perceptrons: wide, tall, square, deep, tiny, scalar, the paper's, and with a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..problem import Layers, Problem
from .chain import ACTIVATIONS, Chain
from .registry import workload
from .values import as_drawn, float64, normal


class Sin(nn.Module):
    """The sine as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


LAYERS = {"tanh": nn.Tanh, "softplus": nn.Softplus, "sin": Sin}


def mlp(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Affine layers between the widths, the activation after each but the last."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), LAYERS[activation]()]
    return nn.Sequential(*layers[:-1])


def chain(network: nn.Sequential, activation: str, x: np.ndarray, wanted: int) -> Chain:
    """The network's own values as a chain in numpy float64."""
    affine = [layer for layer in network if isinstance(layer, nn.Linear)]
    return Chain(
        [float64(layer.weight) for layer in affine],
        [float64(layer.bias) for layer in affine],
        ACTIVATIONS[activation],
        x,
        wanted,
    )


def _problem(
    widths: Sequence[int],
    activation: str,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
) -> Problem:
    network = mlp(widths, activation)
    as_drawn(network, dtype, device, generator)
    x = normal((batch, widths[0]), dtype, device, generator)
    exact = chain(network, activation, float64(x), widths[0]).exact()
    return Problem(network, x, exact=exact, layers=Layers(tuple(widths)))


@workload(version=1)
def mlp_wide(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 512,
    m: int = 8,
) -> Problem:
    """An MLP with many more inputs than outputs: n-128-128-m, tanh."""
    return _problem([n, 128, 128, m], "tanh", batch, dtype, device, generator)


@workload(version=1)
def mlp_tall(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 8,
    m: int = 256,
) -> Problem:
    """An MLP with many more outputs than inputs: n-128-128-m, softplus."""
    return _problem([n, 128, 128, m], "softplus", batch, dtype, device, generator)


@workload(version=1)
def mlp_square(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 16,
) -> Problem:
    """An MLP with as many outputs as inputs: n-64-64-n, tanh."""
    return _problem([n, 64, 64, n], "tanh", batch, dtype, device, generator)


@workload(version=1)
def mlp_scalar(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 16,
) -> Problem:
    """An MLP with one output, as an energy or a PINN's solution: n-64-64-1, tanh."""
    return _problem([n, 64, 64, 1], "tanh", batch, dtype, device, generator)


@workload(version=1)
def mlp_deep(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 4,
) -> Problem:
    """Eight hidden layers of 32 and one output, sin."""
    return _problem([n, *[32] * 8, 1], "sin", batch, dtype, device, generator)


@workload(version=1)
def mlp_tiny(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """One input, four hidden layers of 16, one output, tanh: all overhead."""
    return _problem([1, *[16] * 4, 1], "tanh", batch, dtype, device, generator)


@workload(version=1)
def paper_net(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 4
) -> Problem:
    """50-768-768-512-512-1, tanh: the network of Dangel et al. (2025) on collapsed Laplacians."""
    return _problem([50, 768, 768, 512, 512, 1], "tanh", batch, dtype, device, generator)


class TimeConditioned(nn.Module):
    """A velocity field `[B, d], [B, 1] -> [B, d]`: the time is one more input of the network."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.network = mlp([d + 1, 64, 64, d], "tanh")

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(torch.cat([x, t], dim=-1))


@workload(version=1)
def time_conditioned_field(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 64,
    d: int = 8,
) -> Problem:
    """The velocity field of a continuous normalizing flow, a time for each row: d+1-64-64-d."""
    field = TimeConditioned(d)
    as_drawn(field, dtype, device, generator)
    x = normal((batch, d), dtype, device, generator)
    t = torch.rand((batch, 1), generator=generator, dtype=torch.float64).to(x)
    inputs = np.concatenate([float64(x), float64(t)], axis=1)
    exact = chain(field.network, "tanh", inputs, d).exact()
    layers = Layers((d, 64, 64, d), beside=1)
    return Problem(field, x, args=(t,), exact=exact, layers=layers)
