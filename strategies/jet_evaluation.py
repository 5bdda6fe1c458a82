"""The jets of a function: its recorded graph by the rules of `jets`, tried, and a batch in pieces.

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
from .jets import Jet, Seconds
from .operators import Orders
from .registry import Inputs, Options, Unsupported
from .tracing import gradients, held_by

# In bytes: the largest block of tangents that is not divided, and what it is divided to.
_LARGE, _PIECE = 8 * 2**20, 4 * 2**20


def _ruled(graph: GraphModule) -> Callable[..., Jet]:
    """The graph of f as a function of the jet of x."""
    if any(mutates(node) for node in moving(graph)):
        raise Unsupported("what depends on x is written into a tensor from outside of f")
    run = by_rules(graph)

    def evaluate(x: Jet, *args: Tensor) -> Jet:
        found = run(x, *args)
        if isinstance(found, Jet):
            return found
        return Jet(found, found.new_zeros(len(x.first), *found.shape), None, x.carried)

    return evaluate


def _units(graph: GraphModule, inputs: Inputs, carried: Seconds) -> Callable[[Tensor], Jet]:
    """x with the n unit directions, which are not written down where no operation reads them."""
    n, unit = inputs[0].shape[1], only_in_products(graph)

    def of(x: Tensor) -> Jet:
        rows = x.new_zeros(()) if unit else torch.eye(n, dtype=x.dtype, device=x.device)[:, None]
        return Jet(x, rows.expand(n, *x.shape), None, carried, unit=True)

    return of


def jets_along(f: Function, inputs: Inputs, options: Options, carried: Seconds) -> Call:
    """`(x, v, *args)` to the jet of f at x along v: value `[B, m]`, first `[1, B, m]`."""
    x, _, *args = inputs
    graph = recorded(f, (x, *args))
    run = _ruled(graph)

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Jet:
        return run(Jet(x, v[None], None, carried), *args)

    def tried(x: Tensor, *args: Tensor) -> tuple[Jet, Tensor]:
        along = moved(torch.zeros_like(x), 1.0)
        return evaluate(x, along, *args), along[None]

    _check(f, tried, graph, (x, *args), options)
    return evaluate


def _jets_of(
    f: Function, graph: GraphModule, inputs: Inputs, options: Options, carried: Seconds
) -> Call:
    """`(x, *args)` to the jet of f there: value `[B, m]`, first `[n, B, m]`.

    graph: that of f, recorded for as many rows as the inputs have.
    """
    run, start = _ruled(graph), _units(graph, inputs, carried)

    def evaluate(x: Tensor, *args: Tensor) -> Jet:
        return run(start(x), *args)

    def tried(x: Tensor, *args: Tensor) -> tuple[Jet, Tensor]:
        return evaluate(x, *args), torch.eye(x.shape[1]).to(x)[:, None]

    _check(f, tried, graph, inputs, options)
    return evaluate


def _check(
    f: Function,
    tried: Callable[..., tuple[Jet, Tensor]],
    graph: GraphModule,
    inputs: Inputs,
    options: Options,
) -> None:
    """Refuse where the recorded graph is not f at another point than the recorded one, or where
    autograd differentiates f otherwise than its operations say.

    tried: the jet of f at `(x, *args)`, and the directions of its tangents, `[k, B or 1, n]`.
    """
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
    jet, along = _attempted(tried, here)
    by_rule = (jet.first * moved(torch.ones_like(y), 1.0)).sum(-1)
    if not (agree(jet.value, y) and agree(by_rule, (along * by_autograd[0]).sum(-1))):
        raise Unsupported("the rules of Taylor mode do not give value and gradient of f")


@torch.no_grad()
def _attempted(tried: Callable[..., tuple[Jet, Tensor]], here: Inputs) -> tuple[Jet, Tensor]:
    try:
        return tried(*here)
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


def in_pieces(
    f: Function, inputs: Inputs, options: Options, carried: Seconds
) -> Callable[..., Orders]:
    """`(x, *args) -> Orders`: first `[B, m, n]`, second `[B, m, 1 or n]` or None, as carried."""
    B, whole = len(inputs[0]), recorded(f, inputs)
    rows = B if options.create_graph else _rows_at_once(whole, inputs[0])
    sizes = [len(part) for part in torch.arange(B).tensor_split(-(-B // rows))]
    by_size = {}
    for size in set(sizes):
        some = tuple(t[:size] for t in inputs)
        graph = whole if size == B else recorded(f, some)
        by_size[size] = _jets_of(f, graph, some, options, carried)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        if len(sizes) == 1:
            return _orders(by_size[B](x, *args), options)
        parts = zip(*(t.split(sizes) for t in (x, *args)), strict=True)
        found = [_orders(by_size[len(given[0])](*given), options) for given in parts]
        return Orders(*(_joined(order) for order in zip(*found, strict=True)))

    return evaluate


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _orders(jet: Jet, options: Options) -> Orders:
    """Directions last; what may be an input or a view of a parameter becomes the caller's own."""
    value, first, second = jet.value, jet.first.movedim(0, -1), _second(jet)
    if options.values:
        value, first = value.clone(), first.clone()
    return Orders(value, first, None if second is None else second.movedim(0, -1))


def _second(jet: Jet) -> Tensor | None:
    if jet.second is not None or jet.carried is Seconds.NONE:
        return jet.second
    return jet.value.new_zeros(
        1 if jet.carried is Seconds.SUM else len(jet.first), *jet.value.shape
    )
