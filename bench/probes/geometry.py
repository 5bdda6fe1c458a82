"""Probes of norms, distances and linear algebra."""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import Draw, Layer, probe


def _matrices(x: Tensor) -> Tensor:
    """`[B, 2, 2]` near twice the identity, curved in x."""
    return 2 * torch.eye(2, dtype=x.dtype, device=x.device) + 0.5 * (x * x + x).reshape(-1, 2, 2)


@probe(n=6)
def cdist(draw: Draw) -> Layer:
    """cdist to fixed points."""
    points = 2 + draw(3, 2)
    return lambda x: torch.cdist(x.reshape(-1, 3, 2), points.expand(len(x), 3, 2))


@probe()
def norm(draw: Draw) -> Layer:
    """The norm, away from 0."""
    return lambda x: (x + 3).norm(dim=-1)


@probe(at=0.0)
def norm_at_zero(draw: Draw) -> Layer:
    """The squared norm by way of the norm, at 0: smooth, its Hessian twice the identity."""
    return lambda x: x.norm(dim=-1) ** 2


@probe()
def det(draw: Draw) -> Layer:
    """The determinant."""
    return lambda x: torch.linalg.det(_matrices(x))


@probe()
def slogdet(draw: Draw) -> Layer:
    """slogdet, as in a wave function."""
    return lambda x: torch.linalg.slogdet(_matrices(x))[1]


@probe()
def logdet(draw: Draw) -> Layer:
    """logdet, as in a flow."""
    return lambda x: torch.logdet(_matrices(x))


@probe()
def solve(draw: Draw) -> Layer:
    """A linear solve of which both sides depend on x."""
    return lambda x: torch.linalg.solve(_matrices(x), torch.stack([x[:, 0], x[:, 1] ** 2], -1))


@probe()
def inverse(draw: Draw) -> Layer:
    """The inverse of a matrix."""
    return lambda x: torch.linalg.inv(_matrices(x))


@probe()
def cholesky(draw: Draw) -> Layer:
    """The Cholesky factor of a Gram matrix."""
    return lambda x: torch.linalg.cholesky(_matrices(x) @ _matrices(x).mT)
