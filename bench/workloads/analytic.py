"""Functions in closed form, with hand-derived gradients and Hessians."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..problem import Problem
from .registry import workload
from .values import float64, normal


@workload(version=1)
def rosenbrock(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 16,
) -> Problem:
    """Rosenbrock's valley, Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²: a tridiagonal Hessian."""
    x = normal((batch, n), dtype, device, generator)
    z = float64(x)
    exact = {
        "value": lambda: _valley(z),
        "jacobian": lambda: _valley_gradient(z)[:, None],
        "hessian": lambda: _valley_hessian(z)[:, None],
        "fourth": lambda: np.repeat(_valley_fourth(n)[None, None], batch, 0),
    }

    def f(x: Tensor) -> Tensor:
        here, ahead = x[:, :-1], x[:, 1:]
        return (100 * (ahead - here**2) ** 2 + (1 - here) ** 2).sum(-1)

    return Problem(f, x, exact=exact, constant=frozenset({"fourth"}))


def _valley(z: np.ndarray) -> np.ndarray:
    here, ahead = z[:, :-1], z[:, 1:]
    return (100 * (ahead - here**2) ** 2 + (1 - here) ** 2).sum(1, keepdims=True)


def _valley_gradient(z: np.ndarray) -> np.ndarray:
    here, ahead = z[:, :-1], z[:, 1:]
    gradient = np.zeros_like(z)
    gradient[:, :-1] = -400 * here * (ahead - here**2) - 2 * (1 - here)
    gradient[:, 1:] += 200 * (ahead - here**2)
    return gradient


def _valley_hessian(z: np.ndarray) -> np.ndarray:
    (B, n), here, ahead = z.shape, z[:, :-1], z[:, 1:]
    hessian, i = np.zeros((B, n, n)), np.arange(n - 1)
    hessian[:, i, i] = 1200 * here**2 - 400 * ahead + 2
    hessian[:, i + 1, i + 1] += 200
    hessian[:, i, i + 1] = hessian[:, i + 1, i] = -400 * here
    return hessian


def _valley_fourth(n: int) -> np.ndarray:
    """`∂⁴f/∂xᵢ²∂xⱼ²: [n, n]`: of 100 xᵢ⁴ alone, since xᵢ₊₁xᵢ² is of order three."""
    return np.diag([2400.0] * (n - 1) + [0.0])


@workload(version=1)
def log_sum_exp(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 16,
    n: int = 64,
) -> Problem:
    """log Σ exp xᵢ: gradient p = softmax(x), Hessian diag(p) − ppᵀ."""
    x = normal((batch, n), dtype, device, generator)
    z = float64(x)

    def p() -> np.ndarray:
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    exact = {
        "value": lambda: np.log(np.exp(z).sum(1, keepdims=True)),
        "jacobian": lambda: p()[:, None],
        "hessian": lambda: (p()[:, :, None] * np.eye(n) - p()[:, :, None] * p()[:, None])[:, None],
        "fourth": lambda: _fourth_cumulants(p())[:, None],
    }
    return Problem(lambda x: x.logsumexp(-1), x, exact=exact)


def _fourth_cumulants(p: np.ndarray) -> np.ndarray:
    """`[B, n, n]`: derivatives of log Σ exp xᵢ are the joint cumulants of a draw by p of one of n,
    κᵢᵢⱼⱼ = μᵢᵢⱼⱼ - μᵢᵢμⱼⱼ - 2μᵢⱼ² with the central moments μ."""
    own, other = p[:, :, None], p[:, None]
    variance = p * (1 - p)
    moment = own * other * ((1 - own) ** 2 * other + (1 - other) ** 2 * own)
    moment += (1 - own - other) * own**2 * other**2
    found = moment - variance[:, :, None] * variance[:, None] - 2 * (own * other) ** 2
    i = np.arange(p.shape[1])
    found[:, i, i] = variance * (1 - 6 * variance)
    return found
