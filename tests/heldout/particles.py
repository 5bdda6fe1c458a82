"""Energies of atoms: Lennard-Jones clusters and a message-passing network over pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import CPU, as_drawn, normal

DOUBLE = torch.float64


def pair_energy(x: Tensor) -> Tensor:
    """`Σ 4 (r⁻¹² − r⁻⁶)` over the full matrix of pairs, each met twice: `[B, N, 3] -> [B]`."""
    apart = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    squares = (x[:, :, None] - x[:, None]).pow(2).sum(-1) + apart
    sixth = squares.pow(-3)
    # On the diagonal the distance is one, so that the energy there is zero.
    return 2 * (sixth.pow(2) - sixth).sum((-1, -2))


def _near(
    sites: Tensor, dtype: torch.dtype, device: torch.device, generator: torch.Generator, batch: int
) -> Tensor:
    """`[batch, N, 3]`: the sites, each atom a little aside."""
    aside = normal((batch, *sites.shape), DOUBLE, CPU, generator, 0.05)
    return (sites + aside).to(dtype=dtype, device=device)


def lennard_jones_3(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 32
) -> Problem:
    """Three Lennard-Jones atoms near a triangle of side 1.15: all scalar operators."""
    sites = 1.15 * torch.tensor([[0, 0, 0], [1, 0, 0], [0.5, 0.75**0.5, 0]], dtype=DOUBLE)
    return Problem(pair_energy, _near(sites, dtype, device, generator, batch))


def lennard_jones_13(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 8
) -> Problem:
    """Thirteen Lennard-Jones atoms near an icosahedron and its center: all scalar operators."""
    golden = (1 + 5**0.5) / 2
    corners = [[0.0, s, t * golden] for s in (1, -1) for t in (1, -1)]
    turned = [c[k:] + c[:k] for c in corners for k in range(3)]
    sites = torch.tensor([[0.0, 0, 0], *turned], dtype=DOUBLE)
    sites = sites * 1.1 / sites[1].norm()
    return Problem(pair_energy, _near(sites, dtype, device, generator, batch))


class MessagePassing(nn.Module):
    """Two rounds of messages over all pairs, then an energy an atom: `[B, 6, 3], [B, 6] -> [B]`.

    Continuous filters of the distances multiply the senders' features (Schütt et al. 2017).
    """

    def __init__(self, atoms: int = 6, kinds: int = 3, width: int = 12, radial: int = 8) -> None:
        super().__init__()
        pairs = torch.tensor([(i, j) for i in range(atoms) for j in range(atoms) if i != j])
        self.receivers, self.senders = nn.Buffer(pairs[:, 0]), nn.Buffer(pairs[:, 1])
        self.radii = nn.Buffer(torch.linspace(0.5, 3.0, radial))
        self.embedding = nn.Embedding(kinds, width)
        self.filters = nn.ModuleList(
            nn.Sequential(nn.Linear(radial, width), nn.Softplus(), nn.Linear(width, width))
            for _ in range(2)
        )
        self.updates = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.energy = nn.Sequential(nn.Linear(width, width), nn.Softplus(), nn.Linear(width, 1))

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        distances = torch.linalg.vector_norm(x[:, self.receivers] - x[:, self.senders], dim=-1)
        bumps = torch.exp(-2 * (distances[..., None] - self.radii) ** 2)
        h = self.embedding(kinds)
        for filters, update in zip(self.filters, self.updates, strict=True):
            messages = h[:, self.senders] * filters(bumps)
            received = torch.zeros_like(h).index_add(1, self.receivers, messages)
            h = h + torch.tanh(update(received))
        return self.energy(h).sum((-1, -2))


def message_passing(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 8
) -> Problem:
    """Six atoms with kinds in args, two rounds of messages: gradient, hvp, hessian, laplacian."""
    network = as_drawn(MessagePassing(), dtype, device, generator)
    sites = torch.cartesian_prod(*(torch.arange(k, dtype=DOUBLE) for k in (3, 2, 1)))
    kinds = torch.randint(3, (batch, 6), generator=generator).to(device)
    return Problem(network, _near(1.2 * sites, dtype, device, generator, batch), args=(kinds,))
