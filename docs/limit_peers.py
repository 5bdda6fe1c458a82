"""What the strategies of `make limits` are held against: `torch.func`, plain ones, a floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial

import torch
from limit_lines import Call
from limit_works import (
    DIVERGENCE,
    ENTRIES,
    FLOOR,
    HESSIAN,
    JACOBIAN,
    LAPLACIAN,
    PLAIN,
    F,
    Function,
    Work,
)
from torch import Tensor, nn
from torch.func import hessian, jacfwd, jacrev, vmap

from bench.brackets import Product
from bench.floors import floor
from bench.problem import Layers
from bench.products import ways
from strategies import Operator, Plan, prepare
from strategies.functions import row

# By what bars call them, calls by their names.
Peers = dict[str, dict[str, Call]]


def functional(work: Work, f: Function, x: Tensor) -> dict[str, Call]:
    """What `torch.func` has, unless no bar is held against it: it may be out of reach there."""
    if all(bar.is_cost or bar.against == PLAIN for bar in work.bars):
        return {}
    found = forms(work.operator, f)
    if work.chunk:
        found[f"chunked jacrev ({work.chunk})"] = vmap(jacrev(row(f), chunk_size=work.chunk))
    return {name: partial(form, x) for name, form in found.items()}


def forms(operator: Operator, f: Function) -> dict[str, Function]:
    """What `torch.func` has for an operator."""
    one = row(f)
    trace = _trace(hessian(one))
    first = {"vmap(jacrev)": vmap(jacrev(one)), "vmap(jacfwd)": vmap(jacfwd(one))}
    second = {"vmap(hessian)": vmap(hessian(one))}
    found: dict[Operator, dict[str, Function]] = {
        JACOBIAN: first,
        HESSIAN: second,
        LAPLACIAN: {name: _trace(form) for name, form in second.items()},
        Operator.BILAPLACIAN: {"two nested hessian": vmap(_trace(hessian(trace)))},
        DIVERGENCE: {"vmap(jacrev)": _trace(first["vmap(jacrev)"])},
    }
    return found[operator]


def _trace(matrix: Function) -> Function:
    return lambda x: matrix(x).diagonal(dim1=-2, dim2=-1).sum(-1)


def plain(work: Work, f: Function, x: Tensor) -> dict[str, Call]:
    """The work's plain strategies."""

    def call(strategy: str) -> Call:
        plan = prepare(work.operator, f, x, strategy=strategy)
        return lambda: plan(x)

    return {f"plain {name}": call(name) for name in work.plain}


def bounds(work: Work, f: Function, x: Tensor, plans: Mapping[str, Plan]) -> Peers:
    """What bars are to be near to, by what they call it.

    plans: of the bars, by their labels; zeros and entries are those of a dense result.
    """
    asked = {bar.against: plans[bar.label] for bar in work.bars if bar.label in plans}
    found: Peers = {}
    if FLOOR in asked:
        assert isinstance(f, nn.Module)
        found[FLOOR] = floors(f, x)
    if F in asked:
        found[F] = {F: partial(f, x)}
    if ENTRIES in asked:
        dense = asked[ENTRIES](x)
        assert isinstance(dense, Tensor)
        found[ENTRIES] = {ENTRIES: zeros_and_entries(dense)}
    return found


def zeros_and_entries(dense: Tensor) -> Call:
    """What a dense result with these entries costs, whoever computed them."""
    at = dense.flatten().nonzero()[:, 0]
    values, size = dense.flatten()[at], dense.numel()
    return lambda: torch.zeros(size, dtype=dense.dtype).index_copy_(0, at, values)


def floors(f: nn.Module, x: Tensor) -> dict[str, Call]:
    """The products of matrices, and nothing else, of the best known method for the Laplacian of an
    MLP, by each library that torch has for them."""
    widths = tuple(m.out_features for m in f.modules() if isinstance(m, nn.Linear))
    least = floor(LAPLACIAN, Layers((x.shape[1], *widths)), len(x), x.element_size())
    assert least is not None
    made = [_ways(product, x) for product in least.products]
    by_library = zip(("torch.mm", "torch.conv2d"), zip(*made, strict=True), strict=False)
    return {f"{FLOOR} ({name})": partial(_each, calls) for name, calls in by_library}


def _ways(product: Product, x: Tensor) -> list[Call]:
    rows, inner, columns, _ = astuple(product)
    shapes = (rows, inner), (inner, columns), (rows, columns)
    return ways(*(torch.ones(shape, dtype=x.dtype) for shape in shapes))


def _each(calls: Sequence[Call]) -> None:
    for call in calls:
        call()
