"""Jets through elementwise functions of one tensor, by the table of `elementwise`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import elementwise
from .jets import Jet, chain
from .registry import Unsupported


def only_first(op: Any, u: Any, rest: Any) -> Jet:
    """u, where it alone depends on x."""
    if not isinstance(u, Jet) or any(isinstance(arg, Jet) for arg in rest):
        raise Unsupported(f"no rule for {op} in Taylor mode with x in a further argument")
    return u


def _unary(derivatives: elementwise.Rule) -> Callable[..., Any]:
    def rule(op: Callable[..., Tensor], u: Any, *args: Any, **kwargs: Any) -> Jet:
        u = only_first(op, u, args)
        y = op(u.value, *args, **kwargs)
        return chain(u, y, *derivatives(u.value, y, True, *args, **kwargs))

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
    **{name: _unary(derivatives) for name, derivatives in elementwise.RULES.items()},
    "log_sigmoid_forward": _log_sigmoid,
    "_prelu_kernel": _prelu,
}
