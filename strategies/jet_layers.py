"""Jets through layers that mix the entries of a row: softmax, norms, pooling, choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor

from .jet_binary import RULES as BINARY
from .jet_elementwise import RULES as UNARY
from .jet_linear import RULES as LINEAR
from .jet_linear import dims_of
from .jets import Jet, add, linear, multiply, spread
from .registry import Unsupported

aten = torch.ops.aten


def apply(name: str, u: Jet, *args: Any, **kwargs: Any) -> Any:
    """The rule of a function of torch, at u."""
    rule = UNARY.get(name) or BINARY[name]
    return rule(getattr(torch, name), u, *args, **kwargs)


def total(u: Jet, dims: Any, keep: bool = True) -> Jet:
    """The sum over some dimensions, from 0 on."""
    over = [dim + 1 for dim in dims]
    return linear(u, u.value.sum(dims, keep), lambda series: series.sum(over, keep))


def mean(u: Jet, dims: Any, keep: bool = True) -> Jet:
    """The mean over some dimensions, from 0 on."""
    over = [dim + 1 for dim in dims]
    return linear(u, u.value.mean(dims, keep), lambda series: series.mean(over, keep))


def view(u: Jet, *shape: int) -> Jet:
    """The same entries in another shape."""
    return linear(u, u.value.reshape(shape), lambda series: series.reshape(len(series), *shape))


def _averaged(series: Tensor, weights: Tensor, dims: list[int]) -> Tensor:
    return (weights * series).sum([dim + 1 for dim in dims], keepdim=True)


def _bent(u: Jet, weights: Tensor, dims: list[int], squares: Tensor) -> Tensor:
    """The second derivatives of log-sum-exp; squares: of the tangents of u, less those of it."""
    second = _averaged(squares, weights, dims)
    return second if u.second is None else second + _averaged(u.second, weights, dims)


def softmax(u: Jet, dim: int) -> Jet:
    """With the logarithm's tangents D and second derivatives E: y D and y (D² + E)."""
    y, dims = torch.softmax(u.value, dim), dims_of(u.value, dim)
    apart = u.first - _averaged(u.first, y, dims)

    def second() -> Tensor:
        # The weights are the same for every direction: the sum over these comes first.
        squares = u.over_directions(apart * apart)
        bent = squares - _bent(u, y, dims, squares)
        return y * (bent if u.second is None else bent + u.second)

    return u.like(y, y * apart, second)


def _softmax(op: Callable[..., Tensor], u: Jet, dim: int, half_to_float: bool = False) -> Jet:
    if half_to_float:
        raise Unsupported("no rule for a softmax in another dtype in Taylor mode")
    return softmax(u, dim)


def _log_softmax(op: Callable[..., Tensor], u: Jet, dim: int, half_to_float: bool = False) -> Jet:
    y = op(u.value, dim, half_to_float)
    weights, dims = torch.exp(y), dims_of(y, dim)
    apart = u.first - _averaged(u.first, weights, dims)

    def second() -> Tensor:
        bent = _bent(u, weights, dims, u.over_directions(apart * apart))
        return spread(-bent if u.second is None else u.second - bent, y)

    return u.like(y, apart, second)


def _logsumexp(op: Callable[..., Tensor], u: Jet, dims: Any, keep: bool = False) -> Jet:
    over = dims_of(u.value, dims)
    y = torch.logsumexp(u.value, over, keepdim=True)
    weights = torch.exp(u.value - y)
    first = _averaged(u.first, weights, over)

    def second() -> Tensor:
        apart = u.first - first
        return _bent(u, weights, over, u.over_directions(apart * apart))

    return _kept(u.like(y, first, second), over, keep)


def _kept(u: Jet, dims: Sequence[int], keep: bool) -> Jet:
    """A reduction that kept its dimensions, without them where they are not to be kept."""
    shape = [size for dim, size in enumerate(u.value.shape) if dim not in dims]
    return u if keep else view(u, *shape)


def _normalized(u: Jet, dims: list[int], eps: float) -> tuple[Jet, Jet, Jet]:
    """Centred and divided by the root of the variance; the mean and that root's inverse."""
    middle = mean(u, dims)
    centred = add(u, middle, -1)
    inverse = apply("rsqrt", add(mean(multiply(centred, centred), dims), eps))
    return multiply(centred, inverse), middle, inverse


def _affine(u: Jet, weight: Any, bias: Any, shape: Sequence[int]) -> Jet:
    found = u if weight is None else multiply(u, weight.reshape(shape))
    return found if bias is None else add(found, bias.reshape(shape))


def _layer_norm(
    op: Callable[..., Any], u: Jet, shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Jet, Jet, Jet]:
    rank = u.value.dim()
    found, middle, inverse = _normalized(u, list(range(rank - len(shape), rank)), eps)
    return _affine(found, weight, bias, shape), middle, inverse


def _group_norm(
    op: Callable[..., Any],
    u: Jet,
    weight: Any,
    bias: Any,
    N: int,
    C: int,
    size: int,
    groups: int,
    eps: float,
) -> tuple[Jet, Jet, Jet]:
    found, middle, inverse = _normalized(view(u, N, groups, C // groups * size), [2], eps)
    whole = view(found, *u.value.shape)
    shape = (1, C, *(1,) * (u.value.dim() - 2))
    affine = _affine(whole, weight, bias, shape)
    return affine, view(middle, N, groups), view(inverse, N, groups)


def _batch_norm(
    op: Callable[..., Any], u: Jet, weight: Any, bias: Any, mean: Any, var: Any, *how: Any
) -> tuple[Any, ...]:
    """By the running statistics: each channel scaled and shifted. By its own where there are none,
    as instance norm has it."""
    *training, _, eps = how
    shape = (-1, *(1,) * (u.value.dim() - 2))
    if mean is None:
        own = [dim for dim in range(u.value.dim()) if dim != 1]
        found, middle, inverse = _normalized(u, own, eps)
        return _affine(found, weight, bias, shape), view(middle, -1), view(inverse, -1)
    if any(training):
        raise Unsupported("no rule for aten.native_batch_norm in training in Taylor mode")
    y, *rest = op(u.value, weight, bias, mean, var, *how)
    scale = torch.rsqrt(var + eps)
    scale = (scale if weight is None else scale * weight).reshape(shape)
    return (linear(u, y, lambda series: series * scale), *rest)


def _variance(
    op: Callable[..., Any],
    u: Jet,
    dims: Any = None,
    *,
    correction: Any = None,
    keepdim: bool = False,
) -> Jet:
    over = dims_of(u.value, dims)
    size = prod(u.value.shape[dim] for dim in over)
    centred = add(u, mean(u, over), -1)
    squares = total(multiply(centred, centred), over)
    found = multiply(squares, 1 / (size - (1 if correction is None else correction)))
    return _kept(found, over, keepdim)


def _deviation(op: Callable[..., Any], u: Jet, dims: Any = None, **how: Any) -> Jet:
    return apply("sqrt", _variance(op, u, dims, **how))


def _norm(
    op: Callable[..., Tensor], u: Jet, p: Any = 2, dims: Any = None, keep: bool = False, **how: Any
) -> Jet:
    over = dims_of(u.value, dims)
    if p in (float("inf"), float("-inf")):
        return _extreme(aten.amax if p > 0 else aten.amin, apply("abs", u), over, keep)
    if p == 0 or how.get("dtype") is not None:
        raise Unsupported("no rule for aten.linalg_vector_norm of this order in Taylor mode")
    if p == 1:
        return _kept(total(apply("abs", u), over), over, keep)
    powers = multiply(u, u) if p == 2 else apply("pow", apply("abs", u), p)
    return _kept(apply("pow", total(powers, over), 1 / p), over, keep)


def _extreme(op: Callable[..., Tensor], u: Jet, dims: Any = None, keep: bool = False) -> Jet:
    """`amax` and `amin`: of equal entries each has its share of the slope."""
    over = dims_of(u.value, dims)
    y = op(u.value, over, True)
    share = (u.value == y).to(y)
    share = share / share.sum(over, keepdim=True)
    axes = [dim + 1 for dim in over]
    found = linear(u, y, lambda series: (series * share).sum(axes, keepdim=True))
    return _kept(found, over, keep)


def _taken(op: Callable[..., Any], u: Jet, *args: Any, **kwargs: Any) -> tuple[Jet, Tensor]:
    """Entries along one dimension, chosen or sorted: those at the indices that it returns."""
    y, index = op(u.value, *args, **kwargs)
    dim = _dimension(op, args, kwargs) % max(u.value.dim(), 1)
    keep = y.dim() == u.value.dim()
    at = index if keep else index.unsqueeze(dim)

    def lift(series: Tensor) -> Tensor:
        found = series.gather(dim + 1, at.expand(len(series), *at.shape))
        return found if keep else found.squeeze(dim + 1)

    return linear(u, y, lift), index


def _dimension(op: Any, args: Any, kwargs: Any) -> int:
    """The dimension that an operation was given, or its default."""
    for k, formal in enumerate(op._schema.arguments[1:]):
        if formal.name == "dim":
            given = args[k] if k < len(args) else kwargs.get("dim", formal.default_value)
            return -1 if given is None else int(given)
    raise Unsupported(f"no rule for {op} in Taylor mode")


def _max(op: Callable[..., Any], u: Any, *args: Any, **kwargs: Any) -> Any:
    """`max` over everything, along a dimension, or of two tensors."""
    if (args and isinstance(args[0], Jet | Tensor)) or not isinstance(u, Jet):
        larger = "maximum" if "max" in op._schema.name else "minimum"  # type: ignore[attr-defined]
        return BINARY[larger](op, u, *args)
    if args or kwargs:
        return _taken(op, u, *args, **kwargs)
    return _extreme(aten.amax if "max" in op._schema.name else aten.amin, u)  # type: ignore[attr-defined]


def _max_pool(op: Callable[..., Any], u: Jet, *how: Any) -> tuple[Jet, Tensor]:
    y, index = op(u.value, *how)
    kept = u.value.dim() - (2 if "2d" in op._schema.name else 3)  # type: ignore[attr-defined]
    at = index.flatten(kept)

    def lift(series: Tensor) -> Tensor:
        found = series.flatten(kept + 1).gather(-1, at.expand(len(series), *at.shape))
        return found.reshape(len(series), *y.shape)

    return linear(u, y, lift), index


def _slices(u: Jet, dim: int) -> list[Jet]:
    return LINEAR["unbind"](torch.unbind, u, dim)


def _product(op: Callable[..., Tensor], u: Jet, dim: Any = None, keep: bool = False) -> Jet:
    if dim is None:
        return reduce(multiply, _slices(view(u, u.value.numel()), 0))
    found = reduce(multiply, _slices(u, dim))
    if not keep:
        return found
    return linear(found, found.value.unsqueeze(dim), lambda s: s.unsqueeze(dim % u.value.dim() + 1))


def _cumulated(op: Callable[..., Tensor], u: Jet, dim: int) -> Jet:
    return LINEAR["stack"](torch.stack, list(accumulate(_slices(u, dim), multiply)), dim)


RULES: dict[str, Callable[..., Any]] = {
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        _batch_norm,
    ),
    "var": _variance,
    "std": _deviation,
    "linalg_vector_norm": _norm,
    **dict.fromkeys(("amax", "amin"), _extreme),
    **dict.fromkeys(("max", "min"), _max),
    **dict.fromkeys(("sort", "topk", "kthvalue", "median", "mode", "cummax", "cummin"), _taken),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _max_pool),
    "prod": _product,
    "cumprod": _cumulated,
}
