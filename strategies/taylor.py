"""Taylor mode for arbitrary functions: the recorded graph of f, read by the rules of `jets`.

`forward-laplacian` carries value, tangents and the sum of the second derivatives, `taylor2` a
second derivative for each direction. See `jets` for the sources.

NOTE [large blocks]
Tangents are n times as large as what they belong to. A block that does not fit the cache makes
every elementwise operation several times slower, and on CPU one that is fresh from the system
faults on every page: f is recorded for few rows, and the batch goes through in pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.fx import GraphModule

from .functions import Function, agree, first_line, moved
from .graphs import kind, mutates
from .jet_graphs import Call, by_rules, moving, only_in_products, recorded
from .jets import Jet
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, Unsupported, strategy, summed
from .tracing import gradients, held_by

# In bytes: the largest block of tangents that is not divided, and what it is divided to.
_LARGE, _PIECE = 8 * 2**20, 4 * 2**20


def _jets_of(
    f: Function, graph: GraphModule, inputs: Inputs, options: Options, collapsed: bool
) -> Call:
    """`(x, *args)` to the jet of f there: value `[B, m]`, first `[n, B, m]`.

    graph: that of f, recorded for as many rows as the inputs have.
    """
    if any(mutates(node) for node in moving(graph)):
        raise Unsupported("what depends on x is written into a tensor from outside of f")
    run, n, unit = by_rules(graph), inputs[0].shape[1], only_in_products(graph)

    def evaluate(x: Tensor, *args: Tensor) -> Jet:
        rows = x.new_zeros(()) if unit else torch.eye(n, dtype=x.dtype, device=x.device)[:, None]
        found = run(Jet(x, rows.expand(n, *x.shape), None, collapsed, unit=True), *args)
        if not isinstance(found, Jet):
            return Jet(found, found.new_zeros(n, *found.shape), None, collapsed)
        return found

    _check(f, evaluate, graph, inputs, options)
    return evaluate


def _check(
    f: Function, evaluate: Call, graph: GraphModule, inputs: Inputs, options: Options
) -> None:
    """Refuse where the recorded graph is not f at another point than the recorded one, or where
    autograd differentiates f otherwise than its operations say."""
    here = tuple(
        moved(t, 1e-2, seed).requires_grad_() if t.is_floating_point() else t
        for seed, t in enumerate(inputs)
    )
    with torch.enable_grad():
        y, replayed = f(here[0].clone(), *here[1:]), graph(*here)
        if not agree(y, replayed):
            raise Unsupported(
                "its trace does not hold at other values than the traced ones"
                " (a branch or a constant in it depends on the values of x)"
            )
        held = held_by(graph) if options.create_graph else []
        given = here if options.create_graph else here[:1]
        sources = [t for t in (*given, *held) if t.requires_grad]
        by_autograd, by_graph = (gradients([found], sources) for found in (y, replayed))
    if not all(agree(a, b) for a, b in zip(by_autograd, by_graph, strict=True)):
        raise Unsupported(
            "autograd differentiates f otherwise than the operations of its trace (a Function with"
            " a backward of its own, or a tensor that f detaches)"
        )
    jet = _attempted(evaluate, here)
    along_outputs = (jet.first * moved(torch.ones_like(y), 1.0)).sum(-1).T
    if not (agree(jet.value, y) and agree(along_outputs, by_autograd[0])):
        raise Unsupported("the rules of Taylor mode do not give value and gradient of f")


@torch.no_grad()
def _attempted(evaluate: Call, here: Inputs) -> Jet:
    try:
        return evaluate(*here)
    except (AttributeError, IndexError, TypeError) as error:
        raise Unsupported(
            f"a rule of Taylor mode does not cover a use of its operation: {first_line(error)}"
        ) from error


def _rows_at_once(graph: GraphModule, x: Tensor) -> int:
    """How many rows have blocks of tangents that fit the cache, see NOTE [large blocks]."""
    B, n = x.shape
    # Of x itself the tangents are not stored for each row.
    kinds = [known for node in moving(graph)[1:] if (known := kind(node)) is not None]
    block = n * max((prod(k.shape) * k.dtype.itemsize for k in kinds), default=0)
    return B if block <= _LARGE else max(1, B * _PIECE // block)


def _taylor(
    f: Function, inputs: Inputs, options: Options, collapsed: bool
) -> Callable[..., Orders]:
    """`(x, *args) -> Orders`, whose second order is `[B, m, 1 or n]`."""
    B, whole = len(inputs[0]), recorded(f, inputs)
    rows = B if options.create_graph else _rows_at_once(whole, inputs[0])
    sizes = [len(part) for part in torch.arange(B).tensor_split(-(-B // rows))]
    by_size = {}
    for size in set(sizes):
        some = tuple(t[:size] for t in inputs)
        graph = whole if size == B else recorded(f, some)
        by_size[size] = _jets_of(f, graph, some, options, collapsed)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        if len(sizes) == 1:
            return _orders(by_size[B](x, *args), options)
        parts = zip(*(t.split(sizes) for t in (x, *args)), strict=True)
        found = [_orders(by_size[len(given[0])](*given), options) for given in parts]
        value, first, second, _ = zip(*found, strict=True)
        return Orders(torch.cat(value), torch.cat(first), torch.cat(second))

    return evaluate


def _orders(jet: Jet, options: Options) -> Orders:
    """Directions last; what may be an input or a view of a parameter becomes the caller's own."""
    second = jet.second
    if second is None:
        second = jet.value.new_zeros(1 if jet.collapsed else len(jet.first), *jet.value.shape)
    first, second = jet.first.movedim(0, -1), second.movedim(0, -1)
    if options.values:
        return Orders(jet.value.clone(), first.clone(), second)
    return Orders(jet.value, first, second)


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
def forward_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Collapsed Taylor mode: value, all tangents and the Laplacian in one forward pass."""
    jets = _taylor(f, inputs, options, collapsed=True)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        found = jets(x, *args)
        assert found.second is not None
        return found._replace(second=found.second.squeeze(-1))

    return evaluate


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
@summed
@strategy(Operator.HESSIAN_DIAGONAL, mode="taylor", sweep="one-pass", needs=["rows"])
def taylor2(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Taylor mode of order two: value, all tangents and a second derivative for each of them."""
    return _taylor(f, inputs, options, collapsed=False)
