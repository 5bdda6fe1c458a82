"""Turning points by rotation vectors, smooth at every angle, the zero one included.

NOTE [near zero]
With s = r·r and θ = √s, Rodrigues' formula is

    R p = p + a r×p + b r×(r×p),  a = sin θ / θ,  b = (1 − cos θ) / θ²

a and b are entire functions of s, but √s has no derivative at zero and the quotients lose digits
near it: below s = 1e-2 their alternating Taylor series are used, whose first omitted term is under
3e-18 there. The unused branch of a `where` still takes part in the derivative, as 0 · ∞ where it is
singular, so that it is given s = 1 instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 1e-2
SINE = (1, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880)
COSINE = (1 / 2, 1 / 24, 1 / 720, 1 / 40320, 1 / 3628800)


def rotate(r: Tensor, p: Tensor) -> Tensor:
    """`p: [..., 3]` turned by `r: [..., 3]` of as many dimensions, see NOTE [near zero]."""
    s = r.square().sum(-1, keepdim=True)
    near = s < NEAR
    away = torch.where(near, 1.0, s)
    angle = away.sqrt()
    a = torch.where(near, _alternating(SINE, s), angle.sin() / angle)
    b = torch.where(near, _alternating(COSINE, s), (1 - angle.cos()) / away)
    across = torch.linalg.cross(r, p)
    return p + a * across + b * torch.linalg.cross(r, across)


def _alternating(coefficients: Sequence[float], s: Tensor) -> Tensor:
    """`Σ cₖ (−s)ᵏ`, by Horner."""
    total = torch.full_like(s, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = c - s * total
    return total
