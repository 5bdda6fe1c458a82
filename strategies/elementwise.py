"""First and second derivatives of elementwise operations of one tensor, written down.

A rule gets the argument a, the result h, whether σ″ is wanted, and what else the operation was
called with; it computes from whichever of a and h is cheaper, and gives a number where the
derivative is one. No σ″: it is zero. At a kink σ″ is taken as 0, and σ′ as torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .functions import REAL

Slope = Tensor | float
Bend = Tensor | float | None
Rule = Callable[..., tuple[Slope, Bend]]

# In small networks launches are most of the time, and `1 - h * h` is two, one of a number. A tensor
# of the host beside those of a device is not taken everywhere.
_ONE = {dtype: torch.ones((), dtype=dtype) for dtype in REAL}


def _tanh(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
    slope = torch.addcmul(_ONE[h.dtype], h, h, value=-1) if h.is_cpu else 1 - h * h
    return slope, -2 * h * slope if second else None


def _sigmoid(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
    slope = torch.addcmul(h, h, h, value=-1)
    return slope, slope * (1 - 2 * h) if second else None


def _silu(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
    s = torch.sigmoid(a)
    rest = 1 - s
    return s + h * rest, s * rest * (2 + a * (rest - s)) if second else None


def _softplus(
    a: Tensor, h: Tensor, second: bool, beta: float = 1.0, threshold: float = 20.0
) -> tuple[Slope, Bend]:
    # Above its threshold torch's own is the identity.
    linear = a * beta > threshold
    s = torch.sigmoid(a * beta)
    slope = torch.where(linear, 1.0, s)
    return slope, torch.where(linear, 0.0, beta * s * (1 - s)) if second else None


def _gelu(a: Tensor, h: Tensor, second: bool, approximate: str = "none") -> tuple[Slope, Bend]:
    if approximate == "tanh":
        return _gelu_tanh(a, second)
    density = torch.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
    slope = 0.5 * (1 + torch.erf(a / math.sqrt(2))) + a * density
    return slope, density * (2 - a * a) if second else None


def _gelu_tanh(a: Tensor, second: bool) -> tuple[Slope, Bend]:
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
) -> tuple[Slope, Bend]:
    falling = alpha * scale * inner * torch.exp(inner * a.clamp(max=0))
    slope = torch.where(a > 0, scale, falling)
    return slope, torch.where(a > 0, 0.0, inner * falling) if second else None


def _mish(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
    """Of `a tanh(softplus a)`."""
    t, s = torch.tanh(F.softplus(a)), torch.sigmoid(a)
    rest = (1 - t * t) * s
    slope = t + a * rest
    return slope, rest * (2 + a * (1 - s - 2 * t * s)) if second else None


def _power(a: Tensor, h: Tensor, second: bool, p: float) -> tuple[Slope, Bend]:
    # A factor of zero would meet an infinite power at a = 0.
    slope: Slope = p * a ** (p - 1) if p not in (0, 1, 2) else (0.0, 1.0, 2 * a)[int(p)]
    if not second or p in (0, 1):
        return slope, None
    return slope, 2.0 if p == 2 else p * (p - 1) * a ** (p - 2)


def _leaky_relu(a: Tensor, h: Tensor, second: bool, below: float = 0.01) -> tuple[Slope, Bend]:
    return torch.where(a > 0, a.new_ones(()), below), None


def _hardswish(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
    inside = (a > -3) & (a < 3)
    slope = torch.where(inside, a / 3 + 0.5, (a >= 3).to(a))
    return slope, inside.to(a) / 3 if second else None


def _between(
    a: Tensor, h: Tensor, second: bool, low: Any = None, high: Any = None
) -> tuple[Slope, Bend]:
    inside = torch.ones_like(a, dtype=torch.bool)
    inside = inside if low is None else inside & (a >= low)
    return (inside if high is None else inside & (a <= high)).to(a), None


def _strictly_between(low: float, high: float, slope: float = 1.0) -> Rule:
    """A slope within two bounds, which may be given, and none outside."""

    def rule(
        a: Tensor, h: Tensor, second: bool, low: float = low, high: float = high
    ) -> tuple[Slope, Bend]:
        inside = ((a > low) & (a < high)).to(a)
        return inside if slope == 1 else inside * slope, None

    return rule


def _straight(slope: Callable[..., Slope]) -> Rule:
    """A rule from σ′ as a function of a and of what else was given, where σ″ is zero."""
    return lambda a, h, second, *rest: (slope(a, *rest), None)


def _curved(
    slope: Callable[[Tensor, Tensor], Tensor], bend: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Rule:
    """A rule from σ′(a, h) and σ″(a, h, σ′)."""

    def rule(a: Tensor, h: Tensor, second: bool) -> tuple[Slope, Bend]:
        found = slope(a, h)
        return found, bend(a, h, found) if second else None

    return rule


def _logarithm(base: float) -> Rule:
    return _curved(lambda a, h: 1 / (a * math.log(base)), lambda a, h, s: -s / a)


def _inverse(slope: Callable[[Tensor], Tensor], sign: int) -> Rule:
    """Of slope s(a) and bend `sign · a s³`."""
    return _curved(lambda a, h: slope(a), lambda a, h, s: sign * a * s**3)


def _rational(slope: Callable[[Tensor], Tensor], sign: int) -> Rule:
    """Of slope s(a) and bend `sign · 2 a s²`."""
    return _curved(lambda a, h: slope(a), lambda a, h, s: sign * 2 * a * s**2)


def _error_function(sign: int) -> Rule:
    factor = sign * 2 / math.sqrt(math.pi)
    return _curved(lambda a, h: factor * torch.exp(-a * a), lambda a, h, s: -2 * a * s)


_exponential = _curved(lambda a, h: h, lambda a, h, s: h)

# By the name of the operation of aten.
RULES: dict[str, Rule] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "gelu": _gelu,
    "elu": _elu,
    "mish": _mish,
    "relu": _straight(lambda a: (a > 0).to(a)),
    "leaky_relu": _leaky_relu,
    "hardtanh": _strictly_between(-1.0, 1.0),
    "hardsigmoid": _strictly_between(-3.0, 3.0, 1 / 6),
    "hardswish": _hardswish,
    "threshold": _straight(lambda a, low, value: (a > low).to(a)),
    **dict.fromkeys(
        ("softshrink", "hardshrink"), _straight(lambda a, width=0.5: (a.abs() > width).to(a))
    ),
    **dict.fromkeys(("clamp", "clamp_min"), _between),
    "clamp_max": _straight(lambda a, high: (a <= high).to(a)),
    "abs": _straight(torch.sign),
    "frac": _straight(lambda a: 1.0),
    **dict.fromkeys(("fmod", "remainder"), _straight(lambda a, divisor: 1.0)),
    "square": lambda a, h, second: (2 * a, 2.0 if second else None),
    "pow": _power,
    "sqrt": _curved(lambda a, h: 0.5 / h, lambda a, h, s: -0.5 * s / a),
    "rsqrt": _curved(lambda a, h: -0.5 * h / a, lambda a, h, s: -1.5 * s / a),
    "reciprocal": _curved(lambda a, h: -h * h, lambda a, h, s: -2 * s * h),
    "exp": _exponential,
    "exp2": _curved(lambda a, h: h * math.log(2), lambda a, h, s: s * math.log(2)),
    "expm1": _curved(lambda a, h: h + 1, lambda a, h, s: s),
    "log": _curved(lambda a, h: 1 / a, lambda a, h, s: -s * s),
    "log2": _logarithm(2),
    "log10": _logarithm(10),
    "log1p": _curved(lambda a, h: 1 / (1 + a), lambda a, h, s: -s * s),
    "logit": _curved(lambda a, h: 1 / (a * (1 - a)), lambda a, h, s: (2 * a - 1) * s * s),
    "sin": _curved(lambda a, h: torch.cos(a), lambda a, h, s: -h),
    "cos": _curved(lambda a, h: -torch.sin(a), lambda a, h, s: -h),
    "tan": _curved(lambda a, h: 1 + h * h, lambda a, h, s: 2 * h * s),
    "asin": _inverse(lambda a: torch.rsqrt(1 - a * a), 1),
    "acos": _inverse(lambda a: -torch.rsqrt(1 - a * a), 1),
    "atan": _rational(lambda a: 1 / (1 + a * a), -1),
    "sinh": _curved(lambda a, h: torch.cosh(a), lambda a, h, s: h),
    "cosh": _curved(lambda a, h: torch.sinh(a), lambda a, h, s: h),
    "asinh": _inverse(lambda a: torch.rsqrt(1 + a * a), -1),
    "acosh": _inverse(lambda a: torch.rsqrt(a * a - 1), -1),
    "atanh": _rational(lambda a: 1 / (1 - a * a), 1),
    "erf": _error_function(1),
    "erfc": _error_function(-1),
    "erfinv": _curved(
        lambda a, h: math.sqrt(math.pi) / 2 * torch.exp(h * h), lambda a, h, s: 2 * h * s**2
    ),
    "lgamma": _curved(lambda a, h: torch.digamma(a), lambda a, h, s: torch.polygamma(1, a)),
    "digamma": _curved(lambda a, h: torch.polygamma(1, a), lambda a, h, s: torch.polygamma(2, a)),
}


def bound(rule: Rule, rest: tuple[Any, ...], keywords: dict[str, Any]) -> Rule:
    """The rule of an operation called with further arguments."""
    if not rest and not keywords:
        return rule
    return lambda a, h, second: rule(a, h, second, *rest, **keywords)
