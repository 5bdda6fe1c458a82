"""Each entry of the table of unsafe operations is really wrong on this torch; others are right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from conftest import Array, Function, distance, draw, forced, only
from torch import Tensor, nn

from bench.problem import Problem
from bench.reference import reference, tolerance
from strategies import DIRECTIONS, STRATEGIES, Operator, Strategy, Unsupported, prepare
from strategies.unsafe import NESTED_FORWARD, UNSAFE, unsafe_operations

B, N = 4, 4

NESTED = [s for s in STRATEGIES.values() if s.mode in NESTED_FORWARD]
OTHERS = [
    s for s in STRATEGIES.values() if s.operator in {n.operator for n in NESTED} and s not in NESTED
]


def matrices(x: Tensor) -> Tensor:
    """`[B, 2, 2]` near twice the identity, each depending on its row by a nonlinear way."""
    return 2 * torch.eye(2, dtype=x.dtype) + (x + 0.3 * x**2).reshape(len(x), 2, 2)


def solved(x: Tensor) -> Tensor:
    b = torch.stack([x[:, 0].sin(), x[:, 1] ** 2], -1)
    return torch.linalg.solve(matrices(x), b).sum(-1, keepdim=True)


def layer_norm(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, (N,)).pow(3).sum(-1, keepdim=True)


def instance_norm(x: Tensor) -> Tensor:
    """Statistics of each row's own: to torch a batch norm over another shape."""
    return nn.functional.instance_norm(x[:, None]).pow(3).sum(-1)


OPERATIONS: dict[str, Function] = {
    "aten::_linalg_det": lambda x: torch.linalg.det(matrices(x))[:, None],
    "aten::_linalg_slogdet": lambda x: torch.linalg.slogdet(matrices(x))[1][:, None],
    "aten::_linalg_solve_ex": solved,
    "aten::native_batch_norm": instance_norm,
    "aten::native_layer_norm": layer_norm,
}


@dataclass(frozen=True)
class Asked:
    inputs: tuple[Tensor, ...]
    expected: Array
    tolerance: float


@functools.cache
def asked(operator: Operator, name: str) -> Asked:
    x, f = draw(B, N, seed=41), OPERATIONS[name]
    v = draw(B, N, seed=42) if operator in DIRECTIONS else None
    found = reference(operator, Problem(f, x), v)
    inputs = (x,) if v is None else (x, v)
    return Asked(inputs, found.value, tolerance("float64", found))


def named(strategies: list[Strategy]) -> Callable:
    return pytest.mark.parametrize(
        "strategy", [pytest.param(s, id=f"{s.operator}-{s.name}") for s in strategies]
    )


on_operations = pytest.mark.parametrize("name", OPERATIONS)


def test_every_entry_is_proven_here() -> None:
    assert {name for table in UNSAFE.values() for name in table} == set(OPERATIONS)


@on_operations
def test_forced_it_is_wrong(name: str) -> None:
    """Once torch has mended an operation this fails: then its entry goes.

    A strategy may be spared (symmetric cases cancel); an entry is there for those that are not.
    """
    wrong = []
    for strategy in NESTED:
        case = asked(strategy.operator, name)
        found = forced(strategy, OPERATIONS[name], *case.inputs)
        wrong.append(distance(found, case.expected) > 1e-3)
    assert any(wrong)


@on_operations
@named(NESTED)
def test_it_is_refused(strategy: Strategy, name: str) -> None:
    case, said = asked(strategy.operator, name), name.removeprefix("aten::")
    with pytest.raises(Unsupported, match=f"{strategy.mode} through {said} silently wrong"):
        prepare(strategy.operator, OPERATIONS[name], *case.inputs, strategy=strategy.name)


@pytest.mark.parametrize("name", ["aten::native_layer_norm", "aten::native_batch_norm"])
@named(OTHERS)
def test_the_others_are_right(strategy: Strategy, name: str) -> None:
    case = asked(strategy.operator, name)
    plan = prepare(strategy.operator, OPERATIONS[name], *case.inputs, strategy=strategy.name)
    assert distance(only(plan(*case.inputs)), case.expected) <= case.tolerance


def test_an_operation_is_found_where_it_counts() -> None:
    x = draw(B, N, seed=41)
    norm = nn.BatchNorm1d(N, dtype=torch.float64)
    assert unsafe_operations(norm, x, ()) == ["native_batch_norm"]
    assert unsafe_operations(norm.eval(), x, ()) == []
    wrapped = nn.Sequential(nn.Linear(N, N), nn.LayerNorm(N)).double()
    assert unsafe_operations(lambda x: wrapped(x).sin(), x, ()) == ["native_layer_norm"]


def test_auto_goes_around() -> None:
    x = draw(B, N, seed=41)
    plan = prepare(Operator.LAPLACIAN, layer_norm, x)
    assert "silently wrong" in plan.explain()
    case = asked(Operator.LAPLACIAN, "aten::native_layer_norm")
    assert distance(only(plan(x)), case.expected) <= case.tolerance
