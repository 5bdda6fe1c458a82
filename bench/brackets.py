"""The cheapest order of a product of matrices some of which are the same for all rows.

By dynamic programming over the brackets (A. Griewank, U. Naumann, Accumulating Jacobians as chained
sparse matrix products, Math. Program. 95, 2003). No code is shared with the strategies that claim
to be this good: they are what it is held against.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """So many products of a matrix `[rows, inner]` with one `[inner, columns]`."""

    rows: int
    inner: int
    columns: int
    batch: int = 1

    @property
    def work(self) -> int:
        """Multiply-adds; none of an outer product, which adds nothing and is elementwise."""
        return self.batch * self.rows * self.inner * self.columns if self.inner > 1 else 0


Products = tuple[Product, ...]


def work(products: Sequence[Product]) -> int:
    """Multiply-adds of all of them."""
    return sum(product.work for product in products)


@dataclass(frozen=True)
class Made:
    """A product of some of the matrices, as it is made; alike: the same for all rows."""

    products: Products
    alike: bool


def cheapest(
    sizes: Sequence[int], B: int, *, alike: Sequence[bool] = (), joint: Sequence[int] = ()
) -> Made:
    """The order of least work of matrices `[sizes[k], sizes[k + 1]]` for B rows.

    alike: which of them are the same for all rows, by default all. joint: places k between whose
    neighbours k − 1 and k there is no diagonal that is another one for each row.
    """
    known = list(alike) or [True] * (len(sizes) - 1)

    @functools.cache
    def best(low: int, high: int) -> Made:
        if high - low == 1:
            return Made((), known[low])
        ways = (split(low, k, high) for k in range(low + 1, high))
        return min(ways, key=lambda made: work(made.products))

    def split(low: int, k: int, high: int) -> Made:
        left, right = best(low, k), best(k, high)
        product, same = _joined(left, right, (sizes[low], sizes[k], sizes[high]), B, k in joint)
        return Made((*left.products, *right.products, product), same)

    return best(0, len(sizes) - 1)


def _joined(
    left: Made, right: Made, sizes: tuple[int, int, int], B: int, plain: bool
) -> tuple[Product, bool]:
    rows, inner, columns = sizes
    if left.alike and right.alike and plain:
        return Product(rows, inner, columns), True
    # What is alike for all rows meets those of the whole batch in one product.
    if right.alike:
        return Product(B * rows, inner, columns), False
    if left.alike:
        return Product(B * columns, inner, rows), False
    return Product(rows, inner, columns, B), False
