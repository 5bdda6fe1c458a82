"""Energies of particles, with hand-derived forces and Hessians."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from torch import Tensor

from ..problem import Problem
from .registry import workload
from .values import float64, normal


@workload(version=1)
def lennard_jones(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 4,
    atoms: int = 8,
) -> Problem:
    """The Lennard-Jones energy of N atoms near a lattice, Σ 4 (r⁻¹² − r⁻⁶): forces, Hessian."""
    side = ceil(atoms ** (1 / 3))
    axis = torch.arange(side, dtype=torch.float64) * 1.2
    lattice = torch.cartesian_prod(axis, axis, axis)[:atoms]
    aside = normal((batch, atoms, 3), torch.float64, torch.device("cpu"), generator, scale=0.05)
    x = (lattice + aside).to(dtype=dtype, device=device)
    first, second = torch.triu_indices(atoms, atoms, offset=1, device=device)

    def f(x: Tensor) -> Tensor:
        r2 = (x[:, first] - x[:, second]).square().sum(-1)
        r6 = r2**-3
        return 4 * (r6 * r6 - r6).sum(-1)

    pairs = Pairs(float64(x), first.cpu().numpy(), second.cpu().numpy())
    exact = {
        "value": pairs.energy,
        "jacobian": pairs.gradient,
        "hessian": pairs.hessian,
    }
    return Problem(f, x, exact=exact)


class Pairs:
    """A pair potential u(r²) = 4 (r⁻¹² − r⁻⁶) at `x: [B, N, 3]`, over the pairs (first, second).

    With d = x_i − x_j and s = d·d: ∂E/∂x_i = Σ_j 2 u'(s) d, and the block of the Hessian for the
    pair is ±(2 u'(s) 1 + 4 u''(s) d dᵀ).
    """

    def __init__(self, x: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
        self.shape, self.first, self.second = x.shape, first, second
        self.d = x[:, first] - x[:, second]
        self.s = (self.d**2).sum(-1)

    def energy(self) -> np.ndarray:
        """`[B, 1]`."""
        return (4 * (self.s**-6 - self.s**-3)).sum(1, keepdims=True)

    def _slope(self) -> np.ndarray:
        return 4 * (-6 * self.s**-7 + 3 * self.s**-4)

    def _bend(self) -> np.ndarray:
        return 4 * (42 * self.s**-8 - 12 * self.s**-5)

    def gradient(self) -> np.ndarray:
        """`[B, 1, 3N]`."""
        B, N, _ = self.shape
        force = 2 * self._slope()[..., None] * self.d
        total = np.zeros((B, N, 3))
        for b in range(B):
            np.add.at(total[b], self.first, force[b])
            np.add.at(total[b], self.second, -force[b])
        return total.reshape(B, 1, 3 * N)

    def hessian(self) -> np.ndarray:
        """`[B, 1, 3N, 3N]`."""
        B, N, _ = self.shape
        outer = self.d[..., :, None] * self.d[..., None, :]
        block = 2 * self._slope()[..., None, None] * np.eye(3)
        block = block + 4 * self._bend()[..., None, None] * outer
        total = np.zeros((B, N, N, 3, 3))
        for b in range(B):
            for i, j, sign in (
                (self.first, self.first, 1),
                (self.second, self.second, 1),
                (self.first, self.second, -1),
                (self.second, self.first, -1),
            ):
                np.add.at(total[b], (i, j), sign * block[b])
        return total.transpose(0, 1, 3, 2, 4).reshape(B, 1, 3 * N, 3 * N)
