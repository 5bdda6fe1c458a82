"""Files of one's own: ADBench's formulas written out in loops, and the recipe of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from adbench_written import (
    bundle,
    hand,
    mixture,
    write_bundle,
    write_hand,
    write_mixture,
    write_model,
)
from conftest import array, distance
from scipy.spatial.transform import Rotation

from bench.case import build
from bench.problem import Problem
from bench.reference import reference
from bench.workloads import WORKLOADS, load_workload
from bench.workloads.adbench_data import Hand
from bench.workloads.adbench_files import VARIABLE
from strategies import Operator, jacobian


def made(name: str, **params: Any) -> Problem:
    return build(name, params, None, "float64", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder of files, which `ADBENCH_DATA` names."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


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


def test_the_bundle_is_its_formula(folder: Path) -> None:
    """Observation by observation, turned by scipy; the first camera is not turned at all."""
    own = bundle()
    write_bundle(folder / "ba/own.txt", own)
    problem = made("bundle-adjustment", file="ba/own.txt")
    residuals = []
    for i, (w, feature) in enumerate(zip(array(own.weights), array(own.features), strict=True)):
        camera, point = array(own.cameras[i % 2]), array(own.points[i % 3])
        ahead = Rotation.from_rotvec(camera[:3]).apply(point - camera[3:6])
        flat = ahead[:2] / ahead[2]
        stretch = 1 + camera[9] * flat @ flat + camera[10] * (flat @ flat) ** 2
        residuals.append(w * (camera[6] * stretch * flat + camera[7:9] - feature))
    expected = np.concatenate([np.concatenate(residuals), 1 - array(own.weights) ** 2])
    np.testing.assert_allclose(array(problem.f(problem.x))[0], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("inside", [False, True])
def test_the_hand_is_its_formula(folder: Path, inside: bool) -> None:
    """Bone by bone and point by point, turned by scipy."""
    own = hand(inside=inside)
    write_model(folder / "hand/model", own.model)
    write_hand(folder / "hand/own.txt", own)
    problem = made("hand-complicated" if inside else "hand-simple", file="hand/own.txt")
    places = posed(own)
    found = places[own.chosen]
    if own.us is not None:
        u, v = array(own.us).T
        a, b, c = (places[corner] for corner in own.model.triangles[own.chosen].T)
        found = u[:, None] * a + v[:, None] * b + (1 - u - v)[:, None] * c
    expected = (array(own.points) - found).flatten()
    np.testing.assert_allclose(array(problem.f(problem.x))[0], expected, rtol=1e-13, atol=1e-14)


def posed(h: Hand) -> np.ndarray:
    """The places of the vertices, `[V, 3]`."""
    theta, absolute = array(h.theta), []
    for bone, parent in enumerate(h.model.parents):
        turn, (finger, joint) = np.eye(4), divmod(bone - 1, 4)
        if 0 < bone < 21 and joint > 0:
            bend, spread, *bends = theta[6 + 4 * finger : 10 + 4 * finger]
            angles = (spread, bend) if joint == 1 else (0, bends[joint - 2])
            turn[:3, :3] = Rotation.from_euler("ZX", angles).as_matrix()
        relative = array(h.model.relative[bone]) @ turn
        absolute.append(relative if parent < 0 else absolute[parent] @ relative)
    places = np.zeros((len(h.model.positions), 3))
    for v, bone in h.model.weights.nonzero().tolist():
        at_rest = array(h.model.inverse[bone]) @ [*array(h.model.positions[v]), 1]
        places[v] += float(h.model.weights[v, bone]) * (absolute[bone] @ at_rest)[:3]
    return Rotation.from_rotvec(theta[:3]).apply(places) + theta[3:6]


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
    problem = build(name, {"file": "own/own.txt"}, 2, "float64", "cpu")
    trusted = reference(Operator.JACOBIAN, problem)
    assert trusted.method == "complex step"
    for strategy in ("loop-grad", "vmap-jacfwd"):
        J = jacobian(problem.f, problem.x, strategy=strategy)
        assert distance(J, trusted.value) <= 1e-12


def test_the_recipe_of_the_page_measures_a_file(folder: Path) -> None:
    """docs/adbench.md on a file of one's own under the public file's name."""
    write_model(folder / "hand/model", hand(inside=False).model)
    write_hand(folder / "hand/hand1_t26_c100.txt", hand(inside=False))
    page = (Path(__file__).parent.parent / "docs/adbench.md").read_text(encoding="utf-8")
    (folder / "mine.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    recipe = load_workload(f"{folder / 'mine.py'}:hand_100")
    try:
        problem = build("hand-100", {}, None, "float64", "cpu")
        assert problem.f(problem.x).shape == (1, 3 * 4)
    finally:
        del WORKLOADS[recipe.name]
