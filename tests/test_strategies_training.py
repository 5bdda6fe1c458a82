"""What create_graph promises: gradients of a result against differences of the formulas."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import (
    FEWER_TRACED,
    GRID,
    SCALAR,
    Array,
    Net,
    array,
    contracted,
    draw,
    for_each_operator,
    forced,
    net_exact,
    only,
    outputs,
    with_direction,
)
from torch import Tensor

from strategies import (
    DIRECTIONS,
    SECOND_ORDER,
    STRATEGIES,
    Operator,
    Orders,
    Strategy,
    Unsupported,
    prepare,
)

B, N, M = 4, 3, 2
DECLARED = [s for s in STRATEGIES.values() if s.not_differentiable]


@dataclass(frozen=True)
class Leaves:
    """A net of x = 1.5 · base and t = time + 0.7 · base₀: x is no leaf, and t owes to the same."""

    net: Net
    base: Tensor
    time: Tensor
    v: Tensor

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        return 1.5 * self.base, self.time + 0.7 * self.base[:, :1]

    @property
    def exact(self) -> dict[str, Array]:
        return {name: array(t).copy() for name, t in self.named().items()}

    def named(self) -> dict[str, Tensor]:
        own = {"base": self.base, "time": self.time, "v": self.v}
        return {**dict(self.net.named_parameters()), **own}


def leaves(operator: Operator) -> Leaves:
    m = outputs(operator, N, M)
    v = draw(B, m if DIRECTIONS.get(operator) == "out" else N, seed=13)
    return Leaves(
        Net(N, m),
        draw(B, N, seed=11).requires_grad_(),
        draw(B, 1, seed=12).requires_grad_(),
        v.requires_grad_(),
    )


def coefficients(k: int, size: int) -> Array:
    return array(draw(size, seed=k))


def orders_of(operator: Operator, found: Tensor | Orders) -> list[Tensor]:
    return [t for t in (found if isinstance(found, Orders) else [found]) if t is not None]


def results_exact(operator: Operator, p: dict[str, Array], values: bool) -> list[Array]:
    base = p["base"]
    exact = net_exact(p, 1.5 * base, p["time"] + 0.7 * base[:, :1])
    own = contracted(operator, exact, p["v"] if operator in DIRECTIONS else None)
    if not values:
        return [own]
    first = exact.first[:, 0] if exact.first.shape[1] == 1 else exact.first
    return [exact.value, first, own] if operator in SECOND_ORDER else [exact.value, own]


def projected_exact(results: list[Array]) -> float:
    """A nonlinear scalar of the results in which no entry cancels another."""
    flat = [result.reshape(-1) for result in results]
    return sum(float(np.cos(r + k) @ coefficients(k, len(r))) for k, r in enumerate(flat))


@functools.cache
def differences(operator: Operator, values: bool, h: float = 1e-5) -> dict[str, Array]:
    """Central differences of the projected formulas by every leaf."""
    p = leaves(operator).exact
    found = {name: np.zeros_like(a) for name, a in p.items()}
    for name, a in p.items():
        for index in np.ndindex(a.shape):
            ends = []
            for step in (h, -h):
                before = a[index]
                a[index] += step
                ends.append(projected_exact(results_exact(operator, p, values)))
                a[index] = before
            found[name][index] = (ends[0] - ends[1]) / (2 * h)
    return found


def projected(results: list[Tensor]) -> Tensor:
    flat = [result.reshape(-1) for result in results]
    parts = [(r + k).cos() @ torch.from_numpy(coefficients(k, len(r))) for k, r in enumerate(flat)]
    return torch.stack(parts).sum()


def check_gradients(results: list[Tensor], given: Leaves, expected: dict[str, Array]) -> None:
    loss, named = projected(results), given.named()
    found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    for (name, _), gradient in zip(named.items(), found, strict=True):
        np.testing.assert_allclose(
            array(gradient), expected[name], rtol=1e-6, atol=1e-7, err_msg=name
        )


# The gradients that pass a trace's result alone also pass it where all values are returned.
ASKED = [
    pytest.param(*param.values, values, id=f"{param.id}-{'values' if values else 'alone'}")
    for values, grid in ((False, FEWER_TRACED), (True, GRID))
    for param in grid
]


@pytest.mark.parametrize(("strategy", "execution", "values"), ASKED)
def test_gradients_reach_everything(strategy: Strategy, execution: str, values: bool) -> None:
    operator, given = strategy.operator, leaves(strategy.operator)
    x, t = given.inputs
    inputs = (x, given.v, t) if operator in DIRECTIONS else (x, t)
    ask = functools.partial(
        prepare,
        operator,
        given.net,
        *inputs,
        strategy=strategy.name,
        execution=execution,
        create_graph=True,
        values=values,
    )
    if strategy.not_differentiable:
        with pytest.raises(Unsupported) as refusal:
            ask()
        assert f"create_graph: {strategy.not_differentiable}" in str(refusal.value)
        return
    results = orders_of(operator, ask()(*inputs))
    check_gradients(results, given, differences(operator, values))


@pytest.mark.parametrize("strategy", DECLARED, ids=lambda s: f"{s.operator}-{s.name}")
def test_declared_not_differentiable_is_so(strategy: Strategy) -> None:
    """A stale declaration fails here: forced, the strategy must raise or cut gradients."""
    given = leaves(strategy.operator)
    x, t = given.inputs
    inputs = (x, given.v, t) if strategy.operator in DIRECTIONS else (x, t)

    value = array(forced(strategy, given.net, *inputs))
    expected = results_exact(strategy.operator, given.exact, False)[0]
    np.testing.assert_allclose(value, expected, rtol=1e-9)

    def train() -> None:
        result = forced(strategy, given.net, *inputs, create_graph=True)
        check_gradients([result], given, differences(strategy.operator, False))

    with pytest.raises((AssertionError, RuntimeError)):
        train()


def test_some_strategies_are_declared() -> None:
    assert DECLARED


@for_each_operator
def test_references_hold(operator: Operator) -> None:
    """`contracted` of the formulas equals the plan's own result, so both sides mean the same."""
    given = leaves(operator)
    x, t = given.inputs
    inputs = (x, given.v, t) if operator in DIRECTIONS else (x, t)
    found = only(prepare(operator, given.net, *inputs)(*inputs))
    np.testing.assert_allclose(
        array(found), results_exact(operator, given.exact, False)[0], rtol=1e-9
    )


CONSTANT = {"linear": lambda z: 2 * z, "square": lambda z: z * z}
# A fold is for networks, which these functions are not; none gathers before it computes, as a
# partially separable one does; of a Hessian that each output has, hutch++ takes one.
ELSEWHERE = {"partially-separable", "hutch++"}
ANY_TRAINED = [
    s
    for s in STRATEGIES.values()
    if not s.not_differentiable and s.sweep != "fold" and s.name not in ELSEWHERE
]


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize("strategy", ANY_TRAINED, ids=lambda s: f"{s.operator}-{s.name}")
def test_a_result_that_is_constant_in_x_has_gradients_of_zero(
    strategy: Strategy, name: str
) -> None:
    """The Hessian of a square, the Jacobian of a linear map: a loss of it has a backward."""
    operator, inside = strategy.operator, CONSTANT[name]
    f = (lambda z: inside(z).sum(1, keepdim=True)) if operator in SCALAR else inside
    x, *v = with_direction(operator, draw(B, N, seed=41), outputs(operator, N, N))
    x.requires_grad_()
    plan = prepare(operator, f, x, *v, strategy=strategy.name, create_graph=True)
    (found,) = torch.autograd.grad(only(plan(x, *v)).sum(), x)
    assert bool(found.any()) == (name == "square" and operator not in SECOND_ORDER)
