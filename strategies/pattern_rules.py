"""What each kind of operation makes of index sets: elementwise, moving data, reducing, products.

An operation without a rule is taken to mix all that goes in: too much, never too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from .operators import Shape
from .pattern_layers import convolution, convolution_backward
from .pattern_sets import Sets, every, expanded, fitted, gathered, numbered, reduced, taken, united

aten = torch.ops.aten


@dataclass(frozen=True)
class Hidden:
    """A tensor on which x has no influence that a derivative could show; its value is not known."""

    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True)
class Step:
    """An operation on sets: what it is called with, and the shapes of its results."""

    target: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[Shape, ...]

    @property
    def moving(self) -> list[Sets]:
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Sets)]

    def named(self) -> dict[str, Any]:
        """The arguments by their names in the schema, and the axis also where it is not said."""
        known = self.target._schema.arguments
        names = [argument.name for argument in known]
        said = {**dict(zip(names, self.args, strict=False)), **self.kwargs}
        axis = {a.name: a.default_value for a in known if a.name == "dim"}
        return said if "dim" in said else {**said, **axis}


Results = tuple[Sets, ...]
Rule = Callable[[Step], Results | None]

# What takes only its kind or its sign from x.
_STILL = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "sign", "sgn"),
    *("floor", "ceil", "round", "trunc", "heaviside", "_linalg_check_errors"),
}
_SAME = {"alias", "detach", "clone", "_to_copy", "lift_fresh", "lift_fresh_copy", "contiguous"}
# Elementwise, and not tagged so by torch.
_ELEMENTWISE = {
    *("softplus_backward", "elu_backward", "log_sigmoid_forward", "log_sigmoid_backward"),
    *("_prelu_kernel", "hardswish", "hardswish_backward", "rrelu_with_noise"),
}
# Whose results are elements of what goes in, or zeros.
_MOVING = {
    *("view", "_unsafe_view", "reshape", "expand", "permute", "transpose", "t", "movedim"),
    *("select", "slice", "narrow", "unsqueeze", "squeeze", "diagonal", "unfold", "split"),
    *("split_with_sizes", "unbind", "chunk", "flip", "roll", "repeat", "cat", "stack", "index"),
    *("index_select", "gather", "take", "constant_pad_nd", "reflection_pad1d", "where"),
    *("reflection_pad2d", "replication_pad1d", "replication_pad2d", "tril", "triu", "diag_embed"),
    *("masked_fill", "select_backward", "slice_backward", "diagonal_backward", "slice_scatter"),
    *("select_scatter", "diagonal_scatter", "im2col", "pixel_shuffle", "pixel_unshuffle"),
    *("_unsafe_index", "rot90", "select_copy", "slice_copy", "view_copy"),
}
# Arguments that say where, and those of numbers that are written.
_PLACES, _WRITTEN = {"indices", "index", "mask", "condition"}, {"value", "fill_value"}
_ALONG = {
    *("sum", "mean", "prod", "amax", "amin", "var", "std", "var_mean", "std_mean", "logsumexp"),
    *("max", "min", "norm", "linalg_vector_norm", "cumsum", "cumprod", "logcumsumexp", "median"),
    *("_softmax", "_log_softmax", "softmax", "log_softmax", "_softmax_backward_data", "topk"),
    *("_log_softmax_backward_data", "sort", "kthvalue", "mode", "cummax", "cummin", "nansum"),
    *("_safe_softmax", "glu", "aminmax", "linalg_cross"),
}
# The factors of a product, and what is added to it.
_PRODUCTS = {
    **{"mm": ("self", "mat2", None), "bmm": ("self", "mat2", None)},
    **{"mv": ("self", "vec", None), "dot": ("self", "tensor", None)},
    **{"addmm": ("mat1", "mat2", "self"), "baddbmm": ("batch1", "batch2", "self")},
    **{"addmv": ("mat", "vec", "self")},
}


def moves_data(name: str) -> bool:
    """Whether an operation of this name puts elements elsewhere and computes nothing."""
    return name in _MOVING or name in _SAME - {"_to_copy"}


def depending(step: Step) -> Results:
    """The sets of an operation's results."""
    if step.name in _STILL:
        return tuple(Sets.empty(shape, step.moving[0].n) for shape in step.shapes)
    for rule in _rules(step):
        try:
            found = rule(step)
        except (RuntimeError, TypeError, IndexError, KeyError, NotImplementedError):
            continue
        if found is not None:
            return found
    return _mixing(step)


def _rules(step: Step) -> list[Rule]:
    """Those that may hold for it, the most exact first."""
    tags = getattr(step.target, "tags", ())
    elementwise = torch.Tag.pointwise in tags or step.name in _ELEMENTWISE
    by_name = {"convolution": _convolution, "convolution_backward": _convolution_backward}
    candidates: list[tuple[bool, Rule]] = [
        (step.name in _SAME, _same),
        (step.name == "copy", _overwritten),
        (step.name in _MOVING, _moving),
        (elementwise, _pointwise),
        (step.name in _ALONG, _along),
        (step.name in _PRODUCTS, _product),
        (step.name in _SUMMED, _summed),
        (step.name in ("native_layer_norm", "native_layer_norm_backward"), _layer_norm),
        (step.name in by_name, by_name.get(step.name, _mixing)),
    ]
    return [rule for holds, rule in candidates if holds]


def _mixing(step: Step) -> Results:
    flat = [s.viewed((prod(s.shape),)) for s in step.moving]
    whole = united([reduced(s, [0]) for s in flat])
    return tuple(every(whole, shape) for shape in step.shapes)


def _same(step: Step) -> Results:
    return (step.moving[0],)


def _overwritten(step: Step) -> Results:
    source = step.named()["src"]
    (shape,) = step.shapes
    by = isinstance(source, Sets)
    return (expanded(source, shape) if by else Sets.empty(shape, step.moving[0].n),)


def _pointwise(step: Step) -> Results:
    return tuple(united(step.moving, shape) for shape in step.shapes)


def _moving(step: Step) -> Results | None:
    """By the operation itself, on the numbers of the elements."""
    given, start = step.named(), 1
    if any(isinstance(t, Hidden) for name in _PLACES for t in tree_leaves(given.get(name))):
        return None

    def number(value: Any) -> Any:
        nonlocal start
        if isinstance(value, Sets):
            start += prod(value.shape)
            return numbered(value.shape, start - prod(value.shape))
        if isinstance(value, Hidden | torch.Tensor):
            return torch.zeros(tuple(value.shape), dtype=torch.float64)
        return value

    asked = {
        name: value if name in _PLACES else 0 if name in _WRITTEN else tree_map(number, value)
        for name, value in given.items()
    }
    count = len(step.args)
    found = step.target(*list(asked.values())[:count], **dict(list(asked.items())[count:]))
    sets = [leaf for leaf in tree_leaves(list(given.values())) if isinstance(leaf, Sets)]
    return tuple(taken(sets, at) for at in ([found] if torch.is_tensor(found) else found))


def _along(step: Step) -> Results:
    """Reductions, and what mixes along an axis and keeps it."""
    joined, dims = united(step.moving), step.named().get("dim")
    # No axis, or an empty list of them, is all.
    axes = [dims] if isinstance(dims, int) else dims or range(len(joined.shape))
    kept = reduced(joined, list(axes))
    return tuple(fitted(kept, shape) for shape in step.shapes)


def _layer_norm(step: Step) -> Results:
    joined = united(step.moving)
    kept = reduced(joined, [-1 - k for k in range(len(step.named()["normalized_shape"]))])
    return tuple(fitted(kept, shape) for shape in step.shapes)


def _product(step: Step) -> Results:
    """Dense along the axis that is summed, whatever the other factor holds."""
    left, right, plus = _PRODUCTS[step.name]
    given, (shape,), parts = step.named(), step.shapes, []
    a, b = given[left], given[right]
    if isinstance(a, Sets):
        kept = reduced(a, [-1])
        parts.append(_as_result(kept, shape, column=len(b.shape) > 1))
    if isinstance(b, Sets):
        parts.append(_as_result(reduced(b, [-2 if len(b.shape) > 1 else -1]), shape, column=True))
    if plus and isinstance(given[plus], Sets):
        parts.append(expanded(given[plus], shape))
    return (united(parts, shape),)


def _as_result(kept: Sets, shape: Shape, column: bool) -> Sets:
    return expanded(kept if column else kept.viewed(kept.shape[:-1]), shape)


# Written to places where something is: by name, the places of what is written.
_SUMMED: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "index_put": lambda at, given: aten.index(at, given["indices"]),
    "_unsafe_index_put": lambda at, given: aten.index(at, given["indices"]),
    "index_add": lambda at, given: at.index_select(given["dim"], given["index"]),
    "scatter_add": lambda at, given: at.gather(given["dim"], given["index"]),
    "scatter": lambda at, given: at.gather(given["dim"], given["index"]),
}
_SOURCES = ("values", "source", "src")


def _summed(step: Step) -> Results | None:
    given = step.named()
    if any(isinstance(t, Hidden) for name in _PLACES for t in tree_leaves(given.get(name))):
        return None
    (shape,) = step.shapes
    at = _SUMMED[step.name](numbered(shape), given)
    source = next((given[name] for name in _SOURCES if name in given), None)
    parts: list[Sets] = [given["self"]] if isinstance(given["self"], Sets) else []
    if isinstance(source, Sets):
        wide = expanded(source, tuple(at.shape))
        parts.append(Sets(shape, gathered(wide, at, prod(shape))))
    return (united(parts, shape),)


def _convolution(step: Step) -> Results | None:
    given = step.named()
    if isinstance(given["weight"], Sets) or isinstance(given.get("bias"), Sets):
        return None
    return convolution(given, step.shapes[0])


def _convolution_backward(step: Step) -> Results | None:
    given = step.named()
    if isinstance(given["weight"], Sets) or any(given["output_mask"][1:]):
        return None
    return convolution_backward(given, step.shapes)
