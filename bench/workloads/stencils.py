"""Functions of a grid or of a set, whose Jacobians are sparse: stencils, a network at each node."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..problem import Array, Problem
from .registry import workload
from .values import CPU, as_drawn, float64, normal

# Of the reaction (A, B), and how fast both diffuse.
FEED, RATE, DIFFUSION = 1.0, 3.4, 2e-3


@workload(version=1)
def brusselator(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    N: int = 8,
) -> Problem:
    """The Brusselator on a periodic N×N grid, 2N² -> 2N²: a stencil of five points and a reaction.

    E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II", 2nd ed. (1996), §IV.10.
    """
    spread = DIFFUSION * N**2
    aside = normal((batch, 2 * N * N), torch.float64, CPU, generator, scale=0.5)
    x = (2 + aside).to(dtype=dtype, device=device)
    z = float64(x).reshape(batch, 2, N, N)
    exact = {"value": lambda: _rates(z, spread), "jacobian": lambda: _rates_by_inputs(z, spread)}

    def laplacian(w: Tensor) -> Tensor:
        return w.roll(1, 1) + w.roll(-1, 1) + w.roll(1, 2) + w.roll(-1, 2) - 4 * w

    def f(x: Tensor) -> Tensor:
        u, v = x.unflatten(1, (2, N, N)).unbind(1)
        turned = u * u * v
        du = FEED + turned - (RATE + 1) * u + spread * laplacian(u)
        dv = RATE * u - turned + spread * laplacian(v)
        return torch.stack([du, dv], 1).flatten(1)

    return Problem(f, x, exact=exact)


def _rates(z: Array, spread: float) -> Array:
    u, v = z[:, 0], z[:, 1]
    du = FEED + u**2 * v - (RATE + 1) * u + spread * _five_points(u)
    dv = RATE * u - u**2 * v + spread * _five_points(v)
    return np.stack([du, dv], 1).reshape(len(z), -1)


def _five_points(w: Array) -> Array:
    return sum(np.roll(w, step, axis) for step in (1, -1) for axis in (1, 2)) - 4 * w


def _rates_by_inputs(z: Array, spread: float) -> Array:
    """`[B, 2N², 2N²]`: the Laplacian of each species, and the reaction on four diagonals."""
    B, _, N, _ = z.shape
    size = N * N
    units = np.eye(size).reshape(size, N, N)
    laplacian = _five_points(units).reshape(size, size).T
    u, v = z.reshape(B, 2, size).transpose(1, 0, 2)
    found, i = np.zeros((B, 2, size, 2, size)), np.arange(size)
    for species in range(2):
        found[:, species, :, species] = spread * laplacian
    found[:, 0, i, 0, i] += 2 * u * v - (RATE + 1)
    found[:, 0, i, 1, i] += u**2
    found[:, 1, i, 0, i] += RATE - 2 * u * v
    found[:, 1, i, 1, i] -= u**2
    return found.reshape(B, 2 * size, 2 * size)


@workload(version=1)
def conv_stencil(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    size: int = 8,
) -> Problem:
    """A 3×3 convolution on an S×S grid, then tanh, S² -> S²: nine diagonals."""
    network = nn.Sequential(
        nn.Unflatten(1, (1, size, size)), nn.Conv2d(1, 1, 3, padding=1), nn.Tanh(), nn.Flatten()
    )
    as_drawn(network, dtype, device, generator)
    return Problem(network, normal((batch, size * size), dtype, device, generator))


@workload(version=1)
def set_network(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 4,
    nodes: int = 16,
    width: int = 4,
) -> Problem:
    """The same network d-16-d at every one of N nodes, N·d -> N·d, tanh: blocks on the diagonal."""
    network = nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, width))
    as_drawn(network, dtype, device, generator)
    return Problem(network, normal((batch, nodes, width), dtype, device, generator))
