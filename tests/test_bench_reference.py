"""References from values alone against formulas, and the gate that compares with them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import args_example, array, cubic_example, draw, net_example, outputs
from torch import Tensor, nn

from bench.case import Case, subject
from bench.check import check
from bench.compare import Reference, errors, tolerance
from bench.differences import extrapolate
from bench.precise import Evaluator
from bench.problem import Problem
from bench.reference import cached_reference, reference
from strategies import DIRECTIONS, Operator, Plan

EXAMPLES = {
    "net": lambda op: net_example(3, outputs(op, 3, 2)),
    "shaped": lambda op: cubic_example((2, 3), (1,) if outputs(op, 6, 2) == 1 else (6,)),
    "args": lambda op: args_example(3, outputs(op, 3, 2)),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("operator", list(Operator))
def test_values_alone_give_the_derivatives(operator: Operator, name: str) -> None:
    example = EXAMPLES[name](operator)
    v = example.direction(operator) if operator in DIRECTIONS else None
    found = reference(operator, Problem(example.f, example.x, example.args), v)
    expected = example.expected(operator)
    assert found.value.shape == expected.shape
    off = np.linalg.norm(found.value - expected) / np.linalg.norm(expected)
    assert off <= max(10 * found.bound, 1e-13)
    assert found.bound <= 1e-8


def kinked(x: Tensor) -> Tensor:
    """No complex form (an absolute value), yet smooth where the rows are."""
    return ((x - 5).abs() ** 1.5).sum(-1)


@pytest.mark.parametrize("operator", [Operator.GRADIENT, Operator.HESSIAN])
def test_what_is_not_analytic_falls_to_differences(operator: Operator) -> None:
    x = draw(4, 3, seed=1)
    found = reference(operator, Problem(kinked, x))
    z = 5 - array(x)
    expected = -1.5 * z**0.5
    if operator == Operator.HESSIAN:
        expected = (0.75 * z**-0.5)[:, None] * np.eye(3)
    assert "Richardson" in found.method
    np.testing.assert_allclose(found.value, expected, atol=10 * found.bound + 1e-12)
    assert found.bound <= 1e-6


def test_float32_values_are_taken_as_they_are() -> None:
    """The reference belongs to the very float32 numbers that f holds, in float64."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x = draw(4, 3, seed=2).float()
    found = reference(Operator.JACOBIAN, Problem(net, x))
    W, b, V = (array(p) for p in (net[0].weight, net[0].bias, net[2].weight))
    slope = 1 - np.tanh(array(x) @ W.T + b) ** 2
    expected = np.einsum("kh,bh,hi->bki", V, slope, W)
    np.testing.assert_allclose(found.value, expected, rtol=1e-12, atol=1e-14)


def test_a_batched_closure_is_called_point_by_point() -> None:
    factor, x = draw(4, 1, seed=3), draw(4, 3, seed=4)
    found = reference(Operator.JACOBIAN, Problem(lambda x: x.sin() * factor, x))
    expected = array(factor)[:, :, None] * np.cos(array(x))[:, :, None] * np.eye(3)
    np.testing.assert_allclose(found.value, expected, rtol=1e-12, atol=1e-14)


OPERATIONS = {
    "softmax": lambda x: x.softmax(-1),
    "log-softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1),
    "erf": lambda x: x.erf(),
    "gelu": nn.functional.gelu,
    "gelu-tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "softplus": nn.functional.softplus,
    "silu": nn.functional.silu,
    "layer-norm": lambda x: nn.functional.layer_norm(x, (4,)),
    "conv": lambda x: nn.functional.conv1d(x[:, None], torch.ones(2, 1, 2, dtype=x.dtype) * 0.3),
    "matmul": lambda x: x @ x.mT,
    "branches": lambda x: torch.where((x > 0) & (x <= 0.7), x.sin(), (x - (x < -0.5) * x).exp()),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_complex_rules_are_the_operations(name: str) -> None:
    """On the real line each complex rule gives torch's own value."""
    f = OPERATIONS[name]
    x = 2 * draw(3, 4, seed=5)
    evaluate = Evaluator(lambda z: f(z).reshape(len(z), -1), x, ())
    expected = array(f(x)).reshape(3, -1)
    for points in (evaluate.at[None], evaluate.at[None] + 0j):
        np.testing.assert_allclose(evaluate(points)[0].real, expected, rtol=1e-13, atol=1e-14)


def test_extrapolation_knows_its_error() -> None:
    found, bound = extrapolate(lambda h: np.array([(np.exp(h) - np.exp(-h)) / (2 * h)]))
    assert abs(found[0] - 1) <= 10 * bound + 1e-15
    assert bound < 1e-10


GATED = {
    "kept": (lambda J: J, None),
    "zeros": (torch.zeros_like, "relative error 1.0e\\+00"),
    "transposed": (lambda J: J.mT.contiguous(), "relative error"),
    "sign": (lambda J: -J, "relative error 2.0e\\+00"),
    "rows-swapped": (lambda J: J.roll(1, 0), "relative error"),
    "off-by-one": (lambda J: J.roll(1, -1), "relative error"),
    "nan": (lambda J: J.index_fill(0, torch.tensor([0]), float("nan")), "not finite"),
    "row-dropped": (lambda J: J[:-1], r"shape \(3, 3, 3\), not \(4, 3, 3\)"),
    "rounded": (lambda J: J.float().double(), r"relative error \d\.\de-08"),
    "sparse": (lambda J: J.to_sparse(), "layout torch.sparse_coo, not torch.strided"),
    "elsewhere": (lambda J: J.to("meta"), "torch.float64 on meta, not torch.float64 on cpu"),
    "infinite": (lambda J: J / 0, "not finite"),
    "float32": (lambda J: J.float(), "torch.float32 on cpu, not torch.float64"),
}


@pytest.mark.parametrize("name", GATED)
def test_the_gate(name: str, tmp_path: Path) -> None:
    case = Case(
        Operator.JACOBIAN, "loop-grad", "mlp-square", 4, (3,), (3,), {"n": 3}, dtype="float64"
    )
    made = subject(case)
    plan = made.prepare()
    assert isinstance(plan, Plan)
    change, reason = GATED[name]
    found = check(made, change(plan(*made.inputs)), tmp_path)
    if reason is None:
        assert found.reason is None
        assert found.error["digits"] > 14
    else:
        assert found.reason is not None
        assert re.match(reason, found.reason)


def test_errors_are_of_the_whole_and_of_the_worst_entry() -> None:
    trusted = Reference(np.ones((10, 10)), 1e-13, "closed form", np.ones((10, 1)))
    result = np.ones((10, 10))
    result[3, 4] += 1e-3
    found = errors(result, trusted, "float64")
    assert found["relative"] == pytest.approx(1e-4)
    assert found["elementwise"] == pytest.approx(1e-3)
    assert found["digits"] == pytest.approx(4)


def test_tolerances_widen_with_the_bound_only() -> None:
    one = np.ones(1)
    tight, loose = Reference(one, 1e-13, "", one), Reference(one, 1e-6, "", one)
    assert tolerance("float64", tight) == 1e-9
    assert tolerance("float64", loose) == pytest.approx(1e-5)
    assert tolerance("float32", loose) == 1e-4


def test_a_reference_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute() -> Reference:
        calls.append(1)
        return Reference(np.arange(3.0), 1e-12, "closed form", np.ones(3))

    first, again = (cached_reference(tmp_path / "r", "key", compute) for _ in range(2))
    assert len(calls) == 1
    np.testing.assert_array_equal(first.value, again.value)
    np.testing.assert_array_equal(first.scale, again.scale)
    assert (first.bound, first.method) == (again.bound, again.method)
