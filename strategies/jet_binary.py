"""Jets through elementwise functions of two tensors: for each its slopes and its bends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .jet_elementwise import RULES as UNARY
from .jets import Jet, add, bivariate, multiply, value_of

# Of a, b and y = g(a, b): the slopes g_a, g_b and the bends g_aa, g_ab, g_bb.
Partials = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def _logaddexp(a: Tensor, b: Tensor, y: Tensor) -> Partials:
    s = torch.sigmoid(a - b)
    bend = s * (1 - s)
    return (s, 1 - s), (bend, -bend, bend)


def _atan2(a: Tensor, b: Tensor, y: Tensor) -> Partials:
    r = a * a + b * b
    bend = 2 * a * b / r**2
    return (b / r, -a / r), (-bend, (a * a - b * b) / r**2, bend)


def _hypot(a: Tensor, b: Tensor, y: Tensor) -> Partials:
    return (a / y, b / y), (b * b / y**3, -a * b / y**3, a * a / y**3)


def _xlogy(a: Tensor, b: Tensor, y: Tensor) -> Partials:
    return (torch.log(b), a / b), (torch.zeros_like(y), 1 / b, -a / b**2)


def _power(a: Tensor, b: Tensor, y: Tensor) -> Partials:
    log, below = torch.log(a), a ** (b - 1)
    slopes = (b * below, y * log)
    return slopes, (b * (b - 1) * a ** (b - 2), below * (1 + b * log), slopes[1] * log)


def _binary(partials: Callable[[Tensor, Tensor, Tensor], Partials]) -> Callable[..., Any]:
    def rule(op: Callable[..., Tensor], a: Any, b: Any) -> Jet:
        y = op(value_of(a), value_of(b))
        left, right = (torch.as_tensor(value_of(t), dtype=y.dtype, device=y.device) for t in (a, b))
        return bivariate(a, b, y, *partials(left, right, y))

    return rule


def _chosen(sign: int) -> Callable[..., Any]:
    """`maximum` and `minimum`; where both are equal, half of each slope."""

    def rule(op: Callable[..., Tensor], a: Any, b: Any) -> Any:
        share = 0.5 + 0.5 * sign * torch.sign(value_of(a) - value_of(b))
        return add(multiply(a, share), multiply(b, 1 - share))

    return rule


_power_of = _binary(_power)


def _any_power(op: Callable[..., Tensor], a: Any, b: Any) -> Any:
    return _power_of(op, a, b) if isinstance(b, Jet | Tensor) else UNARY["pow"](op, a, b)


RULES: dict[str, Callable[..., Any]] = {
    "pow": _any_power,
    "logaddexp": _binary(_logaddexp),
    "atan2": _binary(_atan2),
    "hypot": _binary(_hypot),
    "xlogy": _binary(_xlogy),
    **dict.fromkeys(("maximum", "fmax"), _chosen(1)),
    **dict.fromkeys(("minimum", "fmin"), _chosen(-1)),
}
