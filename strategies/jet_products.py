"""Jets through products of matrices and convolutions.

A linear layer takes its tangents as further rows of one matrix; only its bias is the value's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .jets import Jet, Seconds, add, compact, linear, multiply, plus, value_of
from .products import by_matrix
from .registry import Unsupported

# So few rows are one product of matrices with their tangents: each reads the whole weight.
_FEW_ROWS = 32


def matmul(a: Any, b: Any) -> Any:
    """`a @ b` of matrices, of batches of them, or of one that depends on x and a vector."""
    if not isinstance(b, Jet):
        return _by_matrix(a, b)
    if not isinstance(a, Jet):
        return linear(b, torch.matmul(a, b.value), lambda series: _from_left(a, series))
    y = torch.matmul(a.value, b.value)
    first = _to_right(a.first, b.value) + _from_left(a.value, b.first)

    def second() -> Tensor | None:
        left = None if a.second is None else _to_right(a.second, b.value)
        right = None if b.second is None else _from_left(a.value, b.second)
        summed = a.carried is Seconds.SUM
        mixed = _summed_products(a, b) if summed else torch.matmul(a.first, b.first)
        return plus(plus(left, right), 2 * mixed)

    return a.like(y, first, second)


def _by_matrix(a: Jet, b: Tensor) -> Jet:
    if a.unit and b.dim() <= 2:
        rows = len(a.value)
        columns = b.contiguous().unsqueeze(1).expand(len(b), rows, *b.shape[1:])
        return Jet(torch.matmul(a.value, b), columns, None, a.carried)
    if b.dim() == 2 and len(a.value) <= _FEW_ROWS:
        return _in_one(a, b)
    return linear(a, torch.matmul(a.value, b), lambda series: _to_right(series, b))


def _in_one(a: Jet, b: Tensor) -> Jet:
    """Value and tangents as one product, so that the matrix is read once."""
    parts = [a.value[None], *([] if a.second is None else [a.second]), a.first]
    found = by_matrix(torch.cat(parts).flatten(0, -2), b)
    y, *second, first = found.reshape(-1, *a.value.shape[:-1], b.shape[1]).split(
        [len(part) for part in parts]
    )
    return Jet(y[0], first, second[0] if second else None, a.carried)


def _to_right(series: Tensor, b: Tensor) -> Tensor:
    """`series @ b` direction by direction, `[k, …, i, j]` with `[…, j, l]`."""
    if b.dim() > 2:
        k, *batch, i, _ = series.shape
        rows = series.movedim(0, -3).reshape(*batch, k * i, -1)
        return torch.matmul(rows, b).reshape(*batch, k, i, -1).movedim(-3, 0)
    shape = series.shape[1:-1] + b.shape[1:]
    few = compact(series) if series.stride(-1) else series
    found = _rows_by(few.reshape(-1, few.shape[-1]), b).reshape(*few.shape[:-1], *b.shape[1:])
    return found.expand(len(series), *shape)


def _rows_by(rows: Tensor, b: Tensor) -> Tensor:
    return by_matrix(rows, b) if b.dim() == 2 else rows @ b


def _from_left(a: Tensor, series: Tensor) -> Tensor:
    """`a @ series` direction by direction, `[…, i, j]` with `[k, …, j, l]`."""
    if a.dim() < 3:
        # Of vectors, not of a matrix with the directions as its rows.
        vectors = series.dim() == 2
        found = torch.matmul(a, series[..., None] if vectors else series)
        return found[..., 0] if vectors else found
    k, *batch, j, size = series.shape
    columns = series.movedim(0, -2).reshape(*batch, j, k * size)
    return torch.matmul(a, columns).reshape(*batch, -1, k, size).movedim(-2, 0)


def _summed_products(a: Jet, b: Jet) -> Tensor:
    """`Σ_k a.first[k] @ b.first[k]`, summed inside one product of matrices."""
    left = a.first.movedim(0, -2).flatten(-2)
    right = b.first.movedim(0, -3).flatten(-3, -2)
    return torch.matmul(left, right)[None]


def _matmul(op: Callable[..., Tensor], a: Any, b: Any) -> Any:
    return matmul(a, b)


def _dot(op: Callable[..., Tensor], a: Any, b: Any) -> Any:
    if not (isinstance(a, Jet) and isinstance(b, Jet)):
        return matmul(a, b)
    terms = multiply(a, b)
    return linear(terms, terms.value.sum(0), lambda series: series.sum(1))


def _mv(op: Callable[..., Tensor], a: Any, b: Any) -> Any:
    if not (isinstance(a, Jet) and isinstance(b, Jet)):
        return matmul(a, b)
    found = matmul(a, linear(b, b.value[:, None], lambda series: series[..., None]))
    return linear(found, found.value[:, 0], lambda series: series[..., 0])


def _added_to(product: Callable[..., Any]) -> Callable[..., Any]:
    """`beta · c + alpha · a b`."""

    def rule(
        op: Callable[..., Tensor], c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1
    ) -> Any:
        if not isinstance(a, Jet) and not isinstance(b, Jet):
            return add(op(torch.zeros_like(value_of(c)), a, b, alpha=alpha), c, beta)
        own = product(op, a, b)
        own = own if alpha == 1 else multiply(own, alpha)
        return add(own, c, beta)

    return rule


def _convolution(op: Callable[..., Tensor], u: Any, weight: Any, bias: Any, *how: Any) -> Jet:
    if not isinstance(u, Jet) or isinstance(weight, Jet) or isinstance(bias, Jet):
        raise Unsupported("no rule for aten.convolution in Taylor mode with x in the weights")
    y = op(u.value, weight, bias, *how)

    def lift(series: Tensor) -> Tensor:
        few = compact(series) if 0 not in series.stride()[2:] else series
        found = op(few.flatten(0, 1), weight, None, *how)
        return found.reshape(*few.shape[:2], *y.shape[1:]).expand(len(few), *y.shape)

    return linear(u, y, lift)


RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mm", "bmm"), _matmul),
    "mv": _mv,
    "dot": _dot,
    "addmm": _added_to(_matmul),
    "baddbmm": _added_to(_matmul),
    "addmv": _added_to(_mv),
    "convolution": _convolution,
}
