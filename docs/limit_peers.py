"""What the strategies of `make limits` are held against: `torch.func`, plain ones, a floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


Multiply = Callable[[Tensor, Tensor, Tensor], object]


def by_product(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """`torch.mm`, which does not allocate."""
    torch.mm(rows, weight.mT, out=out)


def by_convolution(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """The same with kernels of one pixel, which torch leaves to another library in float32."""
    image = rows.view(1, -1, 1, rows.shape[1]).permute(0, 3, 1, 2)
    torch.conv2d(image, weight[:, :, None, None], dilation=2)


def floors(f: nn.Module, x: Tensor) -> dict[str, Call]:
    """The floor by each way to multiply."""
    ways: dict[str, Multiply] = {"torch.mm": by_product}
    if x.dtype == torch.float32:
        ways["torch.conv2d"] = by_convolution
    return {f"{FLOOR} ({name})": laplacian_products(f, x, way) for name, way in ways.items()}


def laplacian_products(network: nn.Module, x: Tensor, multiply: Multiply) -> Call:
    """The products of matrices, and nothing else, that the Laplacian of an MLP takes.

    Values pass every layer; the sums every one but the first; the n tangents `[n B, k]`, which are
    the first layer's matrix itself before it, every one but the first and the last.
    """
    layers = [m.weight.detach() for m in network.modules() if isinstance(m, nn.Linear)]
    B, n = x.shape
    counts = [B + B * (k > 0) + n * B * (0 < k < len(layers) - 1) for k in range(len(layers))]
    products = [
        (torch.randn(r, W.shape[1], dtype=x.dtype), W, torch.empty(r, len(W), dtype=x.dtype))
        for r, W in zip(counts, layers, strict=True)
    ]

    def call() -> None:
        for rows, weight, out in products:
            multiply(rows, weight, out)

    return call
