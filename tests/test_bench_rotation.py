"""Rotations by vectors: the exponential at every size, and derivatives at none at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import array, distance, draw
from torch import Tensor

from bench.problem import Problem
from bench.reference import reference
from bench.workloads.rotation import NEAR, rotate
from strategies import Operator, hessian, jacobian

JACOBIANS = ["loop-grad", "vmap-jacrev", "is-grads-batched", "dual-loop", "vmap-jacfwd"]


def turned(r: Tensor, p: Tensor) -> Tensor:
    """By the exponential of the matrix of r×."""
    x, y, z = r.tolist()
    K = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.matrix_exp(K) @ p


SIZES = [0.0, 1e-8, 1e-3, 0.99 * NEAR**0.5, 1.01 * NEAR**0.5, 2.0, 3.1]
P = draw(3, seed=2)


def f(r: Tensor) -> Tensor:
    return rotate(r, P.expand_as(r))


def vector(size: float) -> Tensor:
    along = draw(1, 3, seed=1)
    return size * along / along.square().sum().sqrt()


@pytest.mark.parametrize("size", SIZES)
def test_a_rotation_is_the_exponential(size: float) -> None:
    r = vector(size)
    torch.testing.assert_close(f(r)[0], turned(r[0], P), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("size", SIZES)
def test_both_orders_agree_with_the_reference(size: float) -> None:
    problem = Problem(f, vector(size))
    first = reference(Operator.JACOBIAN, problem)
    assert first.method == "complex step"
    for strategy in JACOBIANS:
        assert distance(jacobian(f, problem.x, strategy=strategy), first.value) <= 1e-13
    second = reference(Operator.HESSIAN, problem)
    assert distance(hessian(f, problem.x), second.value) <= max(1e-12, 10 * second.bound)


def test_no_rotation_at_all_has_a_derivative() -> None:
    """∂(R p)/∂r = −p× at r = 0, in every mode."""
    x, y, z = P.tolist()
    minus = np.array([[[0, z, -y], [-z, 0, x], [y, -x, 0]]])
    for strategy in JACOBIANS:
        found = jacobian(f, torch.zeros(1, 3).double(), strategy=strategy)
        np.testing.assert_allclose(array(found), minus, atol=1e-16)
