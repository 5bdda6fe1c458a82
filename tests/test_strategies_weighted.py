"""The weighted Laplacian against the trace of C H, with Hessians written down by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import (
    Array,
    Example,
    args_example,
    array,
    cubic_example,
    distance,
    draw,
    net_exact,
    net_example,
    weights,
)

from strategies import (
    Operator,
    Orders,
    Unsupported,
    laplacian,
    prepare_weighted_laplacian,
    strategies_for,
    weighted_laplacian,
)

B, N = 4, 3
NAMES = [s.name for s in strategies_for(Operator.LAPLACIAN) if s.exact]
# Those that are for some functions, which these are not, with this one's root.
SOME = {"rank-fold", "double-backward-ones"}
EXAMPLES: dict[str, Callable[[], Example]] = {
    "net": lambda: net_example(N, 2),
    "args": lambda: args_example(N, 2),
    "shaped": lambda: cubic_example((2, 3), (2, 1)),
}


def traced(second: Array, root: Array) -> Array:
    """`Σᵢⱼ Cᵢⱼ Hᵢⱼ: [B, m]` of `H: [B, m, n, n]`, R for all rows or each."""
    R = np.broadcast_to(root, (len(second), *root.shape[-2:]))
    return np.einsum("bik,bjk,bmij->bm", R, R, second)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("strategy", NAMES)
def test_every_strategy(strategy: str, name: str, k: int) -> None:
    example = EXAMPLES[name]()
    root = draw(example.x[0].numel(), k, seed=81)
    expected = traced(example.exact.second, array(root))

    def found() -> torch.Tensor:
        made = weighted_laplacian(example.f, example.x, *example.args, root=root, strategy=strategy)
        return made.reshape(expected.shape)

    if strategy in SOME or (strategy == "closed-form" and name != "net"):
        try:
            assert distance(found(), expected) <= 1e-9
        except Unsupported as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017
        return
    assert distance(found(), expected) <= 1e-9


@pytest.mark.parametrize("strategy", ["nested-jvp", "forward-laplacian", "loop-double-backward"])
@pytest.mark.parametrize("k", [2, 5])
def test_a_root_for_each_row(strategy: str, k: int) -> None:
    example, root = args_example(N, 2), draw(B, N, k, seed=82)
    found = weighted_laplacian(example.f, example.x, *example.args, root=root, strategy=strategy)
    assert distance(found, traced(example.exact.second, array(root))) <= 1e-9


def test_the_identity_gives_the_laplacian() -> None:
    example = net_example(N, 2)
    found = weighted_laplacian(example.f, example.x, root=torch.eye(N, dtype=torch.float64))
    torch.testing.assert_close(found, laplacian(example.f, example.x))


# A product by another matrix for each row is no layer of a chain.
@pytest.mark.parametrize(
    ("strategy", "rows"),
    [
        *itertools.product(["nested-jvp", "forward-laplacian"], [False, True]),
        ("closed-form", False),
    ],
)
def test_gradients_reach_x_root_and_parameters(strategy: str, rows: bool) -> None:
    """Against differences of the formula."""
    example = net_example(N, 2)
    net, x = example.f, example.x.clone().requires_grad_()
    root = draw(*((B,) if rows else ()), N, 2, seed=83).requires_grad_()
    found = weighted_laplacian(net, x, root=root, strategy=strategy, create_graph=True)
    W = net.first.weight
    by_x, by_root, by_weight = torch.autograd.grad((found**2).sum(), [x, root, W])

    def loss(p: dict[str, Array], z: Array, R: Array) -> float:
        return float((traced(net_exact(p, z).second, R) ** 2).sum())

    p, z, R, h = weights(net), array(x).copy(), array(root).copy(), 1e-6
    for moved, gradient in ((z, by_x), (R, by_root), (p["first.weight"], by_weight)):
        at = tuple(size - 1 for size in moved.shape)
        ends = []
        for step in (h, -2 * h):
            moved[at] += step
            ends.append(loss(p, z, R))
        moved[at] += h
        assert float(gradient[at]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


def test_a_plan_follows_root_and_parameters() -> None:
    example, root = args_example(N, 2), draw(N, 2, seed=85)
    for R in (root, root.expand(B, N, 2).clone()):
        plan = prepare_weighted_laplacian(example.f, example.x, *example.args, root=R)
        before = plan(example.x, *example.args)
        R.mul_(1.5)
        torch.testing.assert_close(plan(example.x, *example.args), 2.25 * before)


def test_values_are_by_the_directions() -> None:
    example, root = net_example(N, 2), draw(N, 2, seed=84)
    found = weighted_laplacian(example.f, example.x, root=root, values=True)
    assert isinstance(found, Orders)
    assert distance(found.value, example.exact.value) <= 1e-12
    assert distance(found.first, example.exact.first @ array(root)) <= 1e-12
    assert distance(found.second, traced(example.exact.second, array(root))) <= 1e-9


@pytest.mark.parametrize("shape", [(2, 2), (3,), (3, 0), (3, 3, 2), (4, 2, 3), (1, 4, 3, 2)])
def test_another_shape_is_one_clear_line(shape: tuple[int, ...]) -> None:
    example = net_example(N, 2)
    said = r"root must be \[n, k\] or \[B, n, k\] of torch.float64 with B = 4 and n = 3, not \("
    with pytest.raises(ValueError, match=said) as raised:
        weighted_laplacian(example.f, example.x, root=torch.ones(shape, dtype=torch.float64))
    assert "\n" not in str(raised.value)


def test_another_dtype_is_one_clear_line() -> None:
    example = net_example(N, 2)
    with pytest.raises(ValueError, match=r"not \(3, 2\) of torch.float32"):
        weighted_laplacian(example.f, example.x, root=torch.ones(3, 2))
