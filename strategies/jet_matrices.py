"""Jets through functions of matrices, attention, distances, and the formulas of backward passes."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from .jet_layers import apply, softmax, total
from .jet_products import matmul
from .jets import Jet, add, chain, linear, multiply, spread, value_of
from .registry import Unsupported


def _inverse(op: Callable[..., Any], u: Jet, **how: Any) -> tuple[Any, ...]:
    """With Y = A⁻¹: -Y A' Y, and -Y A'' Y + 2 Y A' Y A' Y."""
    y, info = op(u.value, **how)
    first = -y @ u.first @ y

    def second() -> Tensor:
        bent = -2 * u.over_directions(first @ u.first @ y)
        return bent if u.second is None else bent - y @ u.second @ y

    return u.like(y, first, second), info


def _solve(op: Callable[..., Any], a: Any, b: Any, *args: Any, **how: Any) -> tuple[Any, ...]:
    """A X = B differentiated twice and solved: A X' = B' - A' X, A X'' = B'' - A'' X - 2 A' X'."""
    y, *rest = op(value_of(a), value_of(b), *args, **how)
    if not how.get("left", True) or (args and not args[0]):
        raise Unsupported("no rule for aten.linalg_solve from the right in Taylor mode")
    inverse, vectors = torch.linalg.inv(value_of(a)), y.dim() < value_of(a).dim()

    def by(matrices: Tensor, t: Tensor) -> Tensor:
        return (matrices @ t.unsqueeze(-1)).squeeze(-1) if vectors else matrices @ t

    if not isinstance(a, Jet):
        return (linear(b, y, lambda series: by(inverse, series)), *rest)
    right = (spread(b.first, y), b.second) if isinstance(b, Jet) else (0, None)
    first = by(inverse, right[0] - by(a.first, y))

    def second() -> Tensor:
        bent = -2 * a.over_directions(by(a.first, first))
        if a.second is not None:
            bent = bent - by(a.second, y)
        return by(inverse, bent if right[1] is None else bent + spread(right[1], y))

    return (a.like(y, first, second), *rest)


def _log_determinant(u: Jet, y: Tensor) -> Jet:
    """Of value y, its tangents `tr Y A'` and second derivatives `tr Y A'' - tr Y A' Y A'`, with
    Y = A⁻¹."""
    inverse = torch.linalg.inv(u.value)

    def traced(series: Tensor) -> Tensor:
        return (inverse.mT * series).sum((-2, -1))

    def second() -> Tensor:
        moved = inverse @ u.first
        bent = -u.over_directions((moved * moved.mT).sum((-2, -1)))
        return bent if u.second is None else bent + traced(u.second)

    return u.like(y, traced(u.first), second)


def _slogdet(op: Callable[..., Any], u: Jet) -> tuple[Any, ...]:
    sign, y, *rest = op(u.value)
    return (sign, _log_determinant(u, y), *rest)


def _det(op: Callable[..., Any], u: Jet) -> tuple[Any, ...]:
    """The exponential of log |y|, but for the sign."""
    y, *rest = op(u.value)
    return (chain(_log_determinant(u, y), y, y, y), *rest)


def _cholesky(op: Callable[..., Any], u: Jet, **how: Any) -> tuple[Any, ...]:
    """A = L Lᵀ differentiated twice: L Φ(L⁻¹ A' L⁻ᵀ), and A'' less `2 L' L'ᵀ` in the place of A';
    Φ keeps the lower triangle and half the diagonal."""
    y, info = op(u.value, **how)
    if how.get("upper"):
        raise Unsupported("no rule for an upper aten.linalg_cholesky_ex in Taylor mode")
    inverse = torch.linalg.inv(y)

    def solved(series: Tensor) -> Tensor:
        inner = inverse @ (0.5 * (series + series.mT)) @ inverse.mT
        return y @ (inner.tril() - 0.5 * torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1)))

    first = solved(u.first)

    def second() -> Tensor:
        bent = -2 * u.over_directions(first @ first.mT)
        return solved(bent if u.second is None else u.second + bent)

    return u.like(y, first, second), info


def _attention(
    op: Callable[..., Any],
    q: Any,
    k: Any,
    v: Any,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    attn_mask: Any = None,
    scale: float | None = None,
) -> tuple[Any, Tensor]:
    """`softmax(q kᵀ · scale + mask) v`; its second result, for the backward pass, is a value."""
    if dropout:
        raise Unsupported("no rule for attention with dropout in Taylor mode")
    result = op(
        *(value_of(t) for t in (q, k, v)), dropout, causal, attn_mask=attn_mask, scale=scale
    )
    factor = 1 / sqrt(value_of(q).shape[-1]) if scale is None else scale
    turned = linear(k, k.value.mT, lambda s: s.mT) if isinstance(k, Jet) else k.mT
    scores = matmul(multiply(q, factor), turned)
    if causal:
        shape = value_of(scores).shape[-2:]
        later = torch.ones(shape, dtype=torch.bool, device=result[0].device).triu(1)
        attn_mask = torch.zeros_like(value_of(scores)[..., :, :]).masked_fill(later, -torch.inf)
    scores = scores if attn_mask is None else add(scores, attn_mask)
    weights = softmax(scores, -1) if isinstance(scores, Jet) else torch.softmax(scores, -1)
    return matmul(weights, v), result[1]


def _distances(op: Callable[..., Any], a: Any, b: Any, p: float, mode: Any) -> Jet:
    """`‖a_i - b_j‖` of all pairs of rows."""
    if p != 2:
        raise Unsupported("no rule for aten._cdist_forward of an order other than 2 in Taylor mode")
    left, right = (_unsqueezed(t, at) for t, at in ((a, -2), (b, -3)))
    apart = add(left, right, -1)
    squares = total(multiply(apart, apart), [apart.value.dim() - 1], keep=False)
    return apply("sqrt", squares)


def _unsqueezed(u: Any, dim: int) -> Any:
    if not isinstance(u, Jet):
        return u.unsqueeze(dim)
    return linear(u, u.value.unsqueeze(dim), lambda series: series.unsqueeze(dim))


def _softmax_backward(op: Callable[..., Any], g: Any, y: Any, dim: int, dtype: Any) -> Any:
    weighted = multiply(g, y)
    if not isinstance(weighted, Jet):
        return op(g, y, dim, dtype)
    return add(weighted, multiply(y, total(weighted, [dim % weighted.value.dim()])), -1)


def _tanh_backward(op: Callable[..., Any], g: Any, y: Any) -> Any:
    return multiply(g, add(1, multiply(y, y), -1))


def _sigmoid_backward(op: Callable[..., Any], g: Any, y: Any) -> Any:
    return multiply(g, multiply(y, add(1, y, -1)))


def _threshold_backward(op: Callable[..., Any], g: Any, u: Any, threshold: float) -> Any:
    return multiply(g, (value_of(u) > threshold).to(value_of(g)))


RULES: dict[str, Callable[..., Any]] = {
    "linalg_inv_ex": _inverse,
    "_linalg_solve_ex": _solve,
    "_linalg_slogdet": _slogdet,
    "_linalg_det": _det,
    "linalg_cholesky_ex": _cholesky,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_cdist_forward": _distances,
    "_softmax_backward_data": _softmax_backward,
    "tanh_backward": _tanh_backward,
    "sigmoid_backward": _sigmoid_backward,
    "threshold_backward": _threshold_backward,
}
