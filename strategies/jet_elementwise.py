"""Jets through elementwise functions of one tensor: for each its slope and its bend.

Where a function has a kink its second derivative is taken as 0 there and its slope as torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .jets import Jet, chain
from .registry import Unsupported

Bend = Tensor | int | float | None
# Of u, y = g(u) and the further arguments: g'(u) and g''(u).
Derivatives = Callable[..., tuple[Tensor | int | float, Bend]]


def _tanh(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = 1 - y * y
    return slope, -2 * y * slope


def _sigmoid(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = y * (1 - y)
    return slope, slope * (1 - 2 * y)


def _exp2(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    return y * math.log(2), y * math.log(2) ** 2


def _logarithm(base: float) -> Derivatives:
    def derivatives(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
        slope = 1 / (u * math.log(base))
        return slope, -slope / u

    return derivatives


def _log1p(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = 1 / (1 + u)
    return slope, -slope * slope


def _sqrt(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = 0.5 / y
    return slope, -0.5 * slope / u


def _rsqrt(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = -0.5 * y / u
    return slope, -1.5 * slope / u


def _reciprocal(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = -y * y
    return slope, -2 * slope * y


def power(u: Tensor, y: Tensor, p: float) -> tuple[Tensor | float, Bend]:
    if p == 2:
        return 2 * u, 2
    bend = p * (p - 1) * u ** (p - 2) if p * (p - 1) else None
    return (p * u ** (p - 1) if p else 0), bend


def _tan(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = 1 + y * y
    return slope, 2 * y * slope


def _inverse(slope_of: Callable[[Tensor], Tensor], sign: int) -> Derivatives:
    """A function with slope s(u) and bend `sign · u s³`."""

    def derivatives(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
        slope = slope_of(u)
        return slope, sign * u * slope**3

    return derivatives


def _rational(slope_of: Callable[[Tensor], Tensor], sign: int) -> Derivatives:
    """A function with slope s(u) and bend `sign · 2 u s²`."""

    def derivatives(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
        slope = slope_of(u)
        return slope, sign * 2 * u * slope**2

    return derivatives


def _error_function(sign: int) -> Derivatives:
    def derivatives(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
        slope = sign * 2 / math.sqrt(math.pi) * torch.exp(-u * u)
        return slope, -2 * u * slope

    return derivatives


def _erfinv(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    slope = math.sqrt(math.pi) / 2 * torch.exp(y * y)
    return slope, 2 * y * slope**2


def _between(u: Tensor, y: Tensor, low: Any = None, high: Any = None) -> tuple[Tensor, Bend]:
    inside = torch.ones_like(u, dtype=torch.bool)
    inside = inside if low is None else inside & (u >= low)
    return (inside if high is None else inside & (u <= high)).to(u), None


def _strictly_between(
    u: Tensor, y: Tensor, low: float = -1, high: float = 1
) -> tuple[Tensor, Bend]:
    return ((u > low) & (u < high)).to(u), None


def _below(u: Tensor, y: Tensor, high: Any) -> tuple[Tensor, Bend]:
    return (u <= high).to(u), None


def _outside(u: Tensor, y: Tensor, width: float = 0.5) -> tuple[Tensor, Bend]:
    return (u.abs() > width).to(u), None


def _leaky_relu(u: Tensor, y: Tensor, low: float = 0.01) -> tuple[Tensor, Bend]:
    return torch.where(u > 0, u.new_ones(()), low), None


def _elu(
    u: Tensor, y: Tensor, alpha: float = 1, scale: float = 1, inner: float = 1
) -> tuple[Tensor, Bend]:
    below = scale * alpha * inner * torch.exp(inner * u.clamp_max(0))
    return torch.where(u > 0, scale, below), torch.where(u > 0, 0, inner * below)


def _softplus(u: Tensor, y: Tensor, beta: float = 1, threshold: float = 20) -> tuple[Tensor, Bend]:
    straight, s = beta * u > threshold, torch.sigmoid(beta * u)
    return torch.where(straight, 1, s), torch.where(straight, 0, beta * s * (1 - s))


def _silu(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    s = torch.sigmoid(u)
    rest = 1 - s
    return s + y * rest, s * rest * (2 + u * (rest - s))


def _mish(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    t, s = torch.tanh(torch.nn.functional.softplus(u)), torch.sigmoid(u)
    slope = (1 - t * t) * s
    bend = slope * (1 - s - 2 * t * s)
    return t + u * slope, 2 * slope + u * bend


def _gelu(u: Tensor, y: Tensor, *, approximate: str = "none") -> tuple[Tensor, Bend]:
    if approximate == "tanh":
        return _gelu_tanh(u)
    below = 0.5 * (1 + torch.erf(u * math.sqrt(0.5)))
    density = torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi)
    return below + u * density, density * (2 - u * u)


def _gelu_tanh(u: Tensor) -> tuple[Tensor, Bend]:
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = torch.tanh(k * (u + c * u**3))
    z1, z2 = k * (1 + 3 * c * u * u), 6 * k * c * u
    w = 1 - t * t
    return 0.5 * (1 + t) + 0.5 * u * w * z1, w * z1 + 0.5 * u * w * (z2 - 2 * t * z1 * z1)


def _hardswish(u: Tensor, y: Tensor) -> tuple[Tensor, Bend]:
    inside = (u > -3) & (u < 3)
    slope = torch.where(inside, u / 3 + 0.5, (u >= 3).to(u))
    return slope, inside.to(u) / 3


def _polygamma(order: int) -> Derivatives:
    return lambda u, y: (torch.polygamma(order, u), torch.polygamma(order + 1, u))


UNARY: dict[str, Derivatives] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "exp": lambda u, y: (y, y),
    "exp2": _exp2,
    "expm1": lambda u, y: (y + 1, y + 1),
    "log": _logarithm(math.e),
    "log2": _logarithm(2),
    "log10": _logarithm(10),
    "log1p": _log1p,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": _reciprocal,
    "square": lambda u, y: (2 * u, 2),
    "sin": lambda u, y: (torch.cos(u), -y),
    "cos": lambda u, y: (-torch.sin(u), -y),
    "tan": _tan,
    "asin": _inverse(lambda u: torch.rsqrt(1 - u * u), 1),
    "acos": _inverse(lambda u: -torch.rsqrt(1 - u * u), 1),
    "atan": _rational(lambda u: 1 / (1 + u * u), -1),
    "sinh": lambda u, y: (torch.cosh(u), y),
    "cosh": lambda u, y: (torch.sinh(u), y),
    "asinh": _inverse(lambda u: torch.rsqrt(1 + u * u), -1),
    "acosh": _inverse(lambda u: torch.rsqrt(u * u - 1), -1),
    "atanh": _rational(lambda u: 1 / (1 - u * u), 1),
    "erf": _error_function(1),
    "erfc": _error_function(-1),
    "erfinv": _erfinv,
    "abs": lambda u, y: (torch.sign(u), None),
    "relu": lambda u, y: ((u > 0).to(u), None),
    "clamp": _between,
    "clamp_min": _between,
    "clamp_max": _below,
    "hardtanh": _strictly_between,
    "hardsigmoid": lambda u, y: (_strictly_between(u, y, -3, 3)[0] / 6, None),
    "hardswish": _hardswish,
    "threshold": lambda u, y, low, value: ((u > low).to(u), None),
    "softshrink": _outside,
    "hardshrink": _outside,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "silu": _silu,
    "mish": _mish,
    "gelu": _gelu,
    "lgamma": lambda u, y: (torch.digamma(u), torch.polygamma(1, u)),
    "digamma": _polygamma(1),
    "frac": lambda u, y: (1, None),
    "fmod": lambda u, y, divisor: (1, None),
    "remainder": lambda u, y, divisor: (1, None),
    "logit": lambda u, y: (1 / (u * (1 - u)), (2 * u - 1) / (u * (1 - u)) ** 2),
}


def only_first(op: Any, u: Any, rest: Any) -> Jet:
    """u, where it alone depends on x."""
    if not isinstance(u, Jet) or any(isinstance(arg, Jet) for arg in rest):
        raise Unsupported(f"no rule for {op} in Taylor mode with x in a further argument")
    return u


def unary(derivatives: Derivatives) -> Callable[..., Any]:
    def rule(op: Callable[..., Tensor], u: Any, *args: Any, **kwargs: Any) -> Jet:
        u = only_first(op, u, args)
        y = op(u.value, *args, **kwargs)
        return chain(u, y, *derivatives(u.value, y, *args, **kwargs))

    return rule


def _log_sigmoid(op: Callable[..., Any], u: Jet) -> tuple[Jet, Tensor]:
    y, buffer = op(u.value)
    slope = torch.sigmoid(-u.value)
    return chain(u, y, slope, slope * (slope - 1)), buffer


def _prelu(op: Callable[..., Tensor], u: Any, weight: Tensor) -> Jet:
    u = only_first(op, u, (weight,))
    y = op(u.value, weight)
    return chain(u, y, torch.where(u.value > 0, 1, weight.expand_as(y)), None)


RULES: dict[str, Callable[..., Any]] = {
    **{name: unary(derivatives) for name, derivatives in UNARY.items()},
    "log_sigmoid_forward": _log_sigmoid,
    "_prelu_kernel": _prelu,
}
