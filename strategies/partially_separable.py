"""Jacobians of partially separable functions: each output is of a few gathered inputs.

Where f first gathers from x and then computes (`gathers`), outputs that share an input need not
share what was gathered: in bundle adjustment the two residuals of each observation have a copy of
their camera and their point of their own. The rest of f then has a Jacobian of small blocks, whose
rows need as many colours as a block has: two backward passes tell all entries, however many
cameras there are.

Source: A. Griewank, Ph. L. Toint, "On the unconstrained optimization of partially separable
functions" (1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .compression import cheaper, products_at, with_sorted_rows
from .entries import Entries
from .functions import Function
from .gathers import Gathered, gathered, taking
from .operators import Operator, Orders
from .pattern import graph_of_row
from .registry import Evaluate, Inputs, Options, strategy
from .sparse import check_jacobian, products_of
from .tracing import check_replay, held_by, remove_detach


@strategy(
    Operator.JACOBIAN,
    mode="forward-or-reverse",
    sweep="coloured",
    needs=["rows", "sparse"],
    sparse=True,
)
def partially_separable(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """What f gathers from x is taken for its inputs: as many products as a block has outputs."""
    graph = graph_of_row(f, inputs)
    if options.create_graph:
        remove_detach(graph)
    cut = gathered(graph, inputs[0])
    take = taking(cut)
    check_replay(f, lambda x, *a: cut.rest(take(x), *a), held_by(graph), inputs, options)
    entries = with_sorted_rows(cut.entries)
    colours = cheaper(entries)
    at, found = products_at(entries, colours, inputs[0])
    products = products_of(cut.rest, colours, take(inputs[0]), options)
    merged = _merged(cut, found, inputs[0].shape[1])
    at = at.reshape(len(inputs[0]), -1)[:, merged.order].reshape(-1)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, found = products(take(x), args)
        return Orders(y, merged.sums(found.reshape(-1).index_select(0, at).reshape(len(x), -1)))

    sizes = (entries.shape[0], inputs[0].shape[1])
    made = Entries(Operator.JACOBIAN, evaluate, merged.places, sizes, cut.held)
    check_jacobian(f, made, inputs)
    return made


@dataclass(frozen=True)
class Merged:
    """Entries by what was gathered, brought to those by x.

    order: `[K]`, which of them, sorted by output and input. slots: `[K]`, to which entry of the
    result each is added, None where each is one of its own. places: `[2, entries of the result]`.
    """

    order: Tensor
    slots: Tensor | None
    places: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """`[B, K]` to `[B, entries]`."""
        if self.slots is None:
            return values
        empty = values.new_zeros(len(values), self.places.shape[1])
        return empty.index_add(1, self.slots, values)


def _merged(cut: Gathered, found: Tensor, n: int) -> Merged:
    """found: `[2, K]`, output and gathered element of each entry."""
    output, inside = found
    source = cut.at[inside]
    order = torch.argsort(output * n + source, stable=True)
    # What f fills in has no input.
    order = order[source[order] >= 0]
    keys, slots = torch.unique_consecutive((output * n + source)[order], return_inverse=True)
    places = torch.stack([keys // n, keys % n])
    return Merged(order, None if len(keys) == len(order) else slots, places)
