"""Jets through views, indexing, sums and sums of products: what is linear in each argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .jets import (
    Jet,
    Seconds,
    add,
    aligned,
    divide,
    jointly,
    linear,
    multiply,
    spread,
    value_of,
)
from .registry import Unsupported


def _reshaped(op: Callable[..., Tensor], u: Jet, *args: Any, **kwargs: Any) -> Jet:
    y = op(u.value, *args, **kwargs)
    return linear(u, y, lambda series: series.reshape(len(series), *y.shape))


def _viewed(op: Callable[..., Tensor], u: Jet, shape: Sequence[int]) -> Jet:
    # Not as a view: a rule may have laid the value out otherwise than the recorded operation.
    return _reshaped(torch.reshape, u, shape)


def _alias(op: Callable[..., Tensor], u: Jet, *args: Any, **kwargs: Any) -> Jet:
    return u


def _cast(op: Callable[..., Tensor], u: Jet, **kwargs: Any) -> Jet:
    y = op(u.value, **kwargs)
    return linear(u, y, lambda series: series.to(y.dtype))


def _expand(op: Callable[..., Tensor], u: Jet, *args: Any, **kwargs: Any) -> Jet:
    y = op(u.value, *args, **kwargs)
    return linear(u, y, lambda series: spread(series, y))


def _overwritten(op: Callable[..., Tensor], a: Any, b: Any, *args: Any) -> Any:
    y = op(value_of(a), value_of(b), *args)
    if not isinstance(b, Jet):
        return y
    return linear(b, y, lambda series: spread(series.to(y.dtype), y))


def _permute(op: Callable[..., Tensor], u: Jet, dims: Sequence[int]) -> Jet:
    y = op(u.value, dims)
    order = [dim % y.dim() + 1 for dim in dims]
    return linear(u, y, lambda series: series.permute(0, *order))


def _transpose(op: Callable[..., Tensor], u: Jet, a: int = 0, b: int = -1) -> Jet:
    if u.value.dim() < 2:
        return u
    rank = u.value.dim()
    y = u.value.transpose(a, b)
    return linear(u, y, lambda series: series.transpose(a % rank + 1, b % rank + 1))


def _along_one(op: Callable[..., Any], u: Jet, dim: int = 0, *args: Any, **kwargs: Any) -> Any:
    """An operation whose first argument after the tensor is a dimension of it."""
    y, at = op(u.value, dim, *args, **kwargs), dim % max(u.value.dim(), 1) + 1
    return linear(u, y, lambda series: op(series, at, *args, **kwargs))


def _split(op: Callable[..., Any], u: Jet, sizes: Any, dim: int = 0) -> list[Jet]:
    at = dim % u.value.dim() + 1
    rest = [None if t is None else op(t, sizes, at) for t in (u.first, u.second)]
    return _parts(u, op(u.value, sizes, dim), rest)


def _unbind(op: Callable[..., Any], u: Jet, dim: int = 0) -> list[Jet]:
    at = dim % u.value.dim() + 1
    rest = [None if t is None else op(t, at) for t in (u.first, u.second)]
    return _parts(u, op(u.value, dim), rest)


def _parts(u: Jet, values: Any, rest: list[Any]) -> list[Jet]:
    firsts, seconds = rest
    seconds = [None] * len(values) if seconds is None else seconds
    found = zip(values, firsts, seconds, strict=True)
    return [Jet(y, first, second, u.carried) for y, first, second in found]


def _joined(op: Callable[..., Tensor], parts: Sequence[Any], dim: int = 0) -> Jet:
    """`cat` and `stack`; parts that do not depend on x have tangents of zero."""
    jets = [part for part in parts if isinstance(part, Jet)]
    y = op([value_of(part) for part in parts], dim)

    def whole(series: list[Tensor | None], k: int) -> Tensor:
        return op(
            [
                value_of(p).new_zeros(()).to(y).expand(k, *value_of(p).shape) if s is None else s
                for p, s in zip(parts, series, strict=True)
            ],
            dim % y.dim() + 1,
        )

    firsts = [p.first if isinstance(p, Jet) else None for p in parts]
    seconds = [p.second if isinstance(p, Jet) else None for p in parts]
    n, second = len(jets[0].first), None
    if any(s is not None for s in seconds):
        second = whole(seconds, 1 if jets[0].carried is Seconds.SUM else n)
    return Jet(y, whole(firsts, n), second, jets[0].carried)


def dims_of(u: Tensor, dims: Any) -> list[int]:
    """The dimensions of u that a reduction names, from 0 on; all where it names none."""
    if dims is None or (not isinstance(dims, int) and not len(dims)):
        return list(range(u.dim()))
    return [dim % max(u.dim(), 1) for dim in ([dims] if isinstance(dims, int) else dims)]


def _reduced(
    op: Callable[..., Tensor], u: Jet, dims: Any = None, keep: bool = False, **kwargs: Any
) -> Jet:
    """`sum` and `mean`; of a tensor without dimensions itself."""
    named = () if dims is None and not keep else (dims, keep)
    y = op(u.value, *named, **kwargs)
    over = [dim + 1 for dim in dims_of(u.value, dims)] if u.value.dim() else []
    if not over:
        return linear(u, y, lambda series: series)
    return linear(u, y, lambda series: _REDUCTIONS[_name(op)](series, over, keep, **kwargs))


def _name(op: Any) -> str:
    return str(getattr(op, "__name__", op)).partition(".")[0]


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {"sum": torch.sum, "mean": torch.mean}


def _padded(op: Callable[..., Tensor], u: Jet, pad: Sequence[int], value: Any = 0) -> Jet:
    return linear(u, op(u.value, pad, value), lambda series: op(series, pad, 0))


def _masked_fill(op: Callable[..., Tensor], u: Any, mask: Tensor, value: Any) -> Jet:
    if isinstance(value, Jet):
        raise Unsupported("no rule for aten.masked_fill in Taylor mode with x in the filling value")
    y = op(u.value, mask, value)
    return linear(u, y, lambda series: torch.where(mask, 0, aligned(series, y)))


def _where(op: Callable[..., Tensor], mask: Tensor, a: Any, b: Any) -> Jet:
    y = op(mask, value_of(a), value_of(b))
    jets = [part for part in (a, b) if isinstance(part, Jet)]

    def chosen(left: Tensor | None, right: Tensor | None) -> Tensor | None:
        if left is None and right is None:
            return None
        a, b = (y.new_zeros(()) if t is None else aligned(t, y) for t in (left, right))
        return spread(torch.where(mask, a, b), y)

    firsts = [part.first if isinstance(part, Jet) else None for part in (a, b)]
    seconds = [part.second if isinstance(part, Jet) else None for part in (a, b)]
    first = chosen(*firsts)
    assert first is not None
    return Jet(y, first, chosen(*seconds), jets[0].carried)


def _add(op: Callable[..., Any], a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return add(a, b, alpha)


def _sub(op: Callable[..., Any], a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return add(a, b, -alpha)


def _rsub(op: Callable[..., Any], a: Any, b: Any, alpha: Any = 1) -> Any:
    return add(b, a, -alpha)


def _mul(op: Callable[..., Any], a: Any, b: Any) -> Any:
    return multiply(a, b)


def _div(op: Callable[..., Any], a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        return op(value_of(a), value_of(b), rounding_mode=rounding_mode)
    return divide(a, b)


def _neg(op: Callable[..., Tensor], u: Jet) -> Jet:
    return linear(u, -u.value, torch.neg)


def _addcmul(op: Callable[..., Any], a: Any, b: Any, c: Any, *, value: Any = 1) -> Any:
    return add(a, multiply(b, c), value)


def _addcdiv(op: Callable[..., Any], a: Any, b: Any, c: Any, *, value: Any = 1) -> Any:
    return add(a, divide(b, c), value)


def _lerp(op: Callable[..., Any], a: Any, b: Any, weight: Any) -> Any:
    return add(a, multiply(weight, add(b, a, -1)))


RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _viewed),
    **dict.fromkeys(("unsqueeze", "squeeze"), _reshaped),
    **dict.fromkeys(("alias", "detach", "clone", "lift_fresh", "contiguous"), _alias),
    "_to_copy": _cast,
    "expand": _expand,
    "copy": _overwritten,
    "permute": _permute,
    **dict.fromkeys(("t", "transpose"), _transpose),
    **dict.fromkeys(
        ("select", "slice", "cumsum", "index_select", "select_copy", "slice_copy"), _along_one
    ),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_chunk"), _split),
    "unbind": _unbind,
    **dict.fromkeys(("cat", "stack"), _joined),
    **dict.fromkeys(("sum", "mean"), _reduced),
    "constant_pad_nd": _padded,
    "masked_fill": _masked_fill,
    "where": _where,
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    **dict.fromkeys(
        (
            *("flip", "roll", "repeat", "unfold", "tril", "triu", "diagonal", "diag_embed"),
            *("index", "gather", "take", "masked_select", "trace", "im2col", "col2im"),
            *("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d"),
            *("_adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d"),
            *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d"),
            *("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"),
            *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "rot90"),
            *("select_backward", "slice_backward", "diagonal_backward", "unfold_backward"),
        ),
        jointly(0),
    ),
    **dict.fromkeys(("slice_scatter", "select_scatter", "diagonal_scatter"), jointly(0, 1)),
    **dict.fromkeys(("index_put", "_unsafe_index_put"), jointly(0, 2)),
    **dict.fromkeys(("scatter", "scatter_add", "index_add", "index_copy"), jointly(0, 3)),
}
