"""Properties of every operator by any strategy, over shapes, batch sizes, dtypes and functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from closed_forms import HELD, OUTER, TYPES, Formula, formula
from conftest import SPECIAL, UNTRACEABLE, Array, Shape, array, contracted, draw, only
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some
from torch import Tensor

from strategies import (
    DIRECTIONS,
    SECOND_ORDER,
    Operator,
    Orders,
    prepare,
    result_shape,
    strategies_for,
    violated_shape,
)

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F64: 1e-9, F32: 1e-4}

examples = partial(
    settings,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@dataclass(frozen=True)
class Asked:
    """One request: what of which function where, and how."""

    operator: Operator
    f: Formula
    inputs: tuple[Tensor, ...]
    how: dict[str, Any]

    @property
    def x(self) -> Tensor:
        return self.inputs[0]

    @property
    def args(self) -> tuple[Tensor, ...]:
        return self.inputs[2:] if self.operator in DIRECTIONS else self.inputs[1:]

    def answer(self, **other: Any) -> Tensor | Orders:
        return prepare(self.operator, self.f, *self.inputs, **{**self.how, **other})(*self.inputs)

    def result(self) -> Tensor:
        return only(self.answer(values=False))

    def expected(self, operator: Operator | None = None) -> Array:
        operator, B = operator or self.operator, len(self.x)
        v = array(self.inputs[1]) if operator in DIRECTIONS else None
        flat = contracted(operator, self.f.exact(self.x, *self.args), v)
        return flat.reshape(result_shape(operator, B, self.f.in_shape, self.f.out_shape))


def axes(most: int) -> some.SearchStrategy[Shape]:
    """Up to `most` axes and few elements, axes of size 1 among them."""
    few = some.lists(some.integers(1, 3), max_size=most).map(tuple)
    return few.filter(lambda shape: prod(shape) <= 6)


@some.composite
def args_of(choose: Any, B: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
    """No args, a time a row, a type a row, or both."""
    time, kind = draw(B, 1, seed=seed).to(dtype), torch.arange(B) % TYPES
    return choose(some.sampled_from([(), (), (time,), (kind,), (time, kind)]))


@some.composite
def outs(choose: Any, operator: Operator, in_shape: Shape) -> Shape:
    """A shape of outputs for which the operator is defined."""
    wanted = some.sampled_from([in_shape, (prod(in_shape),)])
    shapes = wanted if operator == Operator.DIVERGENCE else axes(2)
    if violated_shape(operator, (2,), (2,)):
        shapes = some.sampled_from([(), (1,), (1, 1)])
    return choose(shapes)


@some.composite
def options(choose: Any, operator: Operator) -> dict[str, Any]:
    """A strategy by name or by the rule, and how to run it; combinations it declares not to do are
    left out."""
    offered = [s for s in strategies_for(operator) if s.exact and not s.needs & SPECIAL]
    strategy = choose(some.sampled_from([None, *offered]))
    create_graph = choose(some.booleans())
    how: dict[str, Any] = {"values": choose(some.booleans())}
    if strategy is None:
        return {**how, "create_graph": create_graph}
    traced = choose(some.integers(0, 39)) == 17 and strategy.name not in UNTRACEABLE
    # A trace is differentiable or refused; which of both is asked of each in test_training.
    differentiable = strategy.not_differentiable is None and not traced
    how |= {"strategy": strategy.name, "execution": "traced" if traced else "eager"}
    if strategy.chunks:
        how["chunk"] = choose(some.sampled_from([None, 1, 2, 7]))
    return {**how, "create_graph": create_graph and differentiable}


@some.composite
def asked(choose: Any, of: tuple[Operator, ...] = tuple(Operator)) -> Asked:
    operator, in_shape = choose(some.sampled_from(of)), choose(axes(3))
    out_shape = choose(outs(operator, in_shape))
    B, dtype = choose(some.integers(0, 5)), choose(some.sampled_from([F32, F64, F64]))
    seed = choose(some.integers(0, 999))
    f = formula(choose(some.sampled_from(sorted(OUTER))), in_shape, out_shape, seed)
    x = HELD[choose(some.sampled_from(sorted(HELD)))](draw(B, *in_shape, seed=seed + 2).to(dtype))
    side = DIRECTIONS.get(operator)
    like = out_shape if side == "out" else in_shape
    v = () if side is None else (draw(B, *like, seed=seed + 3).to(dtype),)
    args = choose(args_of(B, dtype, seed + 4))
    return Asked(operator, f, (x, *v, *args), choose(options(operator)))


def parts(found: Tensor | Orders) -> list[Tensor]:
    return [t for t in (found if isinstance(found, Orders) else [found]) if t is not None]


def close(found: Tensor, expected: Array, tolerance: float) -> bool:
    """Equal in shape, and in norm up to rounding of numbers of order one."""
    assert tuple(found.shape) == expected.shape
    error = np.linalg.norm(array(found) - expected)
    return bool(error <= tolerance * (np.linalg.norm(expected) + 1))


@examples(max_examples=700)
@given(asked())
def test_equals_the_formula(case: Asked) -> None:
    """Shapes, dtypes and values of all that is returned; x and the graph are as they were."""
    before, tolerance = case.x.detach().clone(), TOLERANCE[case.x.dtype]
    found = case.answer()
    own = parts(found)[-1]
    assert close(own, case.expected(), tolerance)
    assert torch.equal(case.x.detach(), before)
    assert case.x.grad is None if case.x.is_leaf else True
    for part in parts(found):
        assert part.dtype == case.x.dtype
        assert case.how["create_graph"] or not part.requires_grad
    if isinstance(found, Orders):
        exact = case.f.exact(case.x, *case.args)
        assert close(found.value, exact.value.reshape(len(case.x), *case.f.out_shape), tolerance)
        if case.operator in SECOND_ORDER:
            scalar = prod(case.f.out_shape) == 1
            below = Operator.GRADIENT if scalar else Operator.JACOBIAN
            assert close(found.first, case.expected(below), tolerance)


@examples(max_examples=60)
@given(asked())
def test_two_calls_are_identical(case: Asked) -> None:
    plan = prepare(case.operator, case.f, *case.inputs, **case.how)
    first, again = parts(plan(*case.inputs)), parts(plan(*case.inputs))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


@examples(max_examples=80)
@given(asked((Operator.VJP, Operator.JVP, Operator.HVP)), some.floats(-3, 3))
def test_linear_in_the_direction(case: Asked, factor: float) -> None:
    x, v, *args = case.inputs
    w = draw(*v.shape, seed=77).to(v.dtype)
    plan = prepare(case.operator, case.f, *case.inputs, **{**case.how, "values": False})
    along_v, along_w = only(plan(x, v, *args)), only(plan(x, w, *args))
    both = only(plan(x, v + factor * w, *args))
    tolerance = 10 * TOLERANCE[x.dtype]
    assert close(both, array(along_v) + factor * array(along_w), tolerance)


@examples(max_examples=60)
@given(asked((Operator.HESSIAN,)))
def test_hessians_are_symmetric(case: Asked) -> None:
    B, n = len(case.x), prod(case.f.in_shape)
    assume(B)
    found = case.result().reshape(B, -1, n, n)
    assert close(found.mT, array(found), TOLERANCE[case.x.dtype])


# An operator, the one it is contracted from, and by what: `[B, m, n]` or `[B, m, n, n]`.
CONTRACTIONS = {
    Operator.DIVERGENCE: (Operator.JACOBIAN, "bii->b"),
    Operator.LAPLACIAN: (Operator.HESSIAN_DIAGONAL, "bki->bk"),
    Operator.HESSIAN_DIAGONAL: (Operator.HESSIAN, "bkii->bki"),
}


@examples(max_examples=100)
@given(asked(tuple(CONTRACTIONS)))
def test_operators_agree_with_each_other(case: Asked) -> None:
    whole, letters = CONTRACTIONS[case.operator]
    B, n, m = len(case.x), prod(case.f.in_shape), prod(case.f.out_shape)
    assume(B)
    full = array(only(prepare(whole, case.f, *case.inputs)(*case.inputs)))
    flat = full.reshape(B, m, n, n) if whole == Operator.HESSIAN else full.reshape(B, m, n)
    found = case.result()
    expected = np.einsum(letters, flat).reshape(tuple(found.shape))
    assert close(found, expected, TOLERANCE[case.x.dtype])


@examples(max_examples=80)
@given(asked(), some.integers(0, 4))
def test_a_row_alone_is_that_row(case: Asked, i: int) -> None:
    assume(i < len(case.x))
    one = replace(case, inputs=tuple(t[i : i + 1] for t in case.inputs))
    assert close(one.result(), array(case.result())[i : i + 1], TOLERANCE[case.x.dtype])


@pytest.mark.parametrize("kind", OUTER)
@pytest.mark.parametrize("held", HELD)
def test_formulas_agree_with_differences(kind: str, held: str) -> None:
    """The references themselves, so that no slip in them is blamed on a strategy."""
    f, h = formula(kind, (3,), (2,), seed=5), 1e-5
    x, args = HELD[held](draw(4, 3, seed=6)).detach(), (draw(4, 1, seed=7), torch.arange(4) % 3)
    exact, steps = f.exact(x, *args), h * torch.eye(3, dtype=F64)
    there = [(f.exact(x + s, *args), f.exact(x - s, *args)) for s in steps]
    first = np.stack([(a.value - b.value) / (2 * h) for a, b in there], -1)
    second = np.stack([(a.first - b.first) / (2 * h) for a, b in there], -1)
    np.testing.assert_allclose(array(f(x, *args)), exact.value, atol=1e-12)
    np.testing.assert_allclose(first, exact.first, atol=1e-7)
    np.testing.assert_allclose(second, exact.second, atol=1e-7)
