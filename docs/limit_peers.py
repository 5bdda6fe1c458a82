"""What the strategies of `make limits` are held against: `torch.func`, plain ones, a floor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from limit_lines import Call
from limit_works import DIVERGENCE, FLOOR, HESSIAN, JACOBIAN, LAPLACIAN, Work
from torch import Tensor, nn
from torch.func import hessian, jacfwd, jacrev, vmap

from strategies import Operator, prepare
from strategies.functions import row

Function = Callable[..., Tensor]


def forms(operator: Operator, f: Function) -> dict[str, Function]:
    """What `torch.func` has for an operator."""
    one = row(f)
    first = {"vmap(jacrev)": vmap(jacrev(one)), "vmap(jacfwd)": vmap(jacfwd(one))}
    second = {"vmap(hessian)": vmap(hessian(one))}
    found: dict[Operator, dict[str, Function]] = {
        JACOBIAN: first,
        HESSIAN: second,
        LAPLACIAN: {name: _trace(form) for name, form in second.items()},
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


Multiply = Callable[[Tensor, Tensor, Tensor], object]


def by_product(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """`torch.mm`, which does not allocate."""
    torch.mm(rows, weight.mT, out=out)


def by_convolution(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """The same with kernels of one pixel, which torch leaves to another library in float32."""
    image = rows.view(1, -1, 1, rows.shape[1]).permute(0, 3, 1, 2)
    torch.conv2d(image, weight[:, :, None, None], dilation=2)


def floors(work: Work, f: nn.Module, x: Tensor) -> dict[str, Call]:
    """The floor by each way to multiply, where the work has a bar for it."""
    if all(bar.against != FLOOR for bar in work.bars):
        return {}
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
