"""A problem: the function, the point and what is known exactly about its derivatives there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from strategies import DIRECTIONS, Operator

Array = np.ndarray
# "value", "jacobian", "hessian", "hessian-diagonal", "laplacian" -> the flattened result in
# float64: [B, m], [B, m, n], [B, m, n, n], [B, m, n], [B, m]; "fourth" -> ∂⁴f/∂xᵢ²∂xⱼ²,
# [B, m, n, n].
Exact = Mapping[str, Callable[[], Array]]


@dataclass(frozen=True)
class Layers:
    """f as a chain: affine layers between `widths`, an elementwise one after each but the last.

    The first width is that of a row of x; `beside`: further inputs of the first layer, from args.
    """

    widths: tuple[int, ...]
    beside: int = 0


@dataclass(frozen=True)
class Problem:
    """`f(x, *args)` with `x: [B, *in]`; `exact` holds closed forms at these very values.

    `constant` names the derivatives, "jacobian", "hessian" or "fourth", that are constant or zero
    by the nature of f: the gate refuses to judge by such a reference where it is not declared.
    `layers`, where f is such a chain, tells the least work that is known for its derivatives.
    """

    f: Callable[..., Tensor]
    x: Tensor
    args: tuple[Tensor, ...] = ()
    exact: Exact = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
    layers: Layers | None = None


def direction(operator: Operator, problem: Problem, out_shape: tuple[int, ...]) -> Tensor | None:
    """The direction v of vjp, jvp and hvp: the same standard normal values for every strategy."""
    side = DIRECTIONS.get(operator)
    if side is None:
        return None
    x = problem.x
    shape = (x.shape[0], *(out_shape if side == "out" else x.shape[1:]))
    generator = torch.Generator().manual_seed(prod(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(x)
