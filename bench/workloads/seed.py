"""The three examples that everyone tries first, see docs/seeds.md."""

from __future__ import annotations

import numpy as np
import torch

from ..problem import Problem
from .registry import workload
from .values import float64, normal

LINEAR = frozenset({"jacobian", "hessian"})


@workload(version=1)
def seed_sum(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 8,
) -> Problem:
    """y = sum(x) of each row."""
    x = normal((batch, n), dtype, device, generator)
    z = float64(x)
    exact = {
        "value": lambda: z.sum(1, keepdims=True),
        "jacobian": lambda: np.ones((batch, 1, n)),
        "hessian": lambda: np.zeros((batch, 1, n, n)),
    }
    return Problem(lambda x: x.sum(-1), x, exact=exact, constant=LINEAR)


@workload(version=1)
def seed_pair(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 16
) -> Problem:
    """y = x[:, 0] + x[:, 1]."""
    x = normal((batch, 2), dtype, device, generator)
    z = float64(x)
    exact = {
        "value": lambda: z.sum(1, keepdims=True),
        "jacobian": lambda: np.ones((batch, 1, 2)),
        "hessian": lambda: np.zeros((batch, 1, 2, 2)),
    }
    return Problem(lambda x: x[:, 0] + x[:, 1], x, exact=exact, constant=LINEAR)


@workload(version=1)
def seed_square(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 8,
) -> Problem:
    """y = x² of each entry."""
    x = normal((batch, n), dtype, device, generator)
    z, eye = float64(x), np.eye(n)
    exact = {
        "value": lambda: z**2,
        "jacobian": lambda: 2 * z[:, :, None] * eye,
        "hessian": lambda: np.broadcast_to(2 * _cube(n), (batch, n, n, n)).copy(),
    }
    return Problem(lambda x: x**2, x, exact=exact, constant=frozenset({"hessian"}))


def _cube(n: int) -> np.ndarray:
    """`[n, n, n]`, one where all three indices are equal."""
    cube = np.zeros((n, n, n))
    cube[np.arange(n), np.arange(n), np.arange(n)] = 1
    return cube
