"""Third and fourth derivatives of elementwise operations, out of the rules for the first two.

Those of common layers are written down. All others are derivatives of the rule's σ″ by forward
mode, in which h moves by the rule's own σ′: the operation itself is not differentiated by torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from .elementwise import RULES, Bend, Rule, Slope

Higher = tuple[Tensor | None, Tensor | None]
Two = Callable[[Tensor, Tensor], Tensor]


def _silu(a: Tensor, h: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """Of `a s(a)`: the k-th derivative is `a s⁽ᵏ⁾ + k s⁽ᵏ⁻¹⁾`."""
    s = torch.sigmoid(a)
    first = s * (1 - s)
    second, third = first * (1 - 2 * s), first * (1 - 6 * first)
    return a * third + 3 * second, a * second * (1 - 12 * first) + 4 * third


def _gelu(a: Tensor, h: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    density, square = torch.exp(-0.5 * a * a) / math.sqrt(2 * math.pi), a * a
    return a * density * (square - 4), density * (square * (7 - square) - 4)


# Out of a, h = σ(a), σ′ and σ″; by the rule, which is another one where more was given than a.
_WRITTEN: dict[Rule, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    RULES["tanh"]: lambda a, h, s, b: (s * (6 * h * h - 2), b * (12 * h * h - 8)),
    RULES["sigmoid"]: lambda a, h, s, b: (s * (1 - 6 * s), b * (1 - 12 * s)),
    RULES["softplus"]: lambda a, h, s, b: (b * (1 - 2 * s), b * (1 - 6 * b)),
    RULES["silu"]: _silu,
    RULES["gelu"]: _gelu,
    RULES["sin"]: lambda a, h, s, b: (-s, h),
    RULES["cos"]: lambda a, h, s, b: (-s, h),
    RULES["exp"]: lambda a, h, s, b: (h, h),
}


def higher(rule: Rule, a: Tensor, h: Tensor, slope: Slope, bend: Bend) -> Higher:
    """`σ‴(a)` and `σ⁗(a)` of `h = σ(a)`, both `[B, k]`; None where zero."""
    if not (isinstance(slope, Tensor) and isinstance(bend, Tensor)):
        return None, None
    if rule in _WRITTEN:
        return _WRITTEN[rule](a, h, slope, bend)
    one = torch.ones_like(a)

    def by_rule(order: int) -> Two:
        def entries(a: Tensor, h: Tensor) -> Tensor:
            found = rule(a, h, True)[order]
            # A number where the derivative is one.
            return found if isinstance(found, Tensor) else torch.full_like(a, found or 0.0)

        return entries

    def differentiated(g: Two) -> Two:
        return lambda a, h: jvp(g, (a, h), (one, by_rule(0)(a, h)))[1]

    third = differentiated(by_rule(1))
    return third(a, h), differentiated(third)(a, h)
