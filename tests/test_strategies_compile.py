"""The compile and cuda-graph executions: few compilations, each of a tiny function."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Net, array, contracted, draw, net_exact, only, outputs, weights
from test_strategies_contract import given, surroundings
from test_strategies_training import (
    check_gradients,
    differences,
    leaves,
    orders_of,
)
from torch import Tensor

from strategies import DIRECTIONS, Operator, Options, PlanMismatch, Unsupported, prepare
from strategies.cuda_graphs import captured

# Inductor and what it imports warn of their own interior.
pytestmark = pytest.mark.filterwarnings("ignore")

B, N, M = 4, 3, 2

COMPILED = [
    pytest.param("jacobian", "vmap-jacrev", id="jacobian-vmap-jacrev"),
    pytest.param("hvp", "forward-over-reverse", id="hvp-forward-over-reverse"),
    *(
        pytest.param(*pair, id="-".join(pair), marks=pytest.mark.slow)
        for pair in (
            ("jacobian", "jacrev-sum"),
            ("jacobian", "vmap-jacfwd"),
            ("jacobian", "loop-grad"),
            ("hessian", "fwd-rev"),
            ("laplacian", "nested-jvp"),
            ("divergence", "jacfwd-trace"),
        )
    ),
]


@pytest.mark.parametrize(("operator", "name"), COMPILED)
def test_compiled_plan_is_right_follows_updates_and_leaks_nothing(operator: str, name: str) -> None:
    op = Operator(operator)
    net, inputs = Net(N, outputs(op, N, M)), given(op)
    scale = torch.tensor(0.7, dtype=torch.float64)
    # torch names inductor's cache in the environment when a process first differentiates.
    prepare(op, net, *inputs, strategy=name, execution="traced")
    around, environment = surroundings(), dict(os.environ)
    plan = prepare(
        op, lambda x: scale * net(x), *inputs, strategy=name, execution="compile", values=True
    )
    first = orders_of(op, plan(*inputs))
    kept = [t.clone() for t in first]
    assert surroundings() == around
    assert dict(os.environ) == environment
    _check_own(op, first[-1], net, float(scale), inputs)
    with torch.no_grad():
        for p in [scale, *net.parameters()]:
            p.mul_(1.5)
    # Other strides than those that were compiled for.
    strided = tuple(t.mT.contiguous().mT for t in inputs)
    _check_own(op, orders_of(op, plan(*strided))[-1], net, float(scale), inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
    with pytest.raises(PlanMismatch):
        plan(*(t.float() for t in inputs))


def _check_own(
    op: Operator, found: Tensor, net: Net, scale: float, inputs: tuple[Tensor, ...]
) -> None:
    p = weights(net)
    p |= {name: scale * p[name] for name in ("second.weight", "second.bias")}
    direction = array(inputs[1]) if op in DIRECTIONS else None
    expected = contracted(op, net_exact(p, array(inputs[0])), direction)
    np.testing.assert_allclose(array(found), expected, rtol=1e-9, atol=1e-12)
    assert found.grad_fn is None


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("jacobian", "loop-grad"),
        pytest.param("hvp", "forward-over-reverse", marks=pytest.mark.slow),
    ],
)
def test_compiled_plan_trains(operator: str, name: str) -> None:
    op, own = Operator(operator), leaves(Operator(operator))
    x, t = own.inputs
    inputs = (x, own.v, t) if op in DIRECTIONS else (x, t)
    plan = prepare(op, own.net, *inputs, strategy=name, execution="compile", create_graph=True)
    check_gradients(orders_of(op, plan(*inputs)), own, differences(op, False))


def test_a_branch_on_values_is_refused_not_compiled_in_part() -> None:
    def f(x: Tensor) -> Tensor:
        return x.sin() if x.sum() > 0 else x.cos()

    with pytest.raises(Unsupported, match=r"cannot be traced|does not hold at other values"):
        prepare("jacobian", f, draw(B, N, seed=1), strategy="jacrev-sum", execution="compile")


def test_what_the_compiler_raises_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch._inductor, "compile", no_compiler)
    with pytest.raises(Unsupported, match=r"cannot be compiled: No working C\+\+ compiler found$"):
        prepare("jacobian", Net(), draw(B, N, seed=1), execution="compile", strategy="loop-grad")


def stand_in(run: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
    """Relaunches as a CUDA graph does: the same computation, into the same results."""
    held = torch.utils._pytree.tree_map(lambda t: t.clone(), run())

    def relaunch() -> None:
        for old, new in zip(
            torch.utils._pytree.tree_leaves(held),
            torch.utils._pytree.tree_leaves(run()),
            strict=True,
        ):
            old.copy_(new)

    return held, relaunch


def test_captured_evaluation_gives_results_of_its_own_and_follows_updates() -> None:
    net, x = Net(N, M), draw(B, N, seed=1)
    evaluate = torch.func.vmap(torch.func.jacrev(net))
    run = captured(evaluate, (x,), Options(execution="cuda-graph"), stand_in)
    first = only(run(x))
    kept = first.clone()
    torch.testing.assert_close(first, evaluate(x))
    second = only(run(2 * x))
    assert torch.equal(first, kept)
    torch.testing.assert_close(second, evaluate(2 * x))
    with torch.no_grad():
        net.first.weight.mul_(1.5)
    torch.testing.assert_close(run(x), evaluate(x))


def test_what_cannot_be_captured_is_refused() -> None:
    def fails(run: Callable[[], Any]) -> tuple[Any, Callable[[], object]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(Unsupported, match="cannot be captured: operation not permitted"):
        captured(lambda x: x.sin(), (draw(B, N, seed=1),), Options(), fails)


@pytest.mark.parametrize(
    ("create_graph", "reason"),
    [(False, "needs x on a CUDA device, not on cpu"), (True, "create_graph: a CUDA graph relau")],
)
def test_cuda_graph_is_refused_here(create_graph: bool, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        prepare(
            *("jacobian", Net(), draw(B, N, seed=1)),
            strategy="loop-grad",
            execution="cuda-graph",
            create_graph=create_graph,
        )
