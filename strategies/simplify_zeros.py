"""Zero tangents: what is multiplied by them is dropped, what is added to them stands alone.

NOTE [zero tangents]
Forward mode carries a zero tangent for everything that is no input of the derivative, parameters
first of all, and multiplies by it: each linear layer pays a third matrix product for nothing
(pytorch#69687). In a graph without writes a factory of zeros is zero wherever it is read, so that
what follows from it can be decided once. One thing changes: zero times an infinite or undefined
number is dropped with the product, where the eager evaluation says NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Graph, Node

from .graphs import as_kind_of, call, kind, name, replace

aten = torch.ops.aten

Zeros = set[Node]
# What a rule says of a node: that it is zero, which node stands for it, or nothing.
Rule = Callable[[Node, Zeros], "Node | bool | None"]

_FACTORIES = {
    *("_efficientzerotensor", "zeros", "zeros_like", "new_zeros"),
    "_new_zeros_with_same_feature_meta",
}
# The position of the value with which a factory fills.
_FILLED = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0}

# Linear in the first argument: zeros in, zeros out.
_LINEAR = (
    *("alias", "detach", "lift_fresh", "lift_fresh_copy", "clone", "_to_copy", "view", "reshape"),
    *("_unsafe_view", "expand", "permute", "t", "transpose", "select", "slice", "unsqueeze"),
    *("squeeze", "diagonal", "as_strided", "unfold", "flip", "roll", "repeat", "movedim"),
    *("neg", "sum", "mean", "cumsum", "tril", "triu", "real", "imag"),
    *("index_select", "index", "gather", "select_backward", "slice_backward", "diagonal_backward"),
    *("tanh_backward", "sigmoid_backward", "softplus_backward", "silu_backward", "gelu_backward"),
    *("elu_backward", "threshold_backward", "leaky_relu_backward", "hardtanh_backward"),
    *("_softmax_backward_data", "_log_softmax_backward_data"),
)


def fold_zeros(graph: Graph) -> None:
    """Drop products with zero tensors and sums with them, see NOTE [zero tangents]."""
    zeros: Zeros = set()
    for node in list(graph.nodes):
        if kind(node) is None or node.op != "call_function":
            continue
        found = _is_factory(node) or _RULES.get(name(node), _nothing)(node, zeros)
        if isinstance(found, Node):
            replace(node, found)
        elif found:
            zeros.add(node)
    for node in zeros:
        _materialize(graph, node)


def _is_factory(node: Node) -> bool:
    at = _FILLED.get(name(node))
    if at is None:
        return name(node) in _FACTORIES
    value = node.args[at] if at < len(node.args) else None
    return isinstance(value, bool | int | float) and value == 0


def _materialize(graph: Graph, node: Node) -> None:
    # Also those that are read as they are: an efficient zero tensor has no storage to read.
    to = kind(node)
    assert to is not None
    how = {"dtype": to.dtype, "device": to.device}
    replace(node, call(graph, node, aten.full.default, list(to.shape), 0, to=to, **how))


def _nothing(node: Node, zeros: Zeros) -> None:
    return None


def _linear(node: Node, zeros: Zeros) -> bool:
    return node.args[0] in zeros


def _product(node: Node, zeros: Zeros) -> bool:
    return any(arg in zeros for arg in node.args[:2])


def _unbiased(node: Node, zeros: Zeros) -> bool:
    """A convolution, linear where it has no bias."""
    return node.args[2] is None and _product(node, zeros)


def _all(node: Node, zeros: Zeros) -> bool:
    parts = node.args[0]
    return isinstance(parts, list | tuple) and all(part in zeros for part in parts)


def _both_branches(node: Node, zeros: Zeros) -> bool:
    return len(node.args) == 3 and node.args[1] in zeros and node.args[2] in zeros


def _scattered(node: Node, zeros: Zeros) -> bool:
    return node.args[0] in zeros and node.args[1] in zeros


def _padded(node: Node, zeros: Zeros) -> bool:
    return node.args[0] in zeros and not (len(node.args) > 2 and node.args[2])


def _sum(node: Node, zeros: Zeros) -> Node | bool | None:
    left, right = node.args[:2]
    if not isinstance(left, Node) or not isinstance(right, Node):
        return None
    if left in zeros and right in zeros:
        return True
    if right in zeros:
        return as_kind_of(node, left)
    plain = name(node) == "add" and node.kwargs.get("alpha", 1) == 1
    return as_kind_of(node, right) if left in zeros and plain else None


# The product inside each operation that adds one to its first argument.
_INSIDE = {"addmm": aten.mm.default, "addmv": aten.mv.default, "baddbmm": aten.bmm.default}


def _sum_with_product(node: Node, zeros: Zeros) -> Node | bool | None:
    if set(node.kwargs.values()) - {1} or len(node.args) != 3:
        return None
    added, left, right = node.args
    to = kind(node)
    assert to is not None
    if left in zeros or right in zeros:
        return added in zeros or (as_kind_of(node, added) if isinstance(added, Node) else None)
    if added in zeros:
        return call(node.graph, node, _INSIDE[name(node)], left, right, to=to)
    return None


def _sum_with_pointwise(node: Node, zeros: Zeros) -> Node | bool | None:
    added, left, right = node.args[:3]
    if left in zeros or right in zeros:
        return added in zeros or (as_kind_of(node, added) if isinstance(added, Node) else None)
    return None


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_LINEAR, _linear),
    **dict.fromkeys(("mul", "mm", "bmm", "mv", "dot"), _product),
    **dict.fromkeys(_INSIDE, _sum_with_product),
    **dict.fromkeys(("add", "sub"), _sum),
    **dict.fromkeys(("cat", "stack"), _all),
    **dict.fromkeys(("select_scatter", "slice_scatter", "diagonal_scatter"), _scattered),
    "div": _linear,
    "addcmul": _sum_with_pointwise,
    "convolution": _unbiased,
    "constant_pad_nd": _padded,
    "where": _both_branches,
}
