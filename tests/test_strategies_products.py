"""Large products of float32 on CPUs: by which library, and that they are products."""

from __future__ import annotations

import pytest
import torch
from conftest import draw
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from strategies import jacobian, laplacian, products


class Convolutions(TorchDispatchMode):
    """Counts the convolutions that are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


# Rows, k, out, and whether the weight `[out, k]` is in that order.
LARGE = [(300, 128, 160, True), (60, 400, 200, True), (300, 128, 160, False)]
SMALL = [(300, 64, 5, True), (40, 600, 300, True), (60, 400, 200, False), (3, 2, 5, True)]


def weight_of(k: int, out: int, ordered: bool) -> Tensor:
    return draw(out, k, seed=2).float() if ordered else draw(k, out, seed=2).float().mT


@torch.no_grad()
@pytest.mark.parametrize("lead", [(), (4,)], ids=["rows", "batch"])
@pytest.mark.parametrize("size", [*LARGE, *SMALL])
def test_products(size: tuple[int, int, int, bool], lead: tuple[int, ...]) -> None:
    R, k, out, ordered = size
    rows, weight = draw(R, k, seed=1).float(), weight_of(k, out, ordered)
    bias = draw(out, seed=3).float()
    shaped = rows.reshape(*lead, R // 4, k) if lead and R % 4 == 0 else rows
    with Convolutions() as convolutions:
        found = products.linear(shaped, weight, bias), products.by_matrix(shaped, weight.mT)
    assert convolutions.seen == 2 * (size in LARGE)
    exact = rows.double() @ weight.double().mT
    for mine, expected in zip(found, (exact + bias.double(), exact), strict=True):
        assert mine.shape == (*shaped.shape[:-1], out)
        assert (mine.double().reshape(R, out) - expected).norm() <= 1e-6 * expected.norm()


def test_without_the_other_library_all_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_ONEDNN", False)
    rows, weight = draw(300, 128, seed=1).float(), draw(160, 128, seed=2).float()
    with Convolutions() as convolutions:
        products.linear(rows, weight)
        products.by_matrix(rows, weight.mT)
    assert convolutions.seen == 0


def test_float64_is_left_to_torch() -> None:
    rows, weight = draw(300, 128, seed=1), draw(160, 128, seed=2)
    with Convolutions() as convolutions:
        products.linear(rows, weight)
        products.by_matrix(rows, weight.mT)
    assert convolutions.seen == 0


@pytest.mark.parametrize("execution", ["eager", "traced"])
def test_gradients_pass(execution: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256), torch.nn.Tanh()
    )
    x = draw(32, 8, seed=1).float().requires_grad_()
    how = {"strategy": "closed-form", "execution": execution, "create_graph": True}
    with Convolutions() as convolutions:
        found = laplacian(net, x, **how)
    assert convolutions.seen
    sources = [x, *(layer.weight for layer in (net[0], net[2]))]
    expected = laplacian(net, x, strategy="loop-double-backward", create_graph=True)
    weights = draw(*found.shape, seed=2).float()
    for mine, theirs in zip(
        *(torch.autograd.grad((t * weights).sum(), sources) for t in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("execution", ["eager", "traced"])
@pytest.mark.parametrize("strategy", ["closed-form-forward", "cross-country", "zero-aware-forward"])
def test_a_strategy_takes_them(strategy: str, execution: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256), torch.nn.Tanh()
    )
    x = draw(32, 8, seed=1).float()
    with Convolutions() as convolutions:
        found = jacobian(net, x, strategy=strategy, execution=execution)
    assert convolutions.seen
    torch.testing.assert_close(found, jacobian(net, x, strategy="loop-grad"), rtol=1e-4, atol=1e-6)
