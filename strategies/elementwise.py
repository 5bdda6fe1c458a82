"""First and second derivatives of elementwise operations, written down.

A rule gets the pre-activation a, the output h, whether σ″ is wanted, and what else the operation
was called with; it computes from whichever of a and h is cheaper. No σ″: it is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .functions import REAL

Slopes = tuple[Tensor, Tensor | None]
Rule = Callable[..., Slopes]

# In small networks launches are most of the time, and `1 - h * h` is two, one of a number. A tensor
# of the host beside those of a device is not taken everywhere.
_ONE = {dtype: torch.ones((), dtype=dtype) for dtype in REAL}


def _tanh(a: Tensor, h: Tensor, second: bool) -> Slopes:
    slope = torch.addcmul(_ONE[h.dtype], h, h, value=-1) if h.is_cpu else 1 - h * h
    return slope, -2 * h * slope if second else None


def _sigmoid(a: Tensor, h: Tensor, second: bool) -> Slopes:
    slope = torch.addcmul(h, h, h, value=-1)
    return slope, slope * (1 - 2 * h) if second else None


def _silu(a: Tensor, h: Tensor, second: bool) -> Slopes:
    s = torch.sigmoid(a)
    rest = 1 - s
    return s + h * rest, s * rest * (2 + a * (rest - s)) if second else None


def _softplus(
    a: Tensor, h: Tensor, second: bool, beta: float = 1.0, threshold: float = 20.0
) -> Slopes:
    # Above its threshold torch's own is the identity.
    linear = a * beta > threshold
    s = torch.sigmoid(a * beta)
    slope = torch.where(linear, 1.0, s)
    return slope, torch.where(linear, 0.0, beta * s * (1 - s)) if second else None


def _gelu(a: Tensor, h: Tensor, second: bool, approximate: str = "none") -> Slopes:
    if approximate == "tanh":
        return _gelu_tanh(a, second)
    density = torch.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
    slope = 0.5 * (1 + torch.erf(a / math.sqrt(2))) + a * density
    return slope, density * (2 - a * a) if second else None


def _gelu_tanh(a: Tensor, second: bool) -> Slopes:
    """Of `a (1 + tanh u) / 2` with `u = √(2/π) (a + c a³)`."""
    root, c = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(root * (a + c * a**3))
    du, s = root * (1 + 3 * c * a * a), 1 - t * t
    slope = 0.5 * (1 + t) + 0.5 * a * s * du
    if not second:
        return slope, None
    return slope, s * du + 0.5 * a * s * (6 * root * c * a - 2 * t * du * du)


def _elu(
    a: Tensor, h: Tensor, second: bool, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0
) -> Slopes:
    falling = alpha * scale * inner * torch.exp(inner * a.clamp(max=0))
    slope = torch.where(a > 0, scale, falling)
    return slope, torch.where(a > 0, 0.0, inner * falling) if second else None


def _mish(a: Tensor, h: Tensor, second: bool) -> Slopes:
    """Of `a tanh(softplus a)`."""
    t, s = torch.tanh(F.softplus(a)), torch.sigmoid(a)
    rest = (1 - t * t) * s
    slope = t + a * rest
    return slope, rest * (2 + a * (1 - s - 2 * t * s)) if second else None


def _power(a: Tensor, h: Tensor, second: bool, p: float) -> Slopes:
    # A factor of zero would meet an infinite power at a = 0.
    slope = p * a ** (p - 1) if p else torch.zeros_like(a)
    return slope, p * (p - 1) * a ** (p - 2) if second and p not in (0, 1) else None


def _relu(a: Tensor, h: Tensor, second: bool) -> Slopes:
    return (a > 0).to(a.dtype), None


def _leaky_relu(a: Tensor, h: Tensor, second: bool, below: float = 0.01) -> Slopes:
    return torch.where(a > 0, torch.ones_like(a), below), None


def _hardtanh(a: Tensor, h: Tensor, second: bool, low: float = -1.0, high: float = 1.0) -> Slopes:
    return ((a > low) & (a < high)).to(a.dtype), None


def _simple(
    slope: Callable[[Tensor, Tensor], Tensor], bend: Callable[[Tensor, Tensor], Tensor] | None
) -> Rule:
    """A rule from σ′ and σ″ as functions of a and h."""

    def rule(a: Tensor, h: Tensor, second: bool) -> Slopes:
        return slope(a, h), bend(a, h) if second and bend is not None else None

    return rule


# By the name of the operation of aten.
RULES: dict[str, Rule] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "gelu": _gelu,
    "elu": _elu,
    "mish": _mish,
    "pow": _power,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "hardtanh": _hardtanh,
    "abs": _simple(lambda a, h: a.sign(), None),
    "sin": _simple(lambda a, h: torch.cos(a), lambda a, h: -h),
    "cos": _simple(lambda a, h: -torch.sin(a), lambda a, h: -h),
    "sinh": _simple(lambda a, h: torch.cosh(a), lambda a, h: h),
    "cosh": _simple(lambda a, h: torch.sinh(a), lambda a, h: h),
    "atan": _simple(
        lambda a, h: 1 / (1 + a * a),
        lambda a, h: -2 * a / (1 + a * a) ** 2,
    ),
    "erf": _simple(
        lambda a, h: 2 / math.sqrt(math.pi) * torch.exp(-a * a),
        lambda a, h: -4 / math.sqrt(math.pi) * a * torch.exp(-a * a),
    ),
    "exp": _simple(lambda a, h: h, lambda a, h: h),
    "expm1": _simple(lambda a, h: h + 1, lambda a, h: h + 1),
    "log": _simple(lambda a, h: 1 / a, lambda a, h: -1 / (a * a)),
    "log1p": _simple(lambda a, h: 1 / (1 + a), lambda a, h: -1 / (1 + a) ** 2),
    "sqrt": _simple(lambda a, h: 0.5 / h, lambda a, h: -0.25 / (a * h)),
    "reciprocal": _simple(lambda a, h: -h * h, lambda a, h: 2 * h**3),
    "square": _simple(lambda a, h: 2 * a, lambda a, h: torch.full_like(a, 2.0)),
}


def bound(rule: Rule, rest: tuple[Any, ...], keywords: dict[str, Any]) -> Rule:
    """The rule of an operation called with further arguments."""
    if not rest and not keywords:
        return rule
    return lambda a, h, second: rule(a, h, second, *rest, **keywords)
