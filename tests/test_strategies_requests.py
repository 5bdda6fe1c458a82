"""Requests that cannot be met, and what is said; and those that look odd, but can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Function, Net, draw, only
from torch import Tensor, nn
from torch.autograd import forward_ad

from strategies import Orders, PlanMismatch, Unsupported, hessian, jacobian, jvp, prepare

B, N, M = 4, 3, 2


def given() -> tuple[Net, Tensor]:
    return Net(N, M), draw(B, N, seed=1)


# What is changed of the request, and the message.
WRONG: dict[str, tuple[Callable[[Any, Tensor], Any], type[Exception], str]] = {
    "operator": (
        lambda f, x: prepare("nope", f, x),
        ValueError,
        "no operator 'nope'; known: gradient, vjp, .*laplacian",
    ),
    "strategy": (
        lambda f, x: jacobian(f, x, strategy=[]),
        TypeError,
        r"asked for by its name, not by \[\]",
    ),
    "create-graph": (
        lambda f, x: jacobian(f, x, create_graph=1),
        TypeError,
        "create_graph is bool, not 1",
    ),
    "chunk": (
        lambda f, x: jacobian(f, x, chunk=2.5),
        TypeError,
        "chunk is int or str or None, not 2.5",
    ),
    "execution": (
        lambda f, x: jacobian(f, x, execution=[]),
        TypeError,
        r"execution is str, not \[\]",
    ),
    "function": (
        lambda f, x: jacobian(None, x),
        TypeError,
        "f must be a function of x, not NoneType",
    ),
    "list": (
        lambda f, x: jacobian(f, x.tolist()),
        TypeError,
        "not list; try torch.as_tensor",
    ),
    "integers": (
        lambda f, x: jacobian(f, x.long()),
        TypeError,
        r"not torch.int64; try x.float\(\)",
    ),
    "complex": (
        lambda f, x: jacobian(f, x.to(torch.complex128)),
        TypeError,
        "not torch.complex128; try torch.view_as_real",
    ),
    "float8": (
        lambda f, x: jacobian(f, x.to(torch.float8_e4m3fn)),
        TypeError,
        r"not torch.float8_e4m3fn; try x.float\(\)",
    ),
    "sparse": (
        lambda f, x: jacobian(f, x.to_sparse()),
        TypeError,
        r"torch.sparse_coo; try x.to_dense\(\)",
    ),
    "meta": (lambda f, x: jacobian(f, x.to("meta")), ValueError, "x must have values, which a"),
    "no-inputs": (
        lambda f, x: jacobian(f, x[:, :0]),
        ValueError,
        r"nothing to differentiate: a row of x has shape \(0,\)",
    ),
    "sparse-direction": (
        lambda f, x: jvp(f, x, x.to_sparse()),
        ValueError,
        r"must be \(4, 3\) float64 on cpu, not \(4, 3\) float64 on cpu, sparse_coo",
    ),
    "sparse-result": (
        lambda f, x: jacobian(lambda x: f(x).to_sparse(), x),
        TypeError,
        "f must return one dense floating-point tensor, not torch.float64, torch.sparse_coo",
    ),
    "integer-result": (
        lambda f, x: jacobian(lambda x: f(x).long(), x),
        TypeError,
        "f must return one dense floating-point tensor, not torch.int64",
    ),
    "other-dtype": (
        lambda f, x: jacobian(lambda x: f(x).float(), x),
        TypeError,
        "f must return x's dtype torch.float64, not torch.float32; cast inside f",
    ),
    "later-list": (
        lambda f, x: prepare("jacobian", f, x)(x.tolist()),
        PlanMismatch,
        "input 0 is of type list, not a tensor",
    ),
    "later-sparse": (
        lambda f, x: prepare("jacobian", f, x)(x.to_sparse()),
        PlanMismatch,
        r"input 0 is \(4, 3\) float64 on cpu, sparse_coo, the plan was",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_what_would_work(name: str) -> None:
    ask, kind, said = WRONG[name]
    with pytest.raises(kind, match=said):
        ask(*given())


def _in_vmap(f: Function, x: Tensor) -> Any:
    return torch.func.vmap(lambda z: jacobian(f, z))(torch.stack([x, x]))


def _in_grad(f: Function, x: Tensor) -> Any:
    return torch.func.grad(lambda z: jacobian(f, z).sum())(x)


def _in_dual(f: Function, x: Tensor) -> Any:
    with forward_ad.dual_level():
        return jacobian(f, forward_ad.make_dual(x, torch.ones_like(x)))


@pytest.mark.parametrize("around", [_in_vmap, _in_grad, _in_dual])
def test_a_transform_around_is_refused(around: Callable[[Function, Tensor], Any]) -> None:
    with pytest.raises(Unsupported, match="transform or a dual_level of the caller"):
        around(*given())


def test_few_random_numbers_are_seen() -> None:
    """A single mask of dropout is the same twice every other time."""
    f, x = nn.Dropout(0.5).train(), draw(1, 1, seed=1)
    for _ in range(10):
        with pytest.raises(Unsupported, match="f is random"):
            jacobian(f, x)


def test_detached_in_part_needs_digits() -> None:
    with pytest.raises(
        Unsupported, match=r"x left the graph in detach, and whether .* try float32"
    ):
        jacobian(lambda x: x**3 + x.detach() ** 2, draw(B, N, seed=1).bfloat16())


def test_a_branch_on_the_batch_is_seen_in_any_row() -> None:
    """Row 1 alone takes the other branch."""
    x = torch.tensor([[2.0], [0.5], [2.0], [2.0]], dtype=torch.float64)
    for name in ("functional-hessian", "functional-hessian-vectorized"):
        with pytest.raises(Unsupported, match="f of row 1 alone differs from row 1 of f of the"):
            hessian(lambda x: x**3 if x.amax() > 1 else x**2, x, strategy=name)


def force(x: Tensor) -> Tensor:
    """A leaf of its own where x needs no gradient, as force fields make."""
    z = x if x.requires_grad else x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad((z**3).sum(), z, create_graph=True)[0]


def test_a_graph_of_its_own_cuts_tangents() -> None:
    x, v = draw(B, N, seed=1), draw(B, N, seed=2)
    with pytest.raises(Unsupported, match=r"a graph of its own where x carries none \(detach, req"):
        jvp(force, x, v, strategy="dual-jvp")
    torch.testing.assert_close(jvp(force, x, v), 6 * x * v)


@pytest.mark.parametrize("name", ["dual-jvp", "func-jvp", "linearize", "double-backward-jvp"])
def test_rows_in_one_place(name: str) -> None:
    """An expanded x has all its rows in the storage of one, where a tangent has no room."""
    x, v = draw(1, N, seed=1).expand(B, N), draw(B, N, seed=2)
    torch.testing.assert_close(
        jvp(torch.ones_like, x, v, strategy=name), torch.zeros(B, N).double()
    )
    torch.testing.assert_close(jvp(torch.sin, x, v, strategy=name), x.cos() * v)


def test_orders_of_a_constant_without_axes() -> None:
    """The gradient beside a second order sees f in its flat shape: it is no detached f."""
    x = draw(B, seed=1)
    found = prepare("laplacian", torch.ones_like, x, values=True)(x)
    assert isinstance(found, Orders)
    assert [t.abs().sum().item() for t in found if t is not None] == [B, 0, 0]


def test_an_empty_batch_of_batch_norm() -> None:
    """Which takes no single row in training."""
    norm = nn.BatchNorm1d(N, dtype=torch.float64).train()
    assert only(prepare("jacobian", norm, draw(0, N, seed=1))(draw(0, N, seed=1))).shape == (
        0,
        N,
        N,
    )
