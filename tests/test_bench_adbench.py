"""ADBench's problems: the public answers, references from values alone, own files, rotations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from adbench_written import (
    bundle,
    hand,
    mixture,
    write_bundle,
    write_hand,
    write_mixture,
    write_model,
)
from conftest import array, distance, draw
from torch import Tensor

from bench.case import build
from bench.problem import Problem, direction
from bench.reference import errors, reference, tolerance
from bench.workloads import load_workload
from bench.workloads.adbench_files import VARIABLE
from bench.workloads.rotation import NEAR, rotate
from strategies import Operator, check_rows_independent, gradient, hessian, hvp, jacobian

FOLDER = os.environ.get(VARIABLE)
on_public_files = pytest.mark.skipif(
    not FOLDER, reason=f"{VARIABLE} names no folder with ADBench's files"
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder of files, which `ADBENCH_DATA` names."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


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
def test_the_large_public_bundle_is_built_and_pushed_forward() -> None:
    problem = made("bundle-adjustment", file="ba/ba1_n49_m7776_p31843.txt")
    assert problem.x.shape == (1, 55710)
    assert problem.f(problem.x).shape == (1, 95529)


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
        off = errors(array(J), trusted)["relative"]
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
        assert errors(array(found), trusted)["relative"] <= tolerance(dtype, trusted)
        assert tolerance(dtype, trusted) <= 1e-4


def test_the_mixture_is_its_formula(folder: Path) -> None:
    """The likelihood by scipy's densities, whose covariance is the inverse of Lᵀ L."""
    own = mixture()
    write_mixture(folder / "gmm/own.txt", own)
    problem = made("gaussian-mixture", file="gmm/own.txt")
    factors = [np.diag(np.exp(array(row[:3]))) for row in own.icf]
    for L, row in zip(factors, array(own.icf), strict=True):
        L[1, 0], L[2, 0], L[2, 1] = row[3:]
    densities = [
        scipy.stats.multivariate_normal(mean, np.linalg.inv(L.T @ L)).pdf(array(own.data))
        for mean, L in zip(array(own.means), factors, strict=True)
    ]
    likelihood = np.log(array(own.alphas.softmax(0)) @ densities).sum()
    found = float(problem.f(problem.x)[0])
    assert found == pytest.approx(likelihood + prior(factors, own.gamma, own.m), rel=1e-12)


def prior(factors: list[np.ndarray], gamma: float, m: int) -> float:
    d, c = len(factors[0]), len(factors[0]) + m + 1
    moved = sum(gamma**2 / 2 * (L**2).sum() - m * np.log(np.diag(L)).sum() for L in factors)
    fixed = c * d * np.log(gamma / 2**0.5) - scipy.special.multigammaln(c / 2, d)
    return float(moved - len(factors) * fixed)


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


def turned(r: Tensor, p: Tensor) -> Tensor:
    """By the exponential of the matrix of r×."""
    x, y, z = r.tolist()
    K = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.matrix_exp(K) @ p


@pytest.mark.parametrize("size", [0.0, 1e-8, 1e-3, 0.99 * NEAR**0.5, 1.01 * NEAR**0.5, 2.0, 3.1])
def test_a_rotation_is_the_exponential(size: float) -> None:
    along, p = draw(3, seed=1), draw(3, seed=2)
    r = size * along / along.square().sum().sqrt()
    torch.testing.assert_close(rotate(r, p), turned(r, p), rtol=1e-14, atol=1e-15)
    f: Callable[[Tensor], Tensor] = lambda r: rotate(r, p.expand_as(r))  # noqa: E731
    for operator, strategy, limit in ((jacobian, "vmap-jacrev", 1e-13), (hessian, "auto", 1e-10)):
        kind = Operator.JACOBIAN if operator is jacobian else Operator.HESSIAN
        trusted = reference(kind, Problem(f, r[None]))
        found = operator(f, r[None], strategy=strategy)
        assert distance(found, trusted.value) <= max(limit, 10 * trusted.bound)


def test_no_rotation_at_all_has_a_derivative() -> None:
    """∂(R p)/∂r = −p× at r = 0, in every mode."""
    p = draw(3, seed=2)
    x, y, z = p.tolist()
    minus = np.array([[[0, z, -y], [-z, 0, x], [y, -x, 0]]])
    for strategy in JACOBIANS:
        J = jacobian(
            lambda r: rotate(r, p.expand_as(r)), torch.zeros(1, 3).double(), strategy=strategy
        )
        np.testing.assert_allclose(array(J), minus, atol=1e-16)


WRITTEN = {
    "hand-simple": lambda path: write_hand(path, hand(inside=False)),
    "hand-complicated": lambda path: write_hand(path, hand(inside=True)),
    "bundle-adjustment": lambda path: write_bundle(path, bundle()),
    "gaussian-mixture": lambda path: write_mixture(path, mixture()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_ones_own_is_measured(name: str, folder: Path) -> None:
    """Its first row is the file's point, and strategies agree with the reference there."""
    write_model(folder / "hand/model", hand(inside=False).model)
    WRITTEN[name](folder / "own/own.txt")
    problem = made(name, B=2, file="own/own.txt")
    trusted = reference(Operator.JACOBIAN, problem)
    assert trusted.method == "complex step"
    for strategy in ("loop-grad", "vmap-jacfwd"):
        J = jacobian(problem.f, problem.x, strategy=strategy)
        assert distance(J, trusted.value) <= 1e-12


def test_a_page_names_a_file_in_four_lines(folder: Path) -> None:
    """The recipe of docs/adbench.md for measuring one of the public files."""
    write_bundle(folder / "ba/own.txt", bundle())
    page = (Path(__file__).parent.parent / "docs/adbench.md").read_text(encoding="utf-8")
    recipe = page.partition("```python\n")[2].partition("```")[0]
    (folder / "mine.py").write_text(recipe.replace("ba1_n49_m7776_p31843", "own"))
    loaded = load_workload(f"{folder / 'mine.py'}:bundle_large")
    made = loaded.build(torch.float64, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert made.x.shape == (1, 2 * 11 + 3 * 3 + 4)
