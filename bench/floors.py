"""Floors: the products, bytes and launches of the best known method for a chain of layers.

NOTE [floors]
f has affine layers W_1 … W_L of widths n_0 … n_L and an elementwise one after each but the last,
with slopes D_l. Of B rows in one call, minimum over methods, brackets and fold points:

- No derivative needs the value of f, so the product with W_L is left out of the forward pass.
- First order: the chain W_L D_{L-1} … D_1 W_1 in its cheapest order, with a direction at its end.
- Divergence: a trace is cyclic, `tr(A B)`: the chain is cut at two places, its two parts are made
  in their cheapest order, and met entry by entry. With two hidden layers A and B may both be the
  same for all rows, `d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁`.
- Second order: `Σ_l Gᵀ_l σ″_l (J_l ⊗ J_l)` for q pairs of inputs (Laplacian 1, diagonal n, Hessian
  n(n+1)/2) with tangents J_l and cotangents G_l of layer l. Up to a layer c it is carried forward,
  `t ← W (σ′ t + σ″ J ⊗ J)`, behind c it meets the cotangents.
- Folds: behind layer s only n_s directions are left. `Δ = ⟨H_s, J_s J_sᵀ⟩` goes on with any R,
  `RᵀR = J_s J_sᵀ`, of n_s tangents; `H = J_sᵀ H_s J_s + …` with the identity as tangents of s.
- Hessian-vector product: a tangent forward, a cotangent back, the tangent of that back.

Sums of squares, elementwise operations and decompositions are left out. No exact strategy counts
less, and how much more the best ones count is in docs/method.md, "Floors".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise

from strategies import DIRECTIONS, Operator

from .brackets import Product, Products, cheapest, work
from .problem import Layers


@dataclass(frozen=True)
class Floor:
    """What the best known method does in one evaluation; `products` are all its FLOPs.

    bytes: each input and parameter read once, the result written once. launches: each product and
    one elementwise operation beside it.
    """

    products: Products
    bytes: int

    @property
    def flops(self) -> int:
        return 2 * work(self.products)

    @property
    def launches(self) -> int:
        return max(1, 2 * len(self.products))

    @property
    def fields(self) -> dict[str, int]:
        """As a row has them."""
        return {"flops": self.flops, "bytes": self.bytes, "launches": self.launches}


@dataclass(frozen=True)
class Chain:
    """Layers and the rows they are applied to."""

    layers: Layers
    B: int

    @property
    def widths(self) -> tuple[int, ...]:
        return self.layers.widths

    @property
    def n(self) -> int:
        return self.widths[0]

    @property
    def m(self) -> int:
        return self.widths[-1]

    @property
    def L(self) -> int:
        return len(self.widths) - 1

    def forward(self) -> Products:
        """Through all layers but the last: what the slopes need."""
        first, *rest = self.widths[:-1]
        sizes = [first + self.layers.beside, *rest]
        return tuple(Product(self.B, *pair) for pair in pairwise(sizes))

    def up(self, count: int, start: int, stop: int) -> Products:
        """So many tangents a row through the layers start to stop."""
        rows, sizes = self.B * count, self.widths[start - 1 : stop + 1]
        return tuple(Product(rows, *pair) for pair in pairwise(sizes))

    def down(self, count: int, start: int, stop: int) -> Products:
        """So many cotangents a row back through the layers start to stop."""
        return tuple(Product(p.rows, p.columns, p.inner) for p in self.up(count, stop, start))[::-1]


def floor(operator: Operator, layers: Layers, B: int, number_bytes: int) -> Floor | None:
    """The floor of an operator on B rows; None where no layer bends or no method is known."""
    chain = Chain(layers, B)
    if chain.L < 2 or operator not in METHODS:
        return None
    derivative = min(METHODS[operator](chain), key=work)
    # An outer product is elementwise.
    products = tuple(p for p in chain.forward() + derivative if p.work)
    return Floor(products, number_bytes * _numbers(operator, chain))


Methods = Iterator[Products]
# The product of a layer's cotangents with what it bends by.
Met = Callable[[int], Product]


def _first_order(chain: Chain, *, before: bool = False, after: bool = False) -> Methods:
    """The chain from the output to the input, with a direction of each row at one of its ends."""
    sizes = list(chain.widths[::-1])
    alike = [True] * chain.L
    # A direction of one number only scales the result.
    if before and chain.m > 1:
        sizes, alike = [1, *sizes], [False, *alike]
    if after and chain.n > 1:
        sizes, alike = [*sizes, 1], [*alike, False]
    # No slopes stand between a direction and its neighbour; it is itself another one for each row.
    yield cheapest(sizes, chain.B, alike=alike).products


def _divergence(chain: Chain) -> Methods:
    """The trace, cut at two of the places between layers; place 0 is where output meets input."""
    L, B, cyclic = chain.L, chain.B, [*chain.widths[:-1]] * 2
    for low, high in combinations(range(L), 2):
        parts = []
        for start, stop in ((low, high), (high, low + L)):
            sizes = cyclic[start : stop + 1][::-1]
            seam = [stop - L] if start < L < stop else []
            parts.append(cheapest(sizes, B, joint=seam))
        made = parts[0].products + parts[1].products
        a, b = cyclic[low], cyclic[high]
        if not all(part.alike for part in parts):
            yield (*made, Product(1, a * b, 1, B))
        elif low:
            yield (*made, Product(B, a, b))
        else:
            # Without slopes at place 0 the sum over it is the same for all rows too.
            yield (*made, Product(1, a * b, 1), Product(B, b, 1))


def _laplacian(chain: Chain) -> Methods:
    tangents = _compressed(chain)
    for curved in _curvature(chain, 1, partial(_met, chain, 1)):
        yield tangents + curved


def _bilaplacian(chain: Chain) -> Methods:
    """k tangents, their k (k + 1) / 2 second derivatives, the k tangents of the Laplacian, and the
    bilaplacian, through every layer but the first; behind the last that bends the last of them."""
    last, w = chain.L - 1, chain.widths
    for k, made in ((chain.n, ()), (w[1], (_symmetric(w[1], chain.n, 1),))):
        fields = k + k * (k + 1) // 2 + k + 1
        yield (*made, *chain.up(fields, 2, last), *chain.up(1, last + 1, last + 1))


def _compressed(chain: Chain) -> Products:
    """The tangents of all layers, made fewer where a layer has fewer units than there are."""

    @functools.cache
    def behind(layer: int, count: int) -> Products:
        if layer == chain.L - 1:
            return ()
        width = chain.widths[layer]
        on = lambda k: chain.up(k, layer + 1, layer + 1) + behind(layer + 1, k)  # noqa: E731
        if width >= count:
            return on(count)
        # W₁W₁ᵀ is the same for all rows.
        gram = _symmetric(width, count, 1 if layer == 1 else chain.B)
        return min(on(count), (gram, *on(width)), key=work)

    return behind(1, chain.n)


def _by_input(chain: Chain, pairs: int, met: Met, meeting: Callable[[int], Products]) -> Methods:
    """Hessian and its diagonal: n tangents to all layers, or folded at a layer."""
    last = chain.L - 1
    for curved in _curvature(chain, pairs, met):
        yield chain.up(chain.n, 2, last) + curved
    for s in range(1, last):
        yield (
            *chain.up(chain.n, 2, s),
            *chain.up(chain.widths[s], s + 2, last),
            *chain.down(chain.m, last, 2),
            *(met(k) for k in range(1, s)),
            *_inside(chain, s),
            *meeting(s),
        )


def _curvature(chain: Chain, pairs: int, met: Met) -> Methods:
    """Carried forward to layer c, behind it met with cotangents."""
    last = chain.L - 1
    for c in range(1, last + 1):
        carried, cotangents = chain.up(pairs, 2, c), chain.down(chain.m, last, c + 1)
        first = _met(chain, pairs, c) if carried else met(c)
        yield (*carried, *cotangents, first, *(met(k) for k in range(c + 1, last + 1)))


def _met(chain: Chain, pairs: int, layer: int) -> Product:
    """The cotangents of a layer met with what it has of so many pairs of inputs."""
    width, B, m = chain.widths[layer], chain.B, chain.m
    # Those of the last hidden layer are the same for all rows, W_L.
    return Product(B * pairs, width, m) if layer == chain.L - 1 else Product(m, width, pairs, B)


def _inside(chain: Chain, s: int) -> Products:
    """What the layers behind s add to the Hessian by the pre-activation of s."""
    k, rows = chain.widths[s], chain.B * chain.m
    return tuple(_symmetric(k, width, rows) for width in chain.widths[s + 1 : -1])


def _hessian(chain: Chain) -> Methods:
    n, rows, w = chain.n, chain.B * chain.m, chain.widths
    met = lambda k: _symmetric(n, w[k], rows)  # noqa: E731
    whole = lambda s: (Product(n, w[s], w[s], rows), met(s))  # noqa: E731
    return _by_input(chain, n * (n + 1) // 2, met, whole)


def _diagonal(chain: Chain) -> Methods:
    n, rows, w = chain.n, chain.B * chain.m, chain.widths
    each = lambda s: (Product(n, w[s], w[s], rows), Product(1, w[s], 1, n * rows))  # noqa: E731
    return _by_input(chain, n, partial(_met, chain, n), each)


def _symmetric(size: int, inner: int, batch: int) -> Product:
    """Half of a symmetric `[size, size]`, its diagonal included: size (size + 1) / 2 entries."""
    if size % 2:
        return Product(size, inner, (size + 1) // 2, batch)
    return Product(size // 2, inner, size + 1, batch)


def _hvp(chain: Chain) -> Methods:
    last, n = chain.L - 1, chain.n
    back = chain.down(1, last, 2)
    yield (*back, *chain.up(1, 1, last), *back, *chain.down(1, 1, 1))
    for whole in _hessian(chain):
        yield (*whole, Product(n, n, 1, chain.B))


METHODS: Mapping[Operator, Callable[[Chain], Methods]] = {
    Operator.GRADIENT: _first_order,
    Operator.VJP: partial(_first_order, before=True),
    Operator.JVP: partial(_first_order, after=True),
    Operator.JACOBIAN: _first_order,
    Operator.DIVERGENCE: _divergence,
    Operator.HVP: _hvp,
    Operator.HESSIAN: _hessian,
    Operator.HESSIAN_DIAGONAL: _diagonal,
    Operator.LAPLACIAN: _laplacian,
    Operator.BILAPLACIAN: _bilaplacian,
}

# Numbers of the result of one row.
_RESULT: Mapping[Operator, Callable[[int, int], int]] = {
    Operator.GRADIENT: lambda n, m: n,
    Operator.VJP: lambda n, m: n,
    Operator.JVP: lambda n, m: m,
    Operator.JACOBIAN: lambda n, m: m * n,
    Operator.DIVERGENCE: lambda n, m: 1,
    Operator.HVP: lambda n, m: n,
    Operator.HESSIAN: lambda n, m: m * n * n,
    Operator.HESSIAN_DIAGONAL: lambda n, m: m * n,
    Operator.LAPLACIAN: lambda n, m: m,
    Operator.BILAPLACIAN: lambda n, m: m,
}


def _numbers(operator: Operator, chain: Chain) -> int:
    """x, args and the direction, the weights and the biases of hidden layers, the result."""
    (first, *rest), n, m = chain.widths, chain.n, chain.m
    sizes = [first + chain.layers.beside, *rest]
    weights = sum(before * after for before, after in pairwise(sizes))
    direction = {"in": n, "out": m}.get(DIRECTIONS.get(operator, ""), 0)
    row = sizes[0] + direction + _RESULT[operator](n, m)
    return chain.B * row + weights + sum(rest[:-1])
