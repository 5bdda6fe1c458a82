"""Jets: the value of a function, its derivatives along directions, and its second derivatives.

What carries them forward, whatever the operation: the chain rule, linear and bilinear maps. In the
collapsed form only the sum of the second derivatives over all directions is carried.

Sources: Griewank and Walther, Evaluating Derivatives, ch. 13 (propagation of Taylor polynomials);
Li et al. 2024, A computational framework for neural network-based variational Monte Carlo with
Forward Laplacian; Dangel et al. 2025, Collapsing Taylor mode automatic differentiation.

NOTE [expanded tangents]
Up to where rows meet parameters other than linearly, the tangents of all rows are alike: a
dimension of stride 0. Rules drop such a dimension before they compute, and expand the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from .registry import Unsupported


class Seconds(Enum):
    """Which second derivatives a jet carries: none, their sum over the directions, or each."""

    NONE = auto()
    SUM = auto()
    EACH = auto()


@dataclass(frozen=True, eq=False)
class Jet:
    """`value: [*S]`, `first: [n, *S]`, one tangent a direction, and `second`, None where zero or
    not carried: `[1, *S]` summed over the directions, or `[n, *S]`.

    unit: the value is x itself, `[B, n]`, whose tangents are the identity; matrix products do not
    read them.
    """

    value: Tensor
    first: Tensor
    second: Tensor | None
    carried: Seconds
    unit: bool = False

    def like(self, y: Tensor, first: Tensor, second: Callable[[], Tensor | None]) -> Jet:
        """A jet that carries as much; its second derivatives are computed only if it has any."""
        none = self.carried is Seconds.NONE
        return Jet(y, first, None if none else second(), self.carried)

    def over_directions(self, products: Tensor) -> Tensor:
        """Products of tangents `[n, …]` as they enter `second`."""
        return products.sum(0, keepdim=True) if self.carried is Seconds.SUM else products


Number = bool | int | float
Operand = Jet | Tensor | Number
Lift = Callable[[Tensor], Tensor]


def value_of(operand: Any) -> Any:
    """The value of a jet; anything else as it is."""
    return operand.value if isinstance(operand, Jet) else operand


def plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """A sum in which None is zero."""
    return b if a is None else a if b is None else a + b


def compact(series: Tensor) -> Tensor:
    """Without the repetitions of a stride of 0, see NOTE [expanded tangents]."""
    if 0 not in series.stride()[1:]:
        return series
    for dim, stride in enumerate(series.stride()):
        if dim and stride == 0 and series.shape[dim] > 1:
            series = series.narrow(dim, 0, 1)
    return series


def aligned(series: Tensor, y: Tensor) -> Tensor:
    """`[k, *S]` with ones after the directions, so that S broadcasts to the shape of y."""
    missing = y.dim() - series.dim() + 1
    return series.reshape(len(series), *(1,) * missing, *series.shape[1:]) if missing else series


def spread(series: Tensor, y: Tensor) -> Tensor:
    """`[k, …]` expanded to `[k, *y.shape]`."""
    series = aligned(series, y)
    return series.expand(len(series), *y.shape) if series.shape[1:] != y.shape else series


def linear(jet: Jet, y: Tensor, lift: Lift) -> Jet:
    """The jet of a linear map with result y; `lift` maps `[k, *S]` direction by direction."""
    second = None if jet.second is None else lift(jet.second)
    return Jet(y, lift(jet.first), second, jet.carried)


def chain(jet: Jet, y: Tensor, slope: Tensor | Number, bend: Tensor | Number | None) -> Jet:
    """The jet of an elementwise `y = g(u)` with g' = slope and g'' = bend, None where zero."""
    tangents = compact(jet.first)

    def second() -> Tensor | None:
        carried = None if jet.second is None else slope * jet.second
        if bend is None:
            return carried
        squares = jet.over_directions(tangents * tangents)
        if carried is not None and isinstance(bend, Tensor):
            return torch.addcmul(carried, bend, squares)
        return spread(_total(carried, bend * squares), y)

    return jet.like(y, spread(slope * tangents, y), second)


def _total(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def scaled(jet: Jet, y: Tensor, factor: Tensor | Number) -> Jet:
    """The jet of `y = factor · u`, the factor broadcast."""

    def lift(series: Tensor) -> Tensor:
        return spread(aligned(compact(series), y) * factor, y)

    return linear(jet, y, lift)


def add(a: Operand, b: Operand, alpha: Number = 1) -> Any:
    """`a + alpha · b`, broadcast."""
    y: Any = value_of(a) + (value_of(b) if alpha == 1 else alpha * value_of(b))
    if not isinstance(b, Jet):
        return linear(a, y, lambda series: spread(series, y)) if isinstance(a, Jet) else y
    right = scaled(b, y, alpha) if alpha != 1 else linear(b, y, lambda s: spread(s, y))
    if not isinstance(a, Jet):
        return right
    first = spread(aligned(compact(a.first), y) + aligned(compact(right.first), y), y)
    second = plus(None if a.second is None else spread(a.second, y), right.second)
    return Jet(y, first, second, a.carried)


def multiply(a: Operand, b: Operand) -> Any:
    """`a · b`, broadcast."""
    y: Any = value_of(a) * value_of(b)
    if isinstance(a, Jet) and a is b:
        return chain(a, y, 2 * a.value, 2)
    if not isinstance(b, Jet):
        return scaled(a, y, b) if isinstance(a, Jet) else y
    if not isinstance(a, Jet):
        return scaled(b, y, a)
    Ja, Jb = aligned(a.first, y), aligned(b.first, y)
    first = spread(torch.addcmul(Ja * b.value, a.value, Jb), y)

    def second() -> Tensor:
        return _total(_weighted(a, b, y), spread(2 * a.over_directions(Ja * Jb), y))

    return a.like(y, first, second)


def _weighted(a: Jet, b: Jet, y: Tensor) -> Tensor | None:
    left = None if a.second is None else spread(aligned(a.second, y) * b.value, y)
    return plus(left, None if b.second is None else spread(aligned(b.second, y) * a.value, y))


def divide(a: Operand, b: Operand) -> Any:
    """`a / b`, broadcast: a = y b differentiated twice and solved for the derivatives of y."""
    y: Any = value_of(a) / value_of(b)
    if not isinstance(b, Jet):
        return scaled(a, y, 1 / b) if isinstance(a, Jet) else y
    Jb = aligned(b.first, y)
    numerator = aligned(a.first, y) - y * Jb if isinstance(a, Jet) else -y * Jb
    first = numerator / b.value

    def second() -> Tensor:
        rest = -2 * b.over_directions(first * Jb)
        if isinstance(a, Jet) and a.second is not None:
            rest = rest + aligned(a.second, y)
        if b.second is not None:
            rest = rest - y * aligned(b.second, y)
        return rest / b.value

    return b.like(y, first, second)


def bivariate(
    a: Operand, b: Operand, y: Tensor, slopes: Sequence[Tensor], bends: Sequence[Tensor]
) -> Jet:
    """The jet of `y = g(a, b)`, elementwise: slopes g_a, g_b, bends g_aa, g_ab, g_bb."""
    found: Jet | None = None
    for operand, slope, bend in zip((a, b), slopes, (bends[0], bends[2]), strict=True):
        if isinstance(operand, Jet):
            own = chain(linear(operand, y, lambda s: spread(s, y)), y, slope, bend)
            found = own if found is None else add(found, own)
    assert found is not None
    own = found
    if not (isinstance(a, Jet) and isinstance(b, Jet)):
        return Jet(y, own.first, own.second, own.carried)
    left, right = a, b

    def second() -> Tensor | None:
        products = left.over_directions(aligned(left.first, y) * aligned(right.first, y))
        return plus(own.second, 2 * bends[1] * products)

    return a.like(y, own.first, second)


def jointly(*positions: int) -> Callable[..., Any]:
    """A rule for an operation that is linear in the arguments at these positions together; a list
    of tensors counts as one. Tensors there that do not depend on x have tangents of zero."""

    def rule(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        leaves, tree = tree_flatten(args)
        places = [p for p, arg in enumerate(args) for _ in tree_flatten(arg)[0]]
        jets = [k for k, leaf in enumerate(leaves) if isinstance(leaf, Jet)]
        if any(places[k] not in positions for k in jets):
            raise Unsupported(f"no rule for {op} in Taylor mode with x in this argument")
        y = op(*tree_unflatten([value_of(leaf) for leaf in leaves], tree), **kwargs)
        still = [
            torch.zeros_like(leaf) if _moves(leaf) and places[k] in positions else leaf
            for k, leaf in enumerate(value_of(leaf) for leaf in leaves)
        ]

        def lifted(moving: dict[int, Tensor]) -> Tensor:
            def one(*tangents: Tensor) -> Tensor:
                own = dict(zip(moving, tangents, strict=True))
                parts = [own.get(k, s) for k, s in enumerate(still)]
                return op(*tree_unflatten(parts, tree), **kwargs)

            return vmap(one)(*moving.values())

        first = lifted({k: leaves[k].first for k in jets})
        bent = {k: leaves[k].second for k in jets if leaves[k].second is not None}
        return Jet(y, first, lifted(bent) if bent else None, leaves[jets[0]].carried)

    return rule


def _moves(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
