"""The bilaplacian: its closed form and its nestings, beside what every strategy is tested for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import array, distance, draw, only
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from bench.problem import Problem
from bench.reference import reference
from bench.workloads.chain import ACTIVATIONS, Chain
from strategies import Operator, Orders, Unsupported, bilaplacian, laplacian, prepare
from strategies.elementwise import RULES
from strategies.elementwise_orders import higher

B, N, M = 4, 3, 2
BILAPLACIAN = Operator.BILAPLACIAN
NESTED = ("loop-double-backward", "nested-hessian", "nested-jvp", "forward-laplacian")
ALL = (*NESTED, "loop-double-backward-rows", "closed-form")

# Where an operation is smooth; all others from -1 to 1.
PLACES = {
    **dict.fromkeys(("sqrt", "rsqrt", "reciprocal", "log", "log2", "log10", "lgamma"), 1.7),
    **dict.fromkeys(("digamma", "acosh", "pow"), 2.5),
    "logit": 0.5,
    "erfinv": 0.0,
}
NARROW = {"logit": 0.3, "erfinv": 0.5, "asin": 0.6, "acos": 0.6, "atanh": 0.6}
# What an operation takes beside its argument.
BESIDE = {"pow": (2.5,), "threshold": (0.1, 0.3), "fmod": (0.7,), "remainder": (0.7,)}
LIMITED = {"clamp": (-0.5, 0.5), "clamp_min": (-0.5,), "clamp_max": (0.5,)}


@pytest.mark.parametrize("name", RULES)
def test_third_and_fourth_derivatives_of_each_operation(name: str) -> None:
    """Against four derivatives of the operation by autograd."""
    rest = {**BESIDE, **LIMITED}.get(name, ())
    op = getattr(torch, name, None) or getattr(F, name)
    a = PLACES.get(name, 0.0) + NARROW.get(name, 1.0) * draw(40, seed=7)
    a.requires_grad_()
    h = op(a, *rest)
    rule = (lambda a, h, second: RULES[name](a, h, second, *rest)) if rest else RULES[name]
    slope, bend = rule(a.detach(), h.detach(), True)
    found = higher(rule, a.detach(), h.detach(), slope, bend)
    if bend is None:
        assert found == (None, None)
        return
    orders = [h]
    for _ in range(4):
        top = orders[-1]
        orders += (
            torch.autograd.grad(top.sum(), a, create_graph=True, materialize_grads=True)
            if top.requires_grad
            else [torch.zeros_like(a)]
        )
    for own, expected in zip(found, orders[3:], strict=True):
        own = torch.zeros_like(a) if own is None else own
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


def chain(name: str, *widths: int) -> tuple[nn.Sequential, Chain]:
    """A network and the same by hand, at four rows."""
    layers = {"tanh": nn.Tanh, "softplus": nn.Softplus, "sin": Sine}
    steps: list[nn.Module] = []
    for k, (into, out) in enumerate(itertools.pairwise(widths)):
        steps += [nn.Linear(into, out, dtype=torch.float64), layers[name]()]
        with torch.no_grad():
            steps[-2].weight.copy_(draw(out, into, seed=50 + k))
            steps[-2].bias.copy_(draw(out, seed=60 + k))
    affine = steps[::2]
    by_hand = Chain(
        [array(layer.weight) for layer in affine],
        [array(layer.bias) for layer in affine],
        ACTIVATIONS[name],
        array(draw(B, widths[0], seed=70)),
        widths[0],
    )
    return nn.Sequential(*steps[:-1]), by_hand


class Sine(nn.Module):
    """The sine as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(3, 5, 4, 2), (1, 6, 1), (4, 3, 5, 2, 1)], ids=str)
@pytest.mark.parametrize("strategy", [*NESTED, "closed-form"])
def test_networks(strategy: str, widths: tuple[int, ...], name: str) -> None:
    net, by_hand = chain(name, *widths)
    found = bilaplacian(net, torch.from_numpy(by_hand.x), strategy=strategy)
    assert distance(found, by_hand.fourth().sum((-2, -1))) <= 1e-10


def attention(x: Tensor) -> Tensor:
    z = x.reshape(len(x), N, 1) * torch.arange(1, 4).to(x)
    weights = torch.softmax(z @ z.mT, -1)
    return (weights @ z.sin()).sum(-1)[:, :M]


KERNEL, WIDER, OUT = draw(2, 1, 2, seed=3), draw(N, 5, seed=4), draw(5, M, seed=5)


def convolution(x: Tensor) -> Tensor:
    return F.gelu(F.conv1d(x[:, None], KERNEL)).flatten(1)[:, :M]


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(torch.tanh(x @ WIDER), (5,)) @ OUT


GENERIC = {"attention": attention, "convolution": convolution}


@pytest.mark.parametrize("name", GENERIC)
@pytest.mark.parametrize("strategy", NESTED)
def test_other_functions(strategy: str, name: str) -> None:
    x = draw(B, N, seed=8)
    trusted = reference(BILAPLACIAN, Problem(GENERIC[name], x))
    assert trusted.bound <= 1e-8
    assert distance(bilaplacian(GENERIC[name], x, strategy=strategy), trusted.value) <= 1e-8


def test_a_layer_norm_is_right_by_the_rules_of_taylor_mode() -> None:
    """torch takes what it saved of a row for constant, and is wrong from order three on."""
    x = draw(B, N, seed=8)
    trusted = reference(BILAPLACIAN, Problem(layer_norm, x))
    found = prepare(BILAPLACIAN, layer_norm, x)
    assert found.strategy == "forward-laplacian"
    assert distance(only(found(x)), trusted.value) <= 1e-7


def timed(net: nn.Module, scale: Tensor) -> nn.Module:
    return lambda x, t: scale * net(torch.cat([x, t], 1))


@pytest.mark.parametrize("strategy", ["closed-form", "forward-laplacian"])
@pytest.mark.parametrize("execution", ["eager", "traced"])
def test_gradients_of_deep_chains(strategy: str, execution: str) -> None:
    """By parameters, x and args as those of plain double backwards."""
    net, _ = chain("tanh", N + 1, 5, 4, M)
    x, t = draw(B, N, seed=9).requires_grad_(), draw(B, 1, seed=10).requires_grad_()
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    f, leaves = timed(net, scale), [x, t, scale, *net.parameters()]
    how = {"create_graph": True, "execution": execution}
    loss = bilaplacian(f, x, t, strategy=strategy, **how).cos().sum()
    plain = bilaplacian(f, x, t, strategy="loop-double-backward", create_graph=True).cos().sum()
    found, expected = (
        torch.autograd.grad(of, leaves, materialize_grads=True) for of in (loss, plain)
    )
    for own, by_loops in zip(found, expected, strict=True):
        torch.testing.assert_close(own, by_loops, rtol=1e-9, atol=1e-10)
    assert all(g.any() for g in found[:-1])


def test_values_hold_the_bilaplacian_as_second() -> None:
    net, by_hand = chain("tanh", N, 5, M)
    x = torch.from_numpy(by_hand.x)
    for strategy in ("closed-form", "forward-laplacian"):
        found = bilaplacian(net, x, strategy=strategy, values=True)
        assert isinstance(found, Orders)
        assert distance(found.first, by_hand.jacobian()) <= 1e-12
        assert distance(found.second, by_hand.fourth().sum((-2, -1))) <= 1e-10


def test_it_is_the_laplacian_of_the_laplacian() -> None:
    net, by_hand = chain("sin", N, 5, 4, M)
    x = torch.from_numpy(by_hand.x)

    def inner(z: Tensor) -> Tensor:
        h = torch.func.vmap(torch.func.hessian(lambda row: net(row[None])[0]))(z)
        return h.diagonal(dim1=-2, dim2=-1).sum(-1)

    torch.testing.assert_close(bilaplacian(net, x), laplacian(inner, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [3, 5])
def test_symmetric_fields_are_all_that_is_carried(n: int) -> None:
    """n + n(n + 1)/2 + n + 1 of them through the layers between, one through the last."""
    net, x = chain("tanh", n, 32, 32, 32, 1)[0], draw(B, n, seed=11)
    plan = prepare(BILAPLACIAN, net, x, strategy="closed-form")
    counts = []
    for f in (net, plan):
        with torch.no_grad(), FlopCounterMode(display=False) as counting:
            f(x)
        counts.append(counting.get_total_flops())
    fields = (n + 1) * (n + 4) // 2 - 1
    assert counts[1] == counts[0] + 2 * B * (fields * 2 * 32 * 32 + 32)


@pytest.mark.parametrize("strategy", ALL)
def test_zeros_where_nothing_is_of_order_four(strategy: str) -> None:
    x, A = draw(B, N, seed=12), draw(N, M, seed=13)
    for f in (lambda x: x @ A, lambda x: (x @ A) ** 2, lambda x: torch.relu(x @ A)):
        assert not bilaplacian(f, x, strategy=strategy).any()


def test_the_rule_takes_the_closed_form_first() -> None:
    net, by_hand = chain("tanh", N, 5, M)
    x = torch.from_numpy(by_hand.x)
    assert prepare(BILAPLACIAN, net, x).strategy == "closed-form"
    plan = prepare(BILAPLACIAN, attention, x)
    assert plan.strategy == "forward-laplacian"
    assert "passed over closed-form: f is no chain" in plan.explain()


def test_what_is_no_chain_is_named() -> None:
    with pytest.raises(Unsupported, match="bilaplacian by closed-form: f is no chain of affine"):
        bilaplacian(attention, draw(B, N, seed=8), strategy="closed-form")


def test_a_detach_that_only_the_third_order_sees_is_refused() -> None:
    """x c³ with c = x held fixed has the gradient of x⁴/4 and a wrong one above."""

    def f(x: Tensor) -> Tensor:
        c = x.detach()
        # Right up to order two: x⁴/4 about c, its terms of order three and four left out.
        d = x - c
        return (c**4 / 4 + c**3 * d + 1.5 * c**2 * d**2).sum(-1)

    x = draw(B, N, seed=14) + 2
    laplacian(f, x)
    with pytest.raises(Unsupported, match="f is detached in part"):
        bilaplacian(f, x)


def test_half_precision_and_one_row() -> None:
    net, by_hand = chain("tanh", N, 5, 4, M)
    x = torch.from_numpy(by_hand.x)[:1]
    expected = by_hand.fourth().sum((-2, -1))[:1]
    assert distance(bilaplacian(net, x), expected) <= 1e-10
    assert distance(bilaplacian(net.float(), x.float()), expected) <= 1e-4
    np.testing.assert_equal(array(x), by_hand.x[:1])
