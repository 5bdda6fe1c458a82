"""Every strategy in every execution against formulas written down by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import (
    GRID,
    UNTRACEABLE,
    Example,
    args_example,
    array,
    check_orders,
    contracted,
    cubic_example,
    distance,
    for_each_operator,
    for_each_strategy,
    net_example,
    on_fewer_traced,
    one_row_differences,
    only,
    outputs,
    strided,
)

from strategies import DIRECTIONS, Operator, Orders, Plan, Strategy, Unsupported, prepare

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F64: 1e-9, F32: 1e-4}

Build = Callable[[Operator], Example]


def _shaped(operator: Operator) -> Example:
    out = {1: (), 2: (2, 1), 6: (3, 2)}[outputs(operator, 6, 2)]
    return cubic_example((2, 3), out)


def _thin(operator: Operator) -> Example:
    return cubic_example((1,), (outputs(operator, 1, 2),))


def _column(operator: Operator) -> Example:
    """One output without an axis of its own; where m = n, one input without an axis too."""
    return cubic_example(() if operator == Operator.DIVERGENCE else (3,), ())


EXAMPLES: dict[str, Build] = {
    "net": lambda op: net_example(3, outputs(op, 3, 2)),
    "net-float32": lambda op: net_example(3, outputs(op, 3, 2), dtype=F32),
    "shaped": _shaped,
    "args": lambda op: args_example(3, outputs(op, 3, 2)),
    "column": _column,
    "thin": _thin,
    "one-row": lambda op: net_example(3, outputs(op, 3, 2), B=1),
    "strided": lambda op: strided(net_example(3, outputs(op, 3, 2))),
    "more-outputs": lambda op: net_example(2, outputs(op, 2, 5)),
}


# Tracing is slow, and the registry deals with shapes and strides around it; traces in float64 are
# compared before and after updates in test_strategies_contract.
TRACED = {"net-float32"}
CASES = [
    pytest.param(*param.values, build, id=f"{param.id}-{name}")
    for name, build in EXAMPLES.items()
    for param in GRID
    if param.values[1] == "eager" or name in TRACED
]


def _plan(strategy: Strategy, execution: str, example: Example, **how: Any) -> Plan | None:
    """The plan, or None where the refusal is a declared one: it must then refuse."""
    inputs = example.inputs(strategy.operator)
    how = {"strategy": strategy.name, "execution": execution, **how}
    if execution != "traced" or strategy.name not in UNTRACEABLE:
        return prepare(strategy.operator, example.f, *inputs, **how)
    with pytest.raises(Unsupported, match="its trace does not hold at other values than the trac"):
        prepare(strategy.operator, example.f, *inputs, **how)
    return None


@pytest.mark.parametrize(("strategy", "execution", "build"), CASES)
def test_agrees(strategy: Strategy, execution: str, build: Build) -> None:
    operator, example = strategy.operator, build(strategy.operator)
    if plan := _plan(strategy, execution, example):
        found = only(plan(*example.inputs(operator)))
        assert distance(found, example.expected(operator)) <= TOLERANCE[example.x.dtype]
        assert found.dtype == example.x.dtype


@on_fewer_traced
def test_values(strategy: Strategy, execution: str) -> None:
    """With an integer among the args; all traces' values in test_strategies_contract."""
    operator, example = strategy.operator, EXAMPLES["args"](strategy.operator)
    if plan := _plan(strategy, execution, example, values=True):
        check_orders(plan(*example.inputs(operator)), example, operator)


@for_each_strategy
def test_values_of_many_axes(strategy: Strategy) -> None:
    operator, example = strategy.operator, EXAMPLES["shaped"](strategy.operator)
    plan = prepare(
        operator, example.f, *example.inputs(operator), strategy=strategy.name, values=True
    )
    check_orders(plan(*example.inputs(operator)), example, operator)


@pytest.mark.parametrize("name", ["shaped", "args", "net-float32"])
@for_each_strategy
def test_empty_batch(strategy: Strategy, name: str) -> None:
    operator, example = strategy.operator, EXAMPLES[name](strategy.operator)
    inputs = tuple(t[:0] for t in example.inputs(operator))
    plan = prepare(operator, example.f, *inputs, strategy=strategy.name, values=True)
    orders = plan(*inputs)
    assert type(orders) is Orders
    own = only(prepare(operator, example.f, *inputs, strategy=strategy.name)(*inputs))
    expected = [e if e is None else (0, *e.shape[1:]) for e in example.expected_orders(operator)]
    assert [o if o is None else tuple(o.shape) for o in orders] == expected
    assert tuple(own.shape) == next(shape for shape in expected[::-1] if shape is not None)
    assert {t.dtype for t in (own, *orders) if t is not None} == {example.x.dtype}


@for_each_strategy
def test_hessian_is_symmetric(strategy: Strategy) -> None:
    if strategy.operator == Operator.HESSIAN:
        example = EXAMPLES["net"](strategy.operator)
        found = only(
            prepare(strategy.operator, example.f, example.x, strategy=strategy.name)(example.x)
        )
        assert distance(found.mT, array(found)) <= 1e-12


@pytest.mark.parametrize("name", ["net", "args", "thin"])
@for_each_operator
def test_formulas_agree_with_differences(operator: Operator, name: str) -> None:
    """The references themselves, so that no slip in them is blamed on a strategy."""
    example = EXAMPLES[name](operator)
    differences = one_row_differences(lambda x: example.f(x, *example.args), example.x)
    direction = array(example.direction(operator)) if operator in DIRECTIONS else None
    found = torch.from_numpy(example.expected(operator).copy())
    assert distance(found, contracted(operator, differences, direction)) <= 1e-5
