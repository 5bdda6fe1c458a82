"""The Jacobian of a chain of layers as the matrix chain that it is, in its cheapest order.

`W_L D_{L-1} … D_1 W_1` can be bracketed anywhere; forward and reverse mode are two of the orders.
The cheapest is found by dynamic programming when the plan is made, from shapes alone (Griewank and
Naumann, Accumulating Jacobians as chained sparse matrix products, Math. Program. 95, 2003).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .chain_blocks import by_column, by_entry, dense
from .chain_reading import chain_of
from .chains import Diagonal, Factor, factors_of
from .folds import structure
from .functions import Function
from .operators import Operator, Orders
from .products import by_matrix, linear
from .registry import Evaluate, Inputs, Options, strategy

# A matrix by its place, or a product of two, the later one first.
Tree = int | tuple["Tree", "Tree"]


@dataclass(frozen=True)
class Part:
    """A product of factors, `[out, in]` or, where it is not alike for all rows, `[B, out, in]`.

    turned: its tensor is `[B, in, out]`.
    """

    tensor: Tensor
    turned: bool = False

    @property
    def upright(self) -> Tensor:
        return self.tensor.mT if self.turned else self.tensor


def cheapest(shapes: Sequence[tuple[int, int]], by_row: Sequence[bool], B: int) -> Tree:
    """The order of least multiplications for matrices of these shapes, the first to act first.

    by_row: whether a diagonal of its own for each row stands behind each but the last.
    """

    @functools.cache
    def best(low: int, high: int) -> tuple[int, Tree]:
        if low == high:
            return 0, low
        return min((split(low, k, high) for k in range(low, high)), key=lambda found: found[0])

    def split(low: int, k: int, high: int) -> tuple[int, Tree]:
        (right, before), (left, after) = best(low, k), best(k + 1, high)
        size = shapes[high][0] * shapes[k][0] * shapes[low][1]
        return left + right + size * (B if any(by_row[low:high]) else 1), (after, before)

    return best(0, len(shapes) - 1)[1]


@strategy(Operator.JACOBIAN, mode="closed-form", sweep="one-pass", needs=["sum", "chain"])
def cross_country(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The layers' matrices and slopes multiplied in the cheapest order; only a chain of layers."""
    chain = chain_of(f, inputs, options)
    matrices, between, _ = _apart(structure(chain, inputs))
    tree: Tree = 0
    if matrices:
        shapes = [(matrix.shape[0], matrix.shape[1]) for matrix in matrices]
        tree = cheapest(shapes, [slope is not None for slope in between[1:]], len(inputs[0]))

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, factors = factors_of(chain, x, args, second=False)
        matrices, between, last = _apart(factors)
        if not matrices:
            only = None if last is None else Diagonal(last)
            return Orders(y, dense(only, x, x.shape[1]))
        jacobian = multiplied(tree, matrices, between).upright
        if between[0] is not None:
            jacobian = jacobian * by_column(between[0])
        if last is not None:
            jacobian = jacobian * by_entry(last)
        return Orders(y, dense(jacobian, x, y.shape[1]))

    return evaluate


Slope = Tensor | float | None


def _apart(factors: Sequence[Factor]) -> tuple[list[Tensor], list[Slope], Slope]:
    """The matrices, the slope before each of them, and the one behind the last."""
    matrices: list[Tensor] = []
    slopes: list[Slope] = []
    waiting: Slope = None
    for factor in factors:
        if isinstance(factor, Diagonal):
            waiting = factor.slope
        else:
            matrices.append(factor)
            slopes.append(waiting)
            waiting = None
    return matrices, slopes, waiting


def multiplied(tree: Tree, matrices: Sequence[Tensor], before: Sequence[Slope]) -> Part:
    """The product in the order of a tree; before: the slope that stands before each matrix."""
    if isinstance(tree, int):
        return Part(matrices[tree])
    left, right = (multiplied(part, matrices, before) for part in tree)
    slope = before[_lowest(tree[0])]
    if slope is not None:
        left, right = _scaled(left, right, slope)
    return _product(left, right)


def _lowest(tree: Tree) -> int:
    return tree if isinstance(tree, int) else _lowest(tree[1])


def _scaled(left: Part, right: Part, slope: Tensor | float) -> tuple[Part, Part]:
    """Left and right with the diagonal between them in the one where it costs least: a matrix that
    is alike for all rows stays so, beside one that is not."""
    one, other = (part.tensor.dim() == 3 for part in (left, right))
    smaller = left.upright.shape[-2] <= right.upright.shape[-1]
    if one > other or (one == other and smaller):
        if left.turned:
            return Part(left.tensor * by_entry(slope), turned=True), right
        return Part(left.tensor * by_column(slope)), right
    if right.turned or not other:
        turned = right.tensor if right.turned else right.tensor.mT
        return left, Part(turned * by_column(slope), turned=True)
    return left, Part(right.tensor * by_entry(slope))


def _product(left: Part, right: Part) -> Part:
    # One big product for all rows of the batch, where the right one is alike for them, or the left.
    if right.tensor.dim() == 3 and left.tensor.dim() == 2 and right.turned:
        return Part(linear(right.tensor, left.tensor), turned=True)
    if right.tensor.dim() == 2:
        return Part(by_matrix(left.upright, right.upright))
    return Part(torch.matmul(left.upright, right.upright))
