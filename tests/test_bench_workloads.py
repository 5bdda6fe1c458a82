"""Every workload: the same values each time, closed forms that agree with them, rows apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import one_row_differences

from bench.case import build
from bench.compare import Reference
from bench.problem import Problem
from bench.reference import reference
from bench.workloads import (
    WORKLOADS,
    DuplicateWorkload,
    UnknownWorkload,
    WorkloadError,
    find_workload,
    load_workload,
    workload,
)
from strategies import Operator, check_rows_independent, violated_shape

# Small enough for differences in every direction, and of networks without a closed form for those
# along all pairs of inputs; widths are what the workload is about.
SMALL = {
    "mlp-wide": {"n": 9, "m": 2},
    "mlp-tall": {"n": 2, "m": 9},
    "mlp-square": {"n": 3},
    "mlp-scalar": {"n": 3},
    "mlp-deep": {"n": 3},
    "rosenbrock": {"n": 5},
    "log-sum-exp": {"n": 5},
    "lennard-jones": {"atoms": 3},
    "time-conditioned-field": {"d": 3},
    "seed-sum": {"n": 3},
    "seed-square": {"n": 3},
    "cnn": {"size": 4},
    "attention": {"tokens": 2},
    "brusselator": {"N": 3},
    "conv-stencil": {"size": 3},
    "set-network": {"nodes": 2, "width": 2},
    "hand-simple": {"correspondences": 2, "vertices": 24},
    "hand-complicated": {"correspondences": 2, "vertices": 24},
    "bundle-adjustment": {"cameras": 1, "points": 2, "observations": 3},
    "gaussian-mixture": {"components": 2, "points": 10},
}
ALL = list(WORKLOADS)
B = 4


def small(name: str, dtype: str = "float64") -> Problem:
    return build(name, SMALL.get(name, {}), B, dtype, "cpu")


on_workloads = pytest.mark.parametrize("name", ALL)


def test_the_families_are_there() -> None:
    named = {"seed-sum", "seed-pair", "seed-square", "rosenbrock", "log-sum-exp", "cnn"}
    named |= {"mlp-wide", "mlp-tall", "mlp-square", "mlp-deep", "mlp-tiny", "paper-net"}
    named |= {"brusselator", "conv-stencil", "set-network"}
    named |= {"hand-simple", "hand-complicated", "bundle-adjustment", "gaussian-mixture"}
    assert named | {"attention", "lennard-jones", "time-conditioned-field"} <= set(ALL)


@on_workloads
def test_the_same_each_time(name: str) -> None:
    state = torch.get_rng_state()
    first, again = small(name), small(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.f(first.x, *first.args), again.f(again.x, *again.args))


@on_workloads
def test_every_dtype_holds_the_same_values(name: str) -> None:
    double, single = small(name), small(name, "float32")
    assert (double.x.dtype, single.x.dtype) == (torch.float64, torch.float32)
    assert torch.equal(double.x.float(), single.x)
    torch.testing.assert_close(
        double.f(double.x, *double.args).float(),
        single.f(single.x, *single.args),
        rtol=1e-4,
        atol=1e-4,
    )


@on_workloads
def test_rows_are_independent(name: str) -> None:
    problem = small(name)
    found = check_rows_independent(problem.f, problem.x, *problem.args)
    assert (found.alone, found.apart) == (None, None)


@on_workloads
def test_its_text_and_version(name: str) -> None:
    assert WORKLOADS[name].version >= 1
    assert len(WORKLOADS[name].text) > 10


CLOSED = [name for name in ALL if small(name).exact and name != "paper-net"]


@pytest.mark.parametrize("name", CLOSED)
def test_its_closed_value_is_its_value(name: str) -> None:
    problem = small(name)
    found = problem.f(problem.x, *problem.args).detach().reshape(B, -1).numpy()
    np.testing.assert_allclose(found, problem.exact["value"](), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CLOSED)
def test_the_closed_diagonal_is_that_of_the_hessian(name: str) -> None:
    exact = small(name).exact
    if "hessian-diagonal" in exact:
        full = np.einsum("bmii->bmi", exact["hessian"]())
        np.testing.assert_allclose(exact["hessian-diagonal"](), full, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["brusselator", "rosenbrock"])
def test_the_closed_jacobian_is_that_of_the_values(name: str) -> None:
    problem = small(name)
    found = one_row_differences(lambda x: problem.f(x).reshape(B, -1), problem.x).first
    np.testing.assert_allclose(problem.exact["jacobian"](), found, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "attention", "conv-stencil", "set-network"])
def test_networks_without_closed_forms_have_tight_bounds(name: str) -> None:
    """Every operation of theirs has a complex form, so that first orders are right to rounding."""
    found: Reference = reference(Operator.JACOBIAN, small(name, "float32"))
    assert found.method == "complex step"
    assert found.bound <= 1e-10


def test_some_operator_is_defined_for_each() -> None:
    for name in ALL:
        problem = small(name)
        out = tuple(problem.f(problem.x, *problem.args).shape[1:])
        shapes = tuple(problem.x.shape[1:]), out
        assert [op for op in Operator if not violated_shape(op, *shapes)]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownWorkload, match="no workload 'nope'; known: seed-sum, "):
        find_workload("nope")


def test_a_name_is_taken_once() -> None:
    def cnn() -> None:
        """Another one."""

    with pytest.raises(DuplicateWorkload, match="'cnn'"):
        workload(version=1)(cnn)


BAD = {
    "raising": ("def own(dtype, device, generator):\n    return 1 / 0", "raises ZeroDivisionError"),
    "import": ("import nowhere", "raises ModuleNotFoundError: No module named 'nowhere'"),
    "none": ("def own(dtype, device, generator):\n    pass", "must return Problem"),
    "integer": (
        "import torch\ndef own(*_):\n    return (lambda x: x), torch.ones(2, 3).int()",
        "x must be a floating-point tensor",
    ),
    "f-raises": (
        "import torch\ndef own(*_):\n    return (lambda x: x @ x), torch.ones(2, 3)",
        r"f\(x, \*args\) raises RuntimeError",
    ),
    "name": ("def other(*_):\n    pass", "name a function, as FILE.py:function; there are: other"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, case: str) -> None:
    text, said = BAD[case]
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=said) as raised:
        load_workload(f"{path}:own")
    assert "\n" not in str(raised.value)
    assert "own" not in WORKLOADS
