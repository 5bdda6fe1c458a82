"""ADBench's Gaussian mixture: one number of many parameters, for reverse mode and curvature.

F. Šrajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic differentiation tools on
some problems in computer vision and machine learning", 2018; layouts are in docs/adbench.md.

NOTE [objective]
With weights softmax(α), means μ and inverse covariances Lᵀ L of lower triangular L, whose diagonal
is exp(q), the log-likelihood of the N points x is

    −N d/2 log 2π + Σ_i logsumexp_k(α_k + Σ q_k − ½ |L_k (x_i − μ_k)|²) − N logsumexp(α)

to which ADBench adds, with its own sign, the logarithm of a Wishart prior of parameters γ and m:

    Σ_k (½ γ² |L_k|² − m Σ q_k) − K (c d (log γ − ½ log 2) − log Γ_d(c / 2)),  c = d + m + 1
"""

from __future__ import annotations

import math

import scipy.special
import torch
from torch import Tensor

from ..problem import Problem
from .adbench_data import Mixture
from .adbench_files import data_file, read_mixture
from .registry import workload
from .values import CPU, around, normal


@workload(version=1)
def gaussian_mixture(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    d: int = 2,
    components: int = 3,
    points: int = 50,
    file: str | None = None,
) -> Problem:
    """ADBench's Gaussian mixture of K components, K (1 + d + d(d+1)/2) -> 1: its log-likelihood.

    With the Wishart prior, see NOTE [objective]. With `file`, as `gmm/test.txt` under
    `ADBENCH_DATA`, the sizes are the file's.
    """
    mixture = read_mixture(data_file(file)) if file else _made(generator, d, components, points)
    (N, d), K = mixture.data.shape, len(mixture.alphas)
    data, corners = mixture.data.to(device, dtype), _corners(d).to(device)
    constant = _constant(mixture)

    def f(x: Tensor) -> Tensor:
        alphas, means, icf = x.split([K, K * d, K * d * (d + 1) // 2], 1)
        icf = icf.unflatten(1, (K, -1))
        q = icf[..., :d].sum(-1)
        L = _triangular(icf, d, corners)
        aside = (data - means.unflatten(1, (K, 1, d))) @ L.mT
        each = (alphas + q)[..., None] - 0.5 * aside.square().sum(-1)
        likelihood = each.logsumexp(1).sum(-1) - N * alphas.logsumexp(-1)
        squares = mixture.gamma**2 / 2 * L.square().sum((-1, -2, -3))
        return constant + likelihood + squares - mixture.m * q.sum(-1)

    start = torch.cat([part.flatten() for part in (mixture.alphas, mixture.means, mixture.icf)])
    return Problem(f, around(start, batch, dtype, device, generator))


def _triangular(icf: Tensor, d: int, corners: Tensor) -> Tensor:
    """`[..., d (d + 1) / 2]` to the lower triangular `[..., d, d]`."""
    zero = torch.zeros_like(icf[..., :1])
    return torch.cat([icf[..., :d].exp(), icf[..., d:], zero], -1)[..., corners]


def _corners(d: int) -> Tensor:
    """`[d, d]`: where each entry of the triangular factor is in icf, one past its end if zero."""
    found = torch.full((d, d), d * (d + 1) // 2)
    found.fill_diagonal_(0).diagonal().copy_(torch.arange(d))
    column, row = torch.triu_indices(d, d, offset=1)
    found[row, column] = torch.arange(d, d * (d + 1) // 2)
    return found


def _constant(mixture: Mixture) -> float:
    """What of the objective no parameter moves."""
    (N, d), K = mixture.data.shape, len(mixture.alphas)
    c = d + mixture.m + 1
    prior = c * d * (math.log(mixture.gamma) - math.log(2) / 2)
    prior -= float(scipy.special.multigammaln(c / 2, d))
    return -N * d / 2 * math.log(2 * math.pi) - K * prior


def _made(generator: torch.Generator, d: int, K: int, N: int) -> Mixture:
    """Drawn as ADBench draws: standard normal, means in the unit cube, γ = 1 and m = 0."""

    def drawn(*shape: int) -> Tensor:
        return normal(shape, torch.float64, CPU, generator)

    means = torch.rand((K, d), generator=generator, dtype=torch.float64)
    return Mixture(drawn(K), means, drawn(K, d * (d + 1) // 2), drawn(N, d), 1.0, 0)
