"""Jacobians and Hessians of which most is zero, for a few products instead of n or m.

The pattern (`pattern`) says which outputs depend on which inputs. Inputs that share no output are
of one colour (`colouring`), and one product with the sum of their unit directions holds the
derivatives by all of them: a stencil on a grid of any size takes a handful.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.func import grad, jacrev, jvp, vmap

from .colouring import star_coloured
from .compression import (
    Colours,
    cheaper,
    compare,
    elsewhere,
    places_of,
    products_at,
    with_sorted_rows,
)
from .entries import Entries
from .forward import push
from .functions import Function, moved
from .loops import pull, start
from .operators import Operator, Orders, own_result
from .pattern import Pattern, pattern_of
from .registry import Evaluate, Inputs, Options, Unsupported, strategy


@strategy(
    Operator.JACOBIAN,
    mode="forward-or-reverse",
    sweep="coloured",
    needs=["rows", "sparse"],
    sparse=True,
)
def coloured(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One product for each colour: `jvp` of columns or vjp of rows, whichever has fewer."""
    pattern = pattern_of(f, inputs)
    entries = with_sorted_rows(pattern.entries)
    colours = cheaper(entries)
    at, places = products_at(entries, colours, inputs[0])
    products = products_of(f, colours, inputs[0], options)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, found = products(x, args)
        return Orders(y, found.reshape(-1).index_select(0, at).reshape(len(x), -1))

    found = Entries(Operator.JACOBIAN, evaluate, places, entries.shape, pattern.held)
    check_jacobian(f, found, inputs)
    return found


Products = Callable[[Tensor, Inputs], tuple[Tensor | None, Tensor]]


def products_of(f: Function, colours: Colours, like: Tensor, options: Options) -> Products:
    """`(x, args)` to f, where it is at hand, and the products with the seeds of all colours."""
    seeds = colours.seeds(like)
    return (_pushed if colours.forward else _pulled)(f, seeds, options)


def _pushed(f: Function, seeds: Tensor, options: Options) -> Products:
    """`[colours, B, m]`."""

    def products(x: Tensor, args: Inputs) -> tuple[Tensor | None, Tensor]:
        if not len(seeds):
            return None, x.new_zeros(0)
        return None, vmap(lambda v: push(f, x, v, args)[1])(seeds)

    return products


def _pulled(f: Function, seeds: Tensor, options: Options) -> Products:
    """`[colours, B, n]`."""
    how = {"keep": True, "create_graph": options.create_graph}

    @torch.enable_grad()
    def products(x: Tensor, args: Inputs) -> tuple[Tensor | None, Tensor]:
        x, y = start(f, x, args, options)
        if len(seeds) == 1:
            return y, pull(y, x, seeds[0], create_graph=options.create_graph)
        return y, vmap(lambda v: pull(y, x, v, **how))(seeds)

    return products


def check_jacobian(f: Function, entries: Entries, inputs: Inputs) -> None:
    """Refuse entries that are not the Jacobian, see NOTE [superset] of `compression`."""
    x, *args = elsewhere(inputs)
    with torch.enable_grad():
        z = x.requires_grad_()
        y = f(z, *args)
        u = moved(torch.ones_like(y), 1.0, seed=6)
        expected = pull(y, z, u)
    values = own_result(entries.values(x.detach(), *args), second=False)
    output, of = entries.places
    compare(values * u[:, output], of, expected)


@strategy(
    Operator.HESSIAN,
    mode="forward-over-reverse",
    sweep="coloured",
    needs=["rows", "sparse"],
    name="coloured",
    sparse=True,
)
def coloured_hessian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One `jvp` of the gradient for each colour of a star colouring; symmetry tells the rest."""
    x, n = inputs[0], inputs[0].shape[1]
    m = f(*inputs).shape[1]
    pattern = _pattern_of_hessian(f, inputs)
    entries = with_sorted_rows(pattern.entries)
    of = star_coloured(entries) if entries.nnz < n * n else None
    if of is None or (entries.nnz and of.max() + 1 >= n):
        needs = "is too dense to colour" if of is None else f"needs {of.max() + 1} colours"
        raise Unsupported(
            f"nothing is saved: the pattern of {n} by {n} inputs {needs};"
            " fwd-rev is for dense Hessians"
        )
    colours = Colours(of if entries.nnz else np.zeros(0, dtype=np.int64), forward=True)
    seeds, places = colours.seeds(x), places_of(entries, x.device)
    at = _stars_at(entries, colours, m, len(x)).to(x.device)

    def evaluate(x: Tensor, *args: Tensor) -> Orders | Tensor:
        if not entries.nnz:
            return x.new_zeros(len(x), 0)
        gradients = _gradients(f, args, m)
        products = vmap(lambda v: jvp(gradients, (x,), (v,))[1])(seeds)
        return products.reshape(-1).index_select(0, at).reshape(len(x), -1)

    outputs = torch.arange(m, device=x.device).repeat_interleave(entries.nnz)[None]
    all_places = torch.cat([outputs, places.repeat(1, m)])
    found = Entries(Operator.HESSIAN, evaluate, all_places, (m, n, n), pattern.held)
    _check_hessian(f, found, inputs)
    return found


def _gradients(f: Function, args: Inputs, m: int) -> Function:
    """`[B, n] -> [m, B, n]`."""
    if m == 1:
        return lambda x: grad(lambda z: f(z, *args).sum())(x)[None]
    return jacrev(lambda z: f(z, *args).sum(0))


def _pattern_of_hessian(f: Function, inputs: Inputs) -> Pattern:
    """That of the gradient of any sum of the outputs; symmetric."""

    def gradient(x: Tensor, *args: Tensor) -> Tensor:
        def total(z: Tensor) -> Tensor:
            y = f(z, *args)
            return (y * torch.arange(1, y.shape[1] + 1, dtype=y.dtype, device=y.device)).sum()

        return grad(total)(x)

    found = pattern_of(gradient, inputs)
    both = found.entries.astype(np.int8) * found.entries.T.astype(np.int8)
    return Pattern(csr_array(both).astype(bool), found.held)


def _stars_at(entries: csr_array, colours: Colours, m: int, B: int) -> Tensor:
    """`[B m K]`: where in the products `[colours, m, B, n]` each entry is, in its own row or, where
    its row holds another entry of that colour, in that of its twin."""
    row, column = places_of(entries, torch.device("cpu"))
    of = torch.from_numpy(colours.of)
    n = entries.shape[0]
    alone = torch.zeros(n * max(colours.count, 1), dtype=torch.int64)
    alone.index_add_(0, row * colours.count + of[column], torch.ones_like(row))
    own = alone[row * colours.count + of[column]] == 1
    by, at = torch.where(own, column, row), torch.where(own, row, column)
    outputs, rows = torch.arange(m)[:, None], torch.arange(B)[:, None, None]
    return (((of[by] * m + outputs) * B + rows) * n + at).reshape(-1)


def _check_hessian(f: Function, entries: Entries, inputs: Inputs) -> None:
    x, *args = elsewhere(inputs)
    with torch.enable_grad():
        z = x.requires_grad_()
        y = f(z, *args)
        u, v = moved(torch.ones_like(y), 1.0, seed=6), moved(torch.ones_like(x), 1.0, seed=7)
        expected = pull(pull(y, z, u, create_graph=True), z, v)
    values = entries.values(x.detach(), *args)
    assert isinstance(values, Tensor)
    output, row, column = entries.places
    compare(values * u[:, output] * v[:, row], column, expected)
