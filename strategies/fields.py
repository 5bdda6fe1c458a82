"""The bilaplacian of chains of affine and elementwise layers, written down: symmetric fields.

Carried through the layers are, of each unit u, the derivatives that its bilaplacian is made of: uᵢ,
uᵢⱼ for i ≤ j, ∂ᵢΔu and Δ²u; Δu is the sum of the uᵢᵢ. That is (n + 1)(n + 4)/2 - 1 fields, where
two nested Laplacians carry (n + 2)² numbers. An affine layer maps each field by its matrix. Of an
elementwise layer g = σ(u), with sums over j (Griewank and Walther, Evaluating Derivatives, ch. 13):

    gᵢ   = σ′uᵢ
    gᵢⱼ  = σ″uᵢuⱼ + σ′uᵢⱼ
    ∂ᵢΔg = (σ‴|∇u|² + σ″Δu) uᵢ + 2σ″uⱼuᵢⱼ + σ′∂ᵢΔu
    Δ²g  = σ⁗|∇u|⁴ + σ‴(4uᵢuⱼuᵢⱼ + 2|∇u|²Δu) + σ″(2uᵢⱼuᵢⱼ + 4uⱼ∂ⱼΔu + (Δu)²) + σ′Δ²u
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .chain_blocks import in_parts
from .chain_reading import chain_of
from .chains import Diagonal, Factor, layers_of
from .functions import Function
from .operators import Operator, Orders
from .products import linear
from .registry import Evaluate, Inputs, Options, strategy


class Fields(NamedTuple):
    """The derivatives of k units, by field and row: `first: [n, B, k]`, `second: [pairs, B, k]`,
    `third: [n, B, k]` and `fourth: [B, k]`; 1 for B where all rows are alike, None where zero.
    """

    first: Tensor
    second: Tensor | None = None
    third: Tensor | None = None
    fourth: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs i ≤ j of n directions.

    place: `[n²]`, where the pair of i and j is; often: `[pairs, 1, 1]`, in how many of the n²
    places it stands.
    """

    n: int
    left: Tensor
    right: Tensor
    place: Tensor
    often: Tensor


def pairs_of(x: Tensor) -> Pairs:
    """The pairs of inputs of `x: [B, n]`."""
    n = x.shape[1]
    left, right = torch.triu_indices(n, n, device=x.device)
    place = left.new_zeros(n, n)
    place[left, right] = place[right, left] = torch.arange(len(left), device=x.device)
    often = torch.where(left == right, 1, 2).to(x.dtype)
    return Pairs(n, left, right, place.reshape(-1), often[:, None, None])


def _sum(*terms: Tensor | None) -> Tensor | None:
    """A sum in which None is zero."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], there[0]) if there else None


def _times(a: Tensor | float | None, b: Tensor | float | None) -> Tensor | None:
    """A product in which None is zero."""
    return None if a is None or b is None else a * b  # type: ignore[return-value]


def _mapped(fields: Fields | None, matrix: Tensor) -> Fields:
    """The fields behind an affine layer, one product of matrices each; None: those of x."""
    if fields is None:
        return Fields(matrix.mT[:, None])
    return Fields(*(None if field is None else linear(field, matrix) for field in fields))  # type: ignore[arg-type]


def _contracted(fields: Fields, pairs: Pairs) -> Tensor | None:
    """`uⱼuᵢⱼ`: `[n, B, k]`."""
    if fields.second is None:
        return None
    full = fields.second.index_select(0, pairs.place).unflatten(0, (pairs.n, pairs.n))
    return (full * fields.first).sum(1)


def _laplacian(fields: Fields, pairs: Pairs) -> Tensor | None:
    """`Δu = uᵢᵢ`: `[B, k]`."""
    if fields.second is None:
        return None
    return fields.second.index_select(0, pairs.place[:: pairs.n + 1]).sum(0)


def _bent(fields: Fields, layer: Diagonal, pairs: Pairs, last: bool) -> Fields:
    """The fields behind an elementwise layer; last: of those above the first only Δ²g."""
    u, slope, bend = fields.first, layer.slope, layer.bend
    if bend is None:
        return Fields(*(_times(field, slope) for field in fields))  # type: ignore[arg-type]
    squares, trace = (u * u).sum(0), _laplacian(fields, pairs)
    met = _contracted(fields, pairs)
    fourth = _fourth(fields, layer, pairs, squares, trace, met)
    if last:
        return Fields(u * slope, None, None, fourth)
    along = _sum(_times(layer.third, squares), _times(bend, trace))
    return Fields(
        u * slope,
        _sum(
            bend * (u.index_select(0, pairs.left) * u.index_select(0, pairs.right)),
            _times(fields.second, slope),
        ),
        _sum(_times(u, along), _times(_times(2, met), bend), _times(fields.third, slope)),
        fourth,
    )


def _fourth(
    fields: Fields,
    layer: Diagonal,
    pairs: Pairs,
    squares: Tensor,
    trace: Tensor | None,
    met: Tensor | None,
) -> Tensor | None:
    """`Δ²g`; squares: `|∇u|²`, trace: `Δu`, met: `uⱼuᵢⱼ`."""
    u, second, third = fields.first, fields.second, fields.third
    curved = third_of = None
    if second is not None:
        assert met is not None
        assert trace is not None
        third_of = 4 * (u * met).sum(0) + 2 * squares * trace
        curved = 2 * (pairs.often * second * second).sum(0) + trace * trace
    if third is not None:
        curved = _sum(curved, 4 * (u * third).sum(0))
    return _sum(
        _times(layer.fourth, squares * squares),
        _times(layer.third, third_of),
        _times(layer.bend, curved),
        _times(fields.fourth, layer.slope),
    )


def _through(layers: Sequence[Factor], y: Tensor, pairs: Pairs, whole: bool) -> Fields:
    """The fields of the result; whole: that its tangents are wanted too."""
    bending = [k for k, f in enumerate(layers) if isinstance(f, Diagonal) and f.bend is not None]
    last = max(bending, default=-1)
    fields: Fields | None = None
    for k, layer in enumerate(layers):
        if isinstance(layer, Diagonal):
            fields = _bent(_units(y, pairs) if fields is None else fields, layer, pairs, k >= last)
        elif k > last and not whole and fields is not None:
            # Behind the last layer that bends only Δ² is asked for.
            fields = _mapped(fields._replace(first=fields.first[:0], second=None), layer)
        else:
            fields = _mapped(fields, layer)
    return _units(y, pairs) if fields is None else fields


def _units(like: Tensor, pairs: Pairs) -> Fields:
    """The fields of x itself."""
    return Fields(torch.eye(pairs.n, dtype=like.dtype, device=like.device)[:, None])


@strategy(
    Operator.BILAPLACIAN,
    mode="closed-form",
    sweep="one-pass",
    needs=["sum", "chain"],
    name="closed-form",
)
def closed_form_bilaplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Symmetric fields through each layer, half of what nesting carries; only a chain of layers."""
    chain, pairs = chain_of(f, inputs, options), pairs_of(inputs[0])

    def some_rows(layers: Sequence[Factor], y: Tensor) -> tuple[Tensor, ...]:
        found = _through(layers, y, pairs, options.values)
        fourth = torch.zeros_like(y) if found.fourth is None else found.fourth.expand_as(y).clone()
        if not options.values:
            return (fourth,)
        return fourth, found.first.expand(pairs.n, *y.shape).movedim(0, -1).clone()

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        y, layers = layers_of(chain, x, args)
        rows = len(pairs.place)
        fourth, *first = in_parts(some_rows, layers, y, rows, whole=options.create_graph)
        return Orders(y, first[0] if first else None, fourth)

    return evaluate
