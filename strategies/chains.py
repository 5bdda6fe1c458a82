"""Chains of affine and elementwise layers: their value, and their derivative as factors.

The Jacobian of a chain is the product of its factors, from the last to the first: a matrix where a
layer is affine, the same for every row of the batch, and a diagonal where it is elementwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .elementwise import Bend, Rule
from .elementwise_orders import higher
from .products import linear
from .registry import Inputs

Constants = tuple[Tensor, ...]


@dataclass(frozen=True)
class Affine:
    """`h Wᵀ + b`: places among the constants of `W: [out, in]` and of b.

    before, after: places of what is set beside h, `[B, …]`, so that W meets all of it.
    """

    weight: int
    bias: int | None = None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class Elementwise:
    """An operation on each entry, and its rule of `elementwise`."""

    value: Callable[[Tensor], Tensor]
    rule: Rule


@dataclass(frozen=True)
class Scale:
    """A product by a constant: its place, where it is `[B, k]`, `[k]` or `[]`, or a number."""

    by: int | float


@dataclass(frozen=True)
class Shift:
    """A sum with a constant, which no derivative sees."""

    by: int | float


Step = Affine | Elementwise | Scale | Shift


@dataclass(frozen=True)
class Chain:
    """The steps in the order of evaluation, and what they read, computed from `(x, *args)`."""

    steps: tuple[Step, ...]
    constants: Callable[..., Constants]


class Diagonal(NamedTuple):
    """The derivatives of an elementwise layer, at its pre-activation.

    slope: `[B, k]`, or alike for all rows `[k]`, `[]` or a number; bend: `[B, k]`, None where zero;
    third, fourth: likewise, of the orders three and four, where they were asked for.
    """

    slope: Tensor | float
    bend: Tensor | None = None
    third: Tensor | None = None
    fourth: Tensor | None = None


Factor = Tensor | Diagonal


def value_of(chain: Chain, x: Tensor, args: Inputs) -> Tensor:
    """f itself, step by step: `[B, n] -> [B, m]`."""
    constants = chain.constants(x, *args)
    for step in chain.steps:
        x = _forward(step, x, constants)
    return x


def factors_of(
    chain: Chain, x: Tensor, args: Inputs, *, second: bool
) -> tuple[Tensor, list[Factor]]:
    """`f(x)`, and the factors in the order of evaluation, no two diagonals in a row.

    second: with what elementwise layers bend by.
    """
    constants = chain.constants(x, *args)
    found: list[Factor] = []
    for step in chain.steps:
        before, x = x, _forward(step, x, constants)
        if (factor := _factor(step, before, x, constants, second)) is not None:
            found.append(factor if not found else _joined(found, factor))
    return x, found


def layers_of(chain: Chain, x: Tensor, args: Inputs) -> tuple[Tensor, list[Factor]]:
    """`f(x)`, and its factors with derivatives up to order four; diagonals are not joined."""
    constants = chain.constants(x, *args)
    found: list[Factor] = []
    for step in chain.steps:
        before, x = x, _forward(step, x, constants)
        if isinstance(step, Elementwise):
            slope, bend = step.rule(before, x, True)
            above = higher(step.rule, before, x, slope, bend)
            found.append(Diagonal(slope, _entries(bend, x), *above))
        elif (factor := _factor(step, before, x, constants, True)) is not None:
            found.append(factor)
    return x, found


# Not by `match`: in small networks its tests of classes and attributes cost as much as a product.
def _forward(step: Step, h: Tensor, constants: Constants) -> Tensor:
    if isinstance(step, Elementwise):
        return step.value(h)
    if isinstance(step, Affine):
        if step.before or step.after:
            left, right = ([constants[k] for k in places] for places in (step.before, step.after))
            h = torch.cat([*left, h, *right], 1)
        bias = step.bias
        return linear(h, constants[step.weight], None if bias is None else constants[bias])
    by = _number(step.by, constants)
    return h * by if isinstance(step, Scale) else h + by


def _factor(
    step: Step, before: Tensor, h: Tensor, constants: Constants, second: bool
) -> Factor | None:
    if isinstance(step, Elementwise):
        slope, bend = step.rule(before, h, second)
        return Diagonal(slope, _entries(bend, h))
    if isinstance(step, Affine):
        matrix = constants[step.weight]
        if not step.before and not step.after:
            return matrix
        start = sum(constants[k].shape[1] for k in step.before)
        return matrix[:, start : start + before.shape[1]]
    return Diagonal(_number(step.by, constants)) if isinstance(step, Scale) else None


def _entries(bend: Bend, h: Tensor) -> Tensor | None:
    return torch.full_like(h, bend) if isinstance(bend, float) else bend


def _number(by: int | float, constants: Constants) -> Tensor | float:
    return constants[by] if isinstance(by, int) else by


def _joined(found: list[Factor], factor: Factor) -> Factor:
    """The factor, together with the last one, which it replaces, where both are one."""
    last = found[-1]
    if isinstance(last, Diagonal):
        if isinstance(factor, Diagonal):
            found.pop()
            return _composed(last, factor)
        if _alike(last):
            found.pop()
            return factor * last.slope
    elif isinstance(factor, Diagonal) and _alike(factor):
        found.pop()
        slope = factor.slope
        return last * (slope[:, None] if isinstance(slope, Tensor) and slope.dim() else slope)
    return factor


def _alike(layer: Diagonal) -> bool:
    """Whether a diagonal is a constant, the same for all rows."""
    return layer.bend is None and not (isinstance(layer.slope, Tensor) and layer.slope.dim() == 2)


def _composed(inner: Diagonal, outer: Diagonal) -> Diagonal:
    """The chain rule of numbers: `(g ∘ h)″ = g″ h′² + g′ h″`."""
    bends = []
    if outer.bend is not None:
        bends.append(outer.bend * inner.slope * inner.slope)
    if inner.bend is not None:
        bends.append(outer.slope * inner.bend)
    return Diagonal(outer.slope * inner.slope, sum(bends[1:], bends[0]) if bends else None)


def rows_of(factors: Sequence[Factor], start: int, stop: int) -> list[Factor]:
    """The factors of some rows of the batch."""

    def part(t: Tensor | float | None) -> Tensor | float | None:
        return t[start:stop] if isinstance(t, Tensor) and t.dim() == 2 else t

    return [
        Diagonal(*map(part, f)) if isinstance(f, Diagonal) else f  # type: ignore[arg-type]
        for f in factors
    ]
