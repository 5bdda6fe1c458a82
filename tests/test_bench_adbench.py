"""ADBench's problems: the public answers, references from values alone, rows, devices."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import array, distance

from bench.case import build
from bench.compare import errors, tolerance
from bench.problem import Problem, direction
from bench.reference import reference
from bench.workloads.adbench_files import VARIABLE
from strategies import Operator, check_rows_independent, gradient, hvp, jacobian, jvp

FOLDER = os.environ.get(VARIABLE)
on_public_files = pytest.mark.skipif(
    not (FOLDER and (Path(FOLDER) / "expected.json").is_file()),
    reason=f"{VARIABLE} names no folder with ADBench's files and their expected.json",
)

JACOBIANS = [
    "loop-grad",
    "loop-grad-rows",
    "replicate-batch",
    "is-grads-batched",
    "vmap-autograd-grad",
    "vmap-jacrev",
    "jacrev-sum",
    "chunked-jacrev",
    "dual-loop",
    "vmap-jacfwd",
    "chunked-jacfwd",
    "functional-jacobian",
]
OWN = ["hand-simple", "hand-complicated", "bundle-adjustment", "gaussian-mixture"]
on_jacobians = pytest.mark.parametrize("strategy", JACOBIANS)
on_own = pytest.mark.parametrize("name", OWN)


def made(name: str, dtype: str = "float64", B: int | None = None, **params: Any) -> Problem:
    return build(name, params, B, dtype, "cpu")


def expected(name: str) -> dict[str, Any]:
    assert FOLDER
    return json.loads((Path(FOLDER) / "expected.json").read_text())[name]


@on_public_files
@on_jacobians
def test_the_public_hand(strategy: str) -> None:
    problem, answer = made("hand-simple", file="hand/test.txt"), expected("hand/test.txt")
    assert distance(problem.f(problem.x), np.array([answer["objective"]])) <= 1e-12
    J = jacobian(problem.f, problem.x, strategy=strategy)
    assert distance(J, np.array([answer["jacobian"]])) <= 1e-12


@on_public_files
@on_jacobians
def test_the_public_bundle(strategy: str) -> None:
    problem, answer = made("bundle-adjustment", file="ba/test.txt"), expected("ba/test.txt")
    n, m, p = 2, 10, 10
    value = [*answer["reprojection"] * p, *[answer["weight_error"]] * p]
    assert distance(problem.f(problem.x), np.array([value])) <= 1e-12
    J = jacobian(problem.f, problem.x, strategy=strategy)
    assert distance(J, bundle_jacobian(answer, n, m, p)[None]) <= 1e-12


def bundle_jacobian(answer: dict[str, Any], n: int, m: int, p: int) -> np.ndarray:
    """`[3p, 11n + 3m + p]` out of the block of one observation, as docs/adbench.md lays it out."""
    block = np.array(answer["block_d_reprojection_d_camera_point_weight"])
    J = np.zeros((3 * p, 11 * n + 3 * m + p))
    for i in range(p):
        camera, point, weight = 11 * (i % n), 11 * n + 3 * (i % m), 11 * n + 3 * m + i
        rows = slice(2 * i, 2 * i + 2)
        J[rows, camera : camera + 11] = block[:, :11]
        J[rows, point : point + 3] = block[:, 11:14]
        J[rows, weight] = block[:, 14]
        J[2 * p + i, weight] = answer["d_weight_error_d_weight"]
    return J


@on_public_files
def test_the_large_public_bundle_is_pushed_forward() -> None:
    problem = made("bundle-adjustment", file="ba/ba1_n49_m7776_p31843.txt")
    assert (problem.x.shape, problem.f(problem.x).shape) == ((1, 55710), (1, 95529))
    v = direction(Operator.JVP, problem, (95529,))
    assert v is not None
    trusted = reference(Operator.JVP, problem, v)
    assert distance(jvp(problem.f, problem.x, v), trusted.value) <= 1e-12


@on_public_files
def test_the_larger_public_hand_agrees_with_its_reference() -> None:
    problem = made("hand-simple", file="hand/hand1_t26_c100.txt")
    trusted = reference(Operator.JACOBIAN, problem)
    assert trusted.value.shape == (1, 300, 26)
    for strategy in ("vmap-jacrev", "vmap-jacfwd"):
        J = jacobian(problem.f, problem.x, strategy=strategy)
        assert distance(J, trusted.value) <= 1e-12


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("B", [1, 3])
@on_own
def test_jacobians_agree_with_the_complex_step(name: str, B: int, dtype: str) -> None:
    problem = made(name, dtype, B)
    trusted = reference(Operator.JACOBIAN, problem)
    assert trusted.method == "complex step"
    assert trusted.bound <= 1e-9
    for strategy in ("loop-grad", "vmap-jacrev", "vmap-jacfwd", "dual-loop"):
        J = jacobian(problem.f, problem.x, strategy=strategy)
        off = errors(array(J), trusted, dtype)["relative"]
        assert off <= (1e-12 if dtype == "float64" else 1e-5), strategy
        assert off <= tolerance(dtype, trusted)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_mixtures_gradient_and_curvature(dtype: str) -> None:
    problem = made("gaussian-mixture", dtype, 3)
    v = direction(Operator.HVP, problem, ())
    assert v is not None
    for operator, found in (
        (Operator.GRADIENT, gradient(problem.f, problem.x)),
        (Operator.HVP, hvp(problem.f, problem.x, v)),
    ):
        trusted = reference(operator, problem, v if operator == Operator.HVP else None)
        assert errors(array(found), trusted, dtype)["relative"] <= tolerance(dtype, trusted)
        assert tolerance(dtype, trusted) <= 1e-4


@on_own
def test_everything_is_on_the_device(name: str) -> None:
    """On the device without memory whatever is elsewhere raises."""
    problem = build(name, {}, 2, "float32", "meta")
    assert problem.f(problem.x).device.type == "meta"


@on_own
def test_rows_are_independent_in_float32_too(name: str) -> None:
    problem = made(name, "float32", 4)
    found = check_rows_independent(problem.f, problem.x)
    assert (found.alone, found.apart) == (None, None)


@on_own
def test_rows_start_with_the_point_itself(name: str) -> None:
    one, more = made(name), made(name, B=3)
    assert torch.equal(more.x[:1], one.x)
    torch.testing.assert_close(more.f(more.x)[:1], one.f(one.x), rtol=1e-12, atol=1e-13)
