"""What single operations add to a chain of affine and elementwise layers.

A reader gets the node of an operation, the node of its argument h that depends on x, and `Rest`,
which notes what the step reads beside h. An operation that is none of a chain's is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .chains import Affine, Elementwise, Scale, Shift, Step
from .elementwise import RULES, bound
from .graphs import Kind, kind, name
from .registry import Unsupported
from .replaying import faster

aten = torch.ops.aten


@dataclass(frozen=True)
class Beside:
    """Places of what is set beside h, before the product that must follow."""

    before: tuple[int, ...]
    after: tuple[int, ...]


Steps = Sequence[Step | Beside]


@dataclass
class Rest:
    """What the steps read of a graph beside h: each node that is needed gets a place."""

    B: int
    needed: list[Node] = field(default_factory=list)

    def place(self, node: Node) -> int:
        self.needed.append(node)
        return len(self.needed) - 1

    def made(self, target: Any, of: Node, *args: Any) -> int:
        """The place of what an operation makes of a node."""
        return self.place(_call(target, of, *args))

    def beside(self, value: Any, node: Node) -> int | float:
        """What h is scaled or shifted by: a number, or the place of a `[B, k]`, `[k]` or `[]`."""
        to, of = known(node), kind(value)
        if not isinstance(value, Node):
            return float(value)
        if of is None or to.dtype != torch.result_type(_of(to), _of(of)):
            raise breaks(node)
        if not of.shape:
            return self.place(value)
        whole = len(of.shape) == len(to.shape)
        if whole and of.shape[0] != self.B:
            value = _call(aten.squeeze.dim, value, 0)
        lead = [self.B] if whole and of.shape[0] == self.B else []
        spread = _call(aten.expand.default, value, [*lead, *to.shape[1:]])
        return self.made(aten.reshape.default, spread, [*lead, prod(to.shape[1:])])


def _alike(target: Any, of: Node) -> Node:
    made = _call(target, of)
    made.meta["kind"] = kind(of)
    return made


def _call(target: Any, of: Node, *args: Any) -> Node:
    with of.graph.inserting_after(of):
        return of.graph.call_function(target, (of, *args))


def known(node: Node) -> Kind:
    found = kind(node)
    assert found is not None
    return found


def _of(kind: Kind) -> Tensor:
    return torch.empty(kind.shape, dtype=kind.dtype, device="meta")


def broken(reason: str) -> Unsupported:
    return Unsupported(f"f is no chain of affine and elementwise layers: {reason}")


def called(node: Node) -> str:
    if node.op == "placeholder":
        return "x"
    return name(node) or getattr(node.target, "__name__", str(node.target))


def breaks(node: Node) -> Unsupported:
    return broken(f"`{called(node)}` breaks it")


def _arguments(node: Node) -> tuple[Any, ...]:
    return node.args


def _same(node: Node, h: Node, rest: Rest) -> Steps:
    """A view or copy that leaves each row as it is."""
    return []


def _elementwise(node: Node, h: Node, rest: Rest) -> Steps:
    (first, *more), keywords = _arguments(node), dict(node.kwargs)
    if first is not h or any(isinstance(value, Node) for value in (*more, *keywords.values())):
        raise breaks(node)
    plain = faster(node.target)
    value = (lambda a: plain(a, *more, **keywords)) if more or keywords else plain
    return [Elementwise(value, bound(RULES[name(node)], tuple(more), keywords))]


def _product(node: Node, h: Node, rest: Rest) -> Steps:
    """`addmm(b, h, Wᵀ)` and `mm(h, Wᵀ)`."""
    *bias, left, right = _arguments(node)
    if left is not h or right is h or h in bias or node.kwargs or len(known(h).shape) != 2:
        raise breaks(node)
    (weight,) = _arguments(right) if name(right) == "t" else (_call(aten.t.default, right),)
    if not bias:
        return [Affine(rest.place(weight))]
    if (of := kind(bias[0])) is not None and of.shape == known(node).shape[1:]:
        return [Affine(rest.place(weight), rest.place(bias[0]))]
    return [Affine(rest.place(weight)), Shift(rest.beside(bias[0], node))]


def _vector_product(node: Node, h: Node, rest: Rest) -> Steps:
    """`mv(h, w)`."""
    left, right = _arguments(node)
    if left is not h or right is h:
        raise breaks(node)
    return [Affine(rest.made(aten.unsqueeze.default, right, 0))]


def _other(node: Node, h: Node) -> Any:
    """The operand beside h of an operation of two that keeps the shape of h."""
    first, second, *more = _arguments(node)
    other = second if first is h else first
    if more or set(node.kwargs) or other is h or known(node).shape != known(h).shape:
        raise breaks(node)
    return other


def _sum(node: Node, h: Node, rest: Rest) -> Steps:
    return [Shift(rest.beside(_other(node, h), node))]


def _difference(node: Node, h: Node, rest: Rest) -> Steps:
    other = _other(node, h)
    if node.args[0] is not h:
        return [Scale(-1.0), Shift(rest.beside(other, node))]
    other = _alike(aten.neg.default, other) if isinstance(other, Node) else -other
    return [Shift(rest.beside(other, node))]


def _reversed_difference(node: Node, h: Node, rest: Rest) -> Steps:
    return [Scale(-1.0), Shift(rest.beside(_other(node, h), node))]


def _multiple(node: Node, h: Node, rest: Rest) -> Steps:
    if node.args == (h, h):
        return [Elementwise(torch.square, RULES["square"])]
    return [Scale(rest.beside(_other(node, h), node))]


def _quotient(node: Node, h: Node, rest: Rest) -> Steps:
    other = _other(node, h)
    if node.args[0] is not h:
        raise breaks(node)
    if not isinstance(other, Node):
        return [Scale(1 / other)]
    # The reciprocal of integers would be of the default dtype.
    if known(other).dtype != known(node).dtype:
        raise breaks(node)
    return [Scale(rest.beside(_alike(aten.reciprocal.default, other), node))]


def _negative(node: Node, h: Node, rest: Rest) -> Steps:
    return [Scale(-1.0)]


def _row_sum(node: Node, h: Node, rest: Rest) -> Steps:
    """`sum` and `mean` over the whole of each row: a product with one row of ones."""
    (_, *more), (B, *inside), to = _arguments(node), known(h).shape, known(node)
    dims = {dim % (len(inside) + 1) for dim in more[0]} if more and more[0] else {0}
    if 0 in dims or node.kwargs or prod(to.shape) != B or to.dtype != known(h).dtype:
        raise breaks(node)
    k = prod(inside)
    fill = 1.0 if name(node) == "sum" else 1.0 / k
    with node.graph.inserting_before(node):
        how: dict[str, Any] = {"dtype": to.dtype, "device": to.device}
        ones = node.graph.call_function(aten.full.default, ([1, k], fill), how)
    return [Affine(rest.place(ones))]


def _cat(node: Node, h: Node, rest: Rest) -> Steps:
    """`cat` of h with what does not depend on x, side by side."""
    parts, *dim = _arguments(node)
    beside = [part for part in parts if part is not h]
    flat = all(len(known(part).shape) == 2 for part in parts)
    if not flat or (dim or [0])[0] not in (1, -1) or len(beside) + 1 != len(parts):
        raise breaks(node)
    at = parts.index(h)
    places = [rest.place(part) for part in beside]
    return [Beside(tuple(places[:at]), tuple(places[at:]))]


READERS: dict[str, Callable[[Node, Node, Rest], Steps]] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone"), _same),
    "addmm": _product,
    "mm": _product,
    "mv": _vector_product,
    "add": _sum,
    "sub": _difference,
    "rsub": _reversed_difference,
    "mul": _multiple,
    "div": _quotient,
    "neg": _negative,
    "sum": _row_sum,
    "mean": _row_sum,
    "cat": _cat,
    **dict.fromkeys(RULES, _elementwise),
}
