"""Functions of any shape with their value, Jacobian and Hessian written out, for random tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from conftest import Array, Exact, Shape, array, corner, draw
from torch import Tensor

TYPES = 3


@dataclass(frozen=True)
class Outer:
    """A function of one number with two derivatives and the fourth; `product`: a product of inputs
    is added."""

    of: Callable[[Tensor], Tensor]
    orders: tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array]]
    fourth: Callable[[Array], Array] = np.zeros_like
    product: bool = True


def _tanh_second(a: Array) -> Array:
    return -2 * np.tanh(a) * (1 - np.tanh(a) ** 2)


def _tanh_fourth(a: Array) -> Array:
    return (1 - np.tanh(a) ** 2) * (16 * np.tanh(a) - 24 * np.tanh(a) ** 3)


OUTER: dict[str, Outer] = {
    "constant": Outer(torch.ones_like, (np.ones_like, np.zeros_like, np.zeros_like), product=False),
    "linear": Outer(lambda a: a, (lambda a: a, np.ones_like, np.zeros_like), product=False),
    "square": Outer(
        lambda a: a * a, (lambda a: a * a, lambda a: 2 * a, lambda a: 2 * np.ones_like(a))
    ),
    "cube": Outer(lambda a: a**3, (lambda a: a**3, lambda a: 3 * a * a, lambda a: 6 * a)),
    "sine": Outer(torch.sin, (np.sin, np.cos, lambda a: -np.sin(a)), np.sin),
    "exponential": Outer(torch.exp, (np.exp, np.exp, np.exp), np.exp),
    "tanh": Outer(torch.tanh, (np.tanh, lambda a: 1 - np.tanh(a) ** 2, _tanh_second), _tanh_fourth),
}


@dataclass(frozen=True)
class Formula:
    """`y = g(A (s x)) + e x₀ xₙ₋₁`; s = 1 + t with a time t, and e is chosen by a type z.

    Both are args, told apart by their dtype; without them s = 1 and e is that of type 0.
    """

    outer: Outer
    A: Tensor
    table: Tensor
    in_shape: Shape
    out_shape: Shape

    def __call__(self, x: Tensor, *args: Tensor) -> Tensor:
        u = x.reshape(len(x), prod(self.in_shape))
        s, e = u.new_ones(1), self.table[:1].to(x.dtype)
        for arg in args:
            if arg.is_floating_point():
                s = 1 + arg
            else:
                e = self.table.to(x.dtype)[arg]
        y = self.outer.of((s * u) @ self.A.to(x.dtype).T)
        if self.outer.product:
            y = y + e * u[:, :1] * u[:, -1:]
        return y.reshape(len(x), *self.out_shape)

    def exact(self, x: Tensor, *args: Tensor) -> Exact:
        """Chained: `∂y/∂x = g'(a) s A` and `∂²y/∂x² = g''(a) s² A Aᵀ`, and the product's corner;
        of order four `Δ²y = g⁗(a) s⁴ |A|⁴`."""
        n, A = prod(self.in_shape), array(self.A)
        u, C = array(x).reshape(len(x), n), corner(n)
        s, e = np.ones((len(x), 1)), np.repeat(array(self.table)[:1], len(x), 0)
        for arg in args:
            if arg.is_floating_point():
                s = 1 + array(arg)
            else:
                e = array(self.table)[arg.numpy()]
        e = e if self.outer.product else 0 * e
        g, slope, bend = (order((s * u) @ A.T) for order in self.outer.orders)
        return Exact(
            g + e * u[:, :1] * u[:, -1:],
            np.einsum("bk,ki->bki", s * slope, A) + np.einsum("bk,ij,bj->bki", e, C, u),
            np.einsum("bk,ki,kj->bkij", s**2 * bend, A, A) + np.einsum("bk,ij->bkij", e, C),
            lambda: s**4 * self.outer.fourth((s * u) @ A.T) * (A**2).sum(1) ** 2,
        )


def formula(kind: str, in_shape: Shape, out_shape: Shape, seed: int) -> Formula:
    n, m = prod(in_shape), prod(out_shape)
    A, table = draw(m, n, seed=seed), draw(TYPES, m, seed=seed + 1)
    return Formula(OUTER[kind], A, table, in_shape, out_shape)


def as_is(x: Tensor) -> Tensor:
    return x


def strided(x: Tensor) -> Tensor:
    """The same values, every other element of a storage."""
    return torch.stack([x, x], -1)[..., 0]


def expanded(x: Tensor) -> Tensor:
    """The first row for all rows, in the storage of one."""
    return x[:1].expand(x.shape)


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def non_leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_() * 1


HELD: dict[str, Callable[[Tensor], Tensor]] = {
    "as-is": as_is,
    "strided": strided,
    "expanded": expanded,
    "leaf": leaf,
    "non-leaf": non_leaf,
}
