"""Chains of layers by written-down derivatives: against the complex step, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import test_strategies_agreement as agreement
import test_strategies_contract as contract
import test_strategies_training as training
import torch
from conftest import (
    ON_GRID,
    Array,
    Exact,
    Net,
    array,
    contracted,
    distance,
    draw,
    net_example,
    only,
)
from scipy import special
from torch import Tensor, nn
from torch.nn import functional as F

from bench.fourths import of_all_pairs
from strategies import STRATEGIES, Operator, Orders, Strategy, Unsupported, prepare
from strategies.chain_products import cheapest

B, N, M = 4, 3, 2
CHAINS = [s for s in STRATEGIES.values() if "chain" in s.needs]
# Those for any chain; the folds are for some.
ANY = [s for s in CHAINS if s.sweep != "fold"]

on_executions = pytest.mark.parametrize("execution", ON_GRID)
for_any = pytest.mark.parametrize("strategy", ANY, ids=lambda s: f"{s.operator}-{s.name}")

Function = Callable[..., Any]


def stepped(f: Function, x: Array) -> Exact:
    """Jacobians by complex steps; Hessians by differences of them, of fourth order."""

    def first(z: Array) -> Array:
        steps = [f(z + 1e-30j * e) for e in np.eye(z.shape[1])]
        return np.stack([y.imag / 1e-30 for y in steps], -1)

    h = 2e-3
    ends = [
        (8 * (first(x + h * e) - first(x - h * e)) - first(x + 2 * h * e) + first(x - 2 * h * e))
        / (12 * h)
        for e in np.eye(x.shape[1])
    ]
    return Exact(f(x + 0j).real, first(x), np.stack(ends, -1), lambda: _fourth(f, x))


@dataclass(frozen=True)
class Points:
    """A function of complex arrays as one of many points at once."""

    f: Function
    at: Array

    @property
    def n(self) -> int:
        return self.at.shape[1]

    def __call__(self, points: Array) -> Array:
        return np.stack([self.f(point + 0j) for point in points])


def _fourth(f: Function, x: Array) -> Array:
    """The bilaplacian on circles of complex numbers; zeros where it is zero within their error."""
    found = of_all_pairs(Points(f, x))
    zero = np.linalg.norm(found.value) <= 10 * found.bound
    return (0 if zero else 1) * found.value.sum((-2, -1))


def of_torch(f: Callable[..., Tensor], *args: Tensor) -> Function:
    """A function of torch as one of complex arrays; it brings what it reads to the dtype of x."""
    return lambda z: f(torch.from_numpy(z), *args).numpy()


def _tolerance(strategy: Strategy) -> float:
    """Circles that must stay between two kinks are small, and lose as many digits."""
    return 1e-5 if strategy.operator == Operator.BILAPLACIAN else 1e-9


def check(strategy: Strategy, execution: str, f: Function, inputs: tuple[Tensor, ...], by: Exact):
    plan = prepare(strategy.operator, f, *inputs, strategy=strategy.name, execution=execution)
    found, expected = only(plan(*inputs)), contracted(strategy.operator, by, None)
    assert distance(found.reshape(expected.shape), expected) <= _tolerance(strategy)
    assert found.dtype == torch.float64
    orders = prepare(strategy.operator, f, *inputs, strategy=strategy.name, values=True)(*inputs)
    assert isinstance(orders, Orders)
    assert orders.value is not None
    assert orders.first is not None
    assert distance(orders.value.reshape(by.value.shape), by.value) <= 1e-12
    if strategy.operator != Operator.DIVERGENCE:
        assert distance(orders.first.reshape(by.first.shape), by.first) <= 1e-10
    if orders.second is not None:
        assert torch.equal(
            orders.second,
            only(prepare(strategy.operator, f, *inputs, strategy=strategy.name)(*inputs)),
        ) or distance(orders.second.reshape(expected.shape), expected) <= _tolerance(strategy)


def _sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def _piecewise(below: Function, above: Function, at: float = 0.0) -> Function:
    return lambda a: np.where(a.real > at, above(a), below(a))


def _gelu_tanh(a: Array) -> Array:
    return 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))


# As torch has it, and the same of complex numbers.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Function]] = {
    "tanh": (torch.tanh, np.tanh),
    "sigmoid": (torch.sigmoid, _sigmoid),
    "silu": (F.silu, lambda a: a * _sigmoid(a)),
    "softplus": (F.softplus, lambda a: np.log(1 + np.exp(a))),
    "softplus-sharp": (
        lambda a: F.softplus(a, 2.0, 1.0),
        _piecewise(lambda a: np.log(1 + np.exp(2 * a)) / 2, lambda a: a, 0.5),
    ),
    "gelu": (F.gelu, lambda a: 0.5 * a * (1 + special.erf(a / np.sqrt(2)))),
    "gelu-tanh": (lambda a: F.gelu(a, approximate="tanh"), _gelu_tanh),
    "mish": (F.mish, lambda a: a * np.tanh(np.log(1 + np.exp(a)))),
    "elu": (lambda a: F.elu(a, 0.7), _piecewise(lambda a: 0.7 * (np.exp(a) - 1), lambda a: a)),
    "relu": (torch.relu, _piecewise(lambda a: 0 * a, lambda a: a)),
    "leaky-relu": (lambda a: F.leaky_relu(a, 0.2), _piecewise(lambda a: 0.2 * a, lambda a: a)),
    "relu-in-place": (lambda a: F.relu(a, inplace=True), _piecewise(lambda a: 0 * a, lambda a: a)),
    "hardtanh": (
        lambda a: F.hardtanh(a, -0.4, 0.5),
        _piecewise(
            _piecewise(lambda a: -0.4 + 0 * a, lambda a: a, -0.4), lambda a: 0.5 + 0 * a, 0.5
        ),
    ),
    "abs": (torch.abs, _piecewise(lambda a: -a, lambda a: a)),
    "sin": (torch.sin, np.sin),
    "cos": (torch.cos, np.cos),
    "sinh": (torch.sinh, np.sinh),
    "cosh": (torch.cosh, np.cosh),
    "atan": (torch.atan, np.arctan),
    "erf": (torch.erf, special.erf),
    "exp": (torch.exp, np.exp),
    "expm1": (torch.expm1, lambda a: np.exp(a) - 1),
    "square": (torch.square, lambda a: a * a),
    "product": (lambda a: a * a, lambda a: a * a),
    "power": (lambda a: a**3, lambda a: a**3),
    "first-power": (lambda a: a**1, lambda a: a),
    "log": (lambda a: torch.log(a**2 + 1.5), lambda a: np.log(a**2 + 1.5)),
    "log1p": (lambda a: torch.log1p(a**2), lambda a: np.log(1 + a**2)),
    "sqrt": (lambda a: torch.sqrt(a**2 + 0.5), lambda a: np.sqrt(a**2 + 0.5)),
    "reciprocal": (lambda a: torch.reciprocal(a**2 + 4), lambda a: 1 / (a**2 + 4)),
}


def layers(*widths: int) -> list[tuple[Tensor, Tensor]]:
    return [
        (draw(out, into, seed=70 + k), draw(out, seed=80 + k))
        for k, (into, out) in enumerate(itertools.pairwise(widths))
    ]


def net_of(weights: list[tuple[Tensor, Tensor]], act: Function, linear: Function) -> Function:
    def f(z: Any) -> Any:
        for k, (W, b) in enumerate(weights):
            z = linear(act(z) if k else z, W, b)
        return z

    return f


def both(name: str, *widths: int) -> tuple[Function, Function]:
    """A net in torch, and of complex arrays."""
    here, there = ACTIVATIONS[name]
    weights = layers(*widths)
    arrays = lambda z, W, b: z @ array(W).T + array(b)  # noqa: E731
    return net_of(weights, here, F.linear), net_of(weights, there, arrays)


# Of the gradient that `values=True` prepares beside; not of ours.
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ACTIVATIONS)
@for_any
def test_every_activation(strategy: Strategy, name: str) -> None:
    f, by = both(name, N, 5, 4, M)
    # No unit is near a kink there.
    x = draw(B, N, seed=117)
    check(strategy, "eager", f, (x,), stepped(by, array(x)))


@pytest.mark.parametrize("widths", [(1, 1), (2, 5, 1), (6, 4, 4, 2), (3, 7, 2, 6, 5)], ids=str)
@on_executions
@for_any
def test_any_widths(strategy: Strategy, execution: str, widths: tuple[int, ...]) -> None:
    f, by = both("tanh", *widths)
    for rows in (1, 4):
        x = draw(rows, widths[0], seed=92)
        check(strategy, execution, f, (x,), stepped(by, array(x)))


@pytest.mark.parametrize("name", ["tanh", "silu", "relu"])
def test_many_rows_go_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.chain_blocks._LARGEST_BLOCK", 8 * 3 * 5 * 2)
    f, by = both(name, N, 5, 4, M)
    x = draw(5, N, seed=93)
    for strategy in ANY:
        check(strategy, "eager", f, (x,), stepped(by, array(x)))


@dataclass(frozen=True)
class Shape:
    """A chain in another form: its function, which takes x of any dtype, and further inputs."""

    f: Callable[..., Tensor]
    args: tuple[Tensor, ...] = ()


W, V, C = draw(5, N, seed=31), draw(M, 5, seed=32), draw(N, seed=33)
T = draw(B, 1, seed=34) + 2
WIDE = draw(5, N + 2, seed=35)


def to(w: Tensor, x: Tensor) -> Tensor:
    return w.to(x.dtype)


def _with_time(x: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(torch.cat([t * 2, x, t], -1) @ to(WIDE, x).T) @ to(V, x).T


SHAPES: dict[str, Shape] = {
    "first-elementwise": Shape(lambda x, t: ((1 + t) * x).sin() @ to(W, x).T, (T,)),
    "elementwise-only": Shape(lambda x: (2 * x + C).sin()),
    "by-vectors": Shape(lambda x: (1 - x * C).tanh() @ to(W, x).T / 3 - 0.5),
    "divided": Shape(lambda x, t: (x / t).sin() / (C + 2), (T,)),
    "time-beside": Shape(_with_time, (T,)),
    "scaled": Shape(lambda x: C[0] * (x @ to(W, x).T).tanh().neg() @ to(V, x).T),
    "scaled-by-row": Shape(lambda x, t: t * (x @ to(W, x).T).tanh() @ to(V, x).T, (T,)),
    "twice-linear": Shape(lambda x: (x @ to(W, x).T @ to(V, x).T).exp()),
    "linear": Shape(lambda x: x @ to(W, x).T + 1),
    "product-of-rows": Shape(lambda x: (x @ to(W, x).T).sin() @ to(V[0], x)),
    "sum": Shape(lambda x: (x @ to(W, x).T).sin().sum(-1)),
    "mean": Shape(lambda x: (x**3).mean(1, keepdim=True)),
    "bias-by-row": Shape(lambda x, t: torch.tanh(x @ to(W, x).T + t * W[:, 0]), (T,)),
    "reshaped": Shape(lambda x: (x.reshape(len(x), 1, N).sin().flatten(1) @ to(W, x).T)[:]),
    "composed": Shape(lambda x: ((x @ to(W, x).T).sin() * 2 + 1).exp().square() @ to(V, x).T),
}


@pytest.mark.parametrize("name", SHAPES)
@on_executions
@for_any
def test_other_forms(strategy: Strategy, execution: str, name: str) -> None:
    shape, x = SHAPES[name], draw(B, N, seed=94)
    by = of_torch(shape.f, *shape.args)
    exact = stepped(lambda z: by(z).reshape(len(z), -1), array(x))
    check(strategy, execution, shape.f, (x, *shape.args), exact)


def test_a_row_of_many_axes() -> None:
    f, by = both("tanh", 6, 5, 2)
    x = draw(B, 2, 3, seed=95)
    for strategy in ANY:
        plan = prepare(
            strategy.operator, lambda z: f(z.flatten(1))[:, :, None], x, strategy=strategy.name
        )
        expected = contracted(strategy.operator, stepped(by, array(x).reshape(B, 6)), None)
        assert distance(only(plan(x)).reshape(expected.shape), expected) <= 1e-9


BROKEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "branch": (lambda x: x.sin() * x, "`x` is used 2 times"),
    "softmax": (lambda x: torch.softmax(x @ W.T, -1), "`_softmax` breaks it"),
    "cumsum": (lambda x: x.cumsum(-1), "`cumsum` breaks it"),
    "slice": (lambda x: x[:, :2], "`slice` breaks it"),
    "part-sum": (lambda x: x.reshape(-1, 3, 1).expand(-1, 3, 2).sum(1), "`expand` breaks it"),
    "wider": (lambda x: x[:, :1].mm(W[:1, :1]) + C, "`slice` breaks it"),
    "broadcast": (lambda x: x.sum(-1, keepdim=True) + C, "`add` breaks it"),
    "tokens": (lambda x: (x[:, None] @ W.T.expand(B, 3, 5)).sum(1), "`bmm` breaks it"),
    "cat-alone": (lambda x: torch.cat([x, T], 1).sin(), "`cat` breaks it"),
    "constant": (lambda x: torch.ones_like(x), "`x` is used 0 times"),
    "cast": (lambda x: x.float().double(), "`_to_copy` breaks it"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("strategy", CHAINS, ids=lambda s: f"{s.operator}-{s.name}")
def test_what_is_no_chain_is_refused(strategy: Strategy, name: str) -> None:
    f, reason = BROKEN[name]
    if strategy.operator == Operator.DIVERGENCE:
        return
    with pytest.raises(Unsupported, match=r"f is no chain of affine and elementwise layers") as no:
        prepare(strategy.operator, f, draw(B, N, seed=96), strategy=strategy.name)
    assert reason in str(no.value)
    assert "\n" not in str(no.value)


def test_a_branch_on_values_is_refused() -> None:
    f = lambda x: x.sin() if x.sum() > 0 else x.cos()  # noqa: E731
    for strategy in ANY:
        with pytest.raises(Unsupported, match=r"cannot be traced|does not hold"):
            prepare(strategy.operator, f, draw(1, N, seed=97).abs() * -1e-4, strategy=strategy.name)


@on_executions
@for_any
def test_the_contract_of_every_strategy(strategy: Strategy, execution: str) -> None:
    for grad_mode in (True, False):
        contract.test_leaves_no_traces(strategy, execution, grad_mode)
    contract.test_prepare_leaves_buffers_alone(strategy, execution)
    contract.test_plan_follows_updates_in_place(strategy, execution)


@for_any
def test_the_contract_beside_executions(strategy: Strategy) -> None:
    contract.test_prepare_leaves_running_statistics_alone(strategy)
    contract.test_refusal_is_a_value(strategy)
    for name in contract.DETACHED:
        contract.test_detached_is_refused(strategy, name)
    agreement.test_hessian_is_symmetric(strategy)


@for_any
def test_an_empty_batch(strategy: Strategy) -> None:
    example = net_example(3, 2, dtype=torch.float32)
    x = example.x[:0]
    found = only(prepare(strategy.operator, example.f, x, strategy=strategy.name)(x))
    assert len(found) == 0
    assert found.dtype == torch.float32


@pytest.mark.parametrize("name", ["net", "net-float32", "one-row", "strided", "more-outputs"])
@on_executions
@for_any
def test_agrees(strategy: Strategy, execution: str, name: str) -> None:
    agreement.test_agrees(strategy, execution, agreement.EXAMPLES[name])


@pytest.mark.parametrize("values", [False, True], ids=["alone", "values"])
@on_executions
@for_any
def test_gradients_reach_everything(strategy: Strategy, execution: str, values: bool) -> None:
    training.test_gradients_reach_everything(strategy, execution, values)


# The folds: chains that they are for.
def folding(strategy: Strategy) -> tuple[Function, Function, int]:
    widths = (7, 4, 3, 2) if strategy.operator == Operator.LAPLACIAN else (3, 5, 4, 3)
    return *both("tanh", *widths), widths[0]


for_folds = pytest.mark.parametrize(
    "strategy", [s for s in CHAINS if s not in ANY], ids=lambda s: s.name
)


@on_executions
@for_folds
def test_folds_are_exact(strategy: Strategy, execution: str) -> None:
    f, by, n = folding(strategy)
    for rows in (1, 4):
        x = draw(rows, n, seed=98)
        check(strategy, execution, f, (x,), stepped(by, array(x)))
        wide = torch.zeros(n, 2 * rows, dtype=torch.float64)[:, ::2].t().copy_(x)
        check(strategy, execution, f, (wide,), stepped(by, array(x)))


@on_executions
@for_folds
def test_folds_follow_updates_in_place(strategy: Strategy, execution: str) -> None:
    f, by, n = folding(strategy)
    scale, x = torch.tensor(1.0, dtype=torch.float64), draw(B, n, seed=98)
    plan = prepare(
        strategy.operator, lambda z: scale * f(z), x, strategy=strategy.name, execution=execution
    )
    before = array(only(plan(x)))
    scale.mul_(1.5)
    np.testing.assert_allclose(array(only(plan(x))), 1.5 * before, rtol=1e-12)
    exact = contracted(strategy.operator, stepped(by, array(x)), None)
    np.testing.assert_allclose(before, exact, rtol=1e-8)


@on_executions
@for_folds
def test_folds_train(strategy: Strategy, execution: str) -> None:
    """Gradients against differences of the complex steps, by a scale of the first weights."""
    f, by, n = folding(strategy)
    x = draw(B, n, seed=98).requires_grad_()
    a = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    plan = prepare(
        strategy.operator,
        lambda z: f(a * z),
        x,
        strategy=strategy.name,
        execution=execution,
        create_graph=True,
    )
    weights = draw(*only(plan(x)).shape, seed=99)
    by_a, by_x = torch.autograd.grad((only(plan(x)) * weights).sum(), [a, x])

    def loss(scale: float, z: Array) -> float:
        exact = stepped(lambda u: by(scale * u), z)
        return float((contracted(strategy.operator, exact, None) * array(weights)).sum())

    z, h = array(x), 1e-4
    np.testing.assert_allclose(float(by_a), (loss(0.8 + h, z) - loss(0.8 - h, z)) / (2 * h), 1e-5)
    e = np.zeros_like(z)
    e[1, 2] = h
    np.testing.assert_allclose(
        float(by_x[1, 2]), (loss(0.8, z + e) - loss(0.8, z - e)) / (2 * h), rtol=1e-5
    )


def test_rank_fold_of_singular_weights() -> None:
    weights = layers(7, 4, 2)
    weights[0][0][1] = weights[0][0][0]
    weights[0][0][2] = 0
    arrays = lambda z, W, b: z @ array(W).T + array(b)  # noqa: E731
    f, by = net_of(weights, torch.tanh, F.linear), net_of(weights, np.tanh, arrays)
    x = draw(B, 7, seed=98)
    expected = contracted(Operator.LAPLACIAN, stepped(by, array(x)), None)
    for create_graph in (False, True):
        plan = prepare("laplacian", f, x, strategy="rank-fold", create_graph=create_graph)
        assert distance(only(plan(x)), expected) <= 1e-9


def test_folds_say_what_they_are_for() -> None:
    x = draw(B, 3, seed=98)
    for f, reason in (
        (Net(3, 2), "the first layer has 5 units for 3 inputs"),
        (torch.sin, "the first layer is elementwise for 3 inputs"),
    ):
        with pytest.raises(Unsupported, match=reason):
            prepare("laplacian", f, x, strategy="rank-fold")
    for f, reason in (
        (Net(3, 3), "f has 1 elementwise layers in 3"),
        (nn.Sequential(nn.Tanh(), Net(3, 3)), "f has 2 elementwise layers in 4"),
    ):
        with pytest.raises(Unsupported, match=reason):
            prepare("divergence", f, x, strategy="cyclic-fold")


def test_the_order_of_a_bottleneck() -> None:
    shapes = [(256, 784), (32, 256), (256, 32), (784, 256)]
    assert cheapest(shapes, [True] * 3, 4) == ((3, 2), (1, 0))
    assert cheapest([(50, 2), (50, 50), (50, 50)], [True] * 2, 4) == (2, (1, 0))
    assert cheapest([(50, 50), (50, 50), (1, 50)], [True] * 2, 4) == ((2, 1), 0)
