"""Each pass on a graph made for it, and the simplified trace against eager on every workload."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Net, draw, only
from functorch import make_fx
from test_bench_workloads import SMALL
from torch import Tensor
from torch.fx import GraphModule

from bench.case import Case, subject
from bench.counters import counters
from bench.grid import Block, cases
from bench.workloads import WORKLOADS
from strategies import Operator, Plan, prepare
from strategies.graphs import mutates, name
from strategies.replaying import replayable
from strategies.simplify import simplify

X = draw(4, 3, seed=1)


def simple(f: Callable[..., Any], *inputs: Tensor) -> GraphModule:
    """The simplified graph of f, which must give what f gives: here, elsewhere and replayed."""
    graph = simplify(make_fx(lambda *given: f(*given))(*inputs), inputs)
    for given in (inputs, tuple(t + 1 for t in inputs)):
        expected = f(*given)
        assert_same(graph(*given), expected)
    assert_same(replayable(graph)(*inputs), f(*inputs))
    return graph


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def ops(graph: GraphModule) -> Counter[str]:
    called = [node for node in graph.graph.nodes if node.op == "call_function"]
    return Counter(name(n) or getattr(n.target, "__name__", "") for n in called)


def test_products_with_zeros_are_dropped() -> None:
    W = draw(3, 3, seed=2)
    graph = simple(lambda x: (x @ torch.zeros(3, 3).double() + (x * x.new_zeros(3))).sin() + x, X)
    assert set(ops(graph)) == {"add"}
    graph = simple(lambda x: torch.addmm(torch.zeros(3).double(), x, W), X)
    assert set(ops(graph)) == {"mm"}


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + torch.zeros(2, 4, 3, dtype=torch.float64),
        lambda x: x.float() + torch.zeros(3, dtype=torch.float64, device="cpu").expand(4, 3),
        lambda x: torch.zeros(4, 3).double() - x,
        lambda x: torch.add(torch.zeros(4, 3).double(), x, alpha=2),
        lambda x: x.sum(0) + torch.zeros(4, 1).double(),
        lambda x: torch.where(x > 0, x, torch.zeros(()).double()),
        lambda x: torch.addmm(torch.zeros(2).double(), x, torch.zeros(3, 2).double()),
        lambda x: torch.addmm(torch.ones(2).double(), x, torch.zeros(3, 2).double(), beta=2),
        lambda x: torch.baddbmm(torch.zeros(1).double(), x[None], x.mT[None]),
        lambda x: torch.addcmul(x[:1], torch.zeros(4, 1).double(), x),
        lambda x: torch.cat([torch.zeros(4, 1).double(), x * 0.0 + 1], 1),
        lambda x: torch.full((4, 3), 0.5).double() * x + torch.full((), 0.0).double(),
    ],
)
def test_what_is_added_to_zeros_keeps_shape_and_dtype(f: Callable[..., Tensor]) -> None:
    assert simple(f, X)(X).dtype == f(X).dtype


def test_zeros_that_are_written_are_not_zeros() -> None:
    """The trap: `new_zeros → diagonal → fill_` is how torch makes a basis."""

    def f(x: Tensor) -> Tensor:
        basis = x.new_zeros(3, 3)
        basis.diagonal().fill_(1.0)
        return (x @ basis).unsqueeze(0).squeeze_(0) * basis.sum()

    graph = simple(f, X)
    assert not any(mutates(node) for node in graph.graph.nodes)
    assert "mm" in ops(graph)


def test_views_that_change_nothing_are_dropped() -> None:
    def f(x: Tensor) -> Tensor:
        y = x.view(2, 6).reshape(12).view(4, 3).expand(4, 3).t().t().permute(0, 1)
        return y[:, 0:3].detach().clone().unsqueeze(1).squeeze(1).sin()

    assert ops(simple(f, X)) == {"sin": 1}


def test_chains_of_views_are_one() -> None:
    graph = simple(lambda x: x.view(2, 6).view(3, 4).view(2, 2, 3).transpose(0, 2).mT + 1, X)
    assert ops(graph) == {"reshape": 1, "permute": 1, "add": 1}


def test_a_view_of_what_a_sum_with_zeros_stood_for() -> None:
    """The sum is contiguous; what stands for it is not, so that a `view` of it would raise."""
    simple(lambda x: (x.t() + torch.zeros(3, 4).double().contiguous()).contiguous().view(12), X)
    simple(lambda x: (x.t() + torch.zeros(3, 4).double()).reshape(12), X)


def test_strides_that_are_read_stay() -> None:
    simple(lambda x: (x.t() + torch.zeros(3, 4).double()).as_strided((2,), (3,)), X)
    simple(lambda x: (x.t() + torch.zeros(3, 4).double()).contiguous().as_strided((2,), (3,)), X)
    simple(lambda x: torch.view_as_complex(x[:, :2].contiguous().clone()).abs(), X)


def test_expands_before_broadcasting_are_dropped() -> None:
    graph = simple(lambda x: x[:1].expand(4, 3) * x, X)
    assert "expand" not in ops(graph)
    # Without its dimension the float64 would have no say in the dtype.
    half = torch.tensor(0.5, dtype=torch.float64)
    graph = simple(lambda x: half.expand(4, 3) * x, X.float())
    assert graph(X.float()).dtype == torch.float64


def test_what_does_not_broadcast_keeps_its_expand() -> None:
    gelu = torch.ops.aten.gelu_backward.default
    graph = simple(lambda x: gelu(x[None], x.sin().expand(1, 4, 3)), X.float())
    assert "expand" in ops(graph)


def test_loops_over_slices_are_one_operation() -> None:
    backward = torch.ops.aten.tanh_backward.default

    def f(g: Tensor, y: Tensor) -> Tensor:
        return torch.stack([backward(g[k], y) for k in range(4)])

    g, y = draw(4, 3, 2, seed=6), draw(3, 2, seed=7)
    assert ops(simple(f, g, y)) == {"tanh_backward": 1}


@pytest.mark.parametrize(
    "f",
    [
        lambda g, y: torch.stack([g[k] * y for k in (0, 1, 3, 2)]),
        lambda g, y: torch.stack([g[k] * y for k in range(3)]),
        lambda g, y: torch.stack([g[k] * y for k in range(4)], 1),
        lambda g, y: torch.stack([g[k] * (y + k) for k in range(4)]),
        lambda g, y: torch.stack([g[:, k] * y[:1, :1] for k in range(3)]),
        lambda g, y: torch.stack([torch.add(g[k], y, alpha=1 + k) for k in range(4)]),
        lambda g, y: torch.stack([g[k].float() * y.sum() for k in range(4)]),
    ],
)
def test_loops_that_are_no_such_loops_stay(f: Callable[..., Tensor]) -> None:
    g, y = draw(4, 3, 2, seed=6), draw(3, 2, seed=7)
    assert "stack" in ops(simple(f, g, y))


def test_constants_are_folded_and_tensors_from_outside_are_not() -> None:
    scale = torch.ones(3, dtype=torch.float64)
    f = lambda x: x @ (torch.eye(3).double() * torch.arange(3)).T + scale.exp() * x  # noqa: E731
    graph = simple(f, X)
    assert ops(graph) == {"mm": 1, "exp": 1, "mul": 1, "add": 1}
    scale.mul_(1.5)
    assert_same(graph(X), f(X))


def test_common_subexpressions_are_merged_and_draws_are_not() -> None:
    graph = simple(lambda x: x.sin() * x.sin() + x.sum(1, keepdim=True) * x.sum(1, keepdim=True), X)
    assert ops(graph) == {"sin": 1, "sum": 1, "mul": 2, "add": 1}
    drawn = make_fx(lambda x: torch.rand_like(x) + torch.rand_like(x))(X)
    assert ops(simplify(drawn, (X,)))["rand_like"] == 2


def test_equal_numbers_of_other_types_are_other_arguments() -> None:
    graph = simple(lambda x: (x.sum(0).long() + 1).double() + (x.sum(0).long() + 1.0), X)
    assert ops(graph)["add"] == 3


def test_results_belong_to_the_caller() -> None:
    held = draw(4, 3, seed=5)
    f = lambda x: (x + torch.zeros(3).double(), held.t(), torch.eye(3), x.sin(), x.sin())  # noqa: E731
    x = X.clone()
    found = simple(f, x)(x)
    for result in found:
        result.fill_(7.0)
    again = simple(f, x)(x)
    assert torch.equal(x, X)
    assert_same(again, f(x))
    assert found[3].data_ptr() != found[4].data_ptr()


def test_a_graph_that_writes_outside_stays_as_it_is() -> None:
    count = torch.zeros(())

    def f(x: Tensor) -> Tensor:
        count.add_(1)
        return x * 1

    graph = make_fx(f)(X)
    before = ops(graph)
    assert ops(simplify(graph, (X,))) == before


def test_a_zero_times_infinity_is_dropped_with_the_product() -> None:
    """The one thing that changes, and only where eager says NaN: NOTE [zero tangents]."""
    f = lambda x: torch.zeros(3).double() * x + 1  # noqa: E731
    graph = simplify(make_fx(f)(X), (X,))
    wide = torch.full_like(X, float("inf"))
    assert f(wide).isnan().all()
    assert torch.equal(graph(wide), torch.ones_like(X))


# One of each way to make a graph, of each order; all further ones are in the agreement tests.
REPRESENTATIVE = {
    Operator.JACOBIAN: ("vmap-jacrev", "vmap-jacfwd"),
    Operator.HVP: ("forward-over-reverse",),
    Operator.HESSIAN: ("fwd-rev",),
    Operator.LAPLACIAN: ("nested-jvp",),
    Operator.DIVERGENCE: ("vmap-jvp-trace",),
}
# Second derivatives of the others take seconds to record.
SECOND_ORDER_TOO = {
    *("seed-sum", "seed-pair", "seed-square", "rosenbrock", "log-sum-exp", "lennard-jones"),
    *("mlp-scalar", "mlp-tiny", "gaussian-mixture"),
}
FIRST_ORDER = [Operator.JACOBIAN, Operator.DIVERGENCE]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
ON_WORKLOADS = [
    pytest.param(name, dtype, id=f"{name}-{dtype}", marks=marks)
    for name in WORKLOADS
    for dtype, marks in (("float64", ()), ("float32", pytest.mark.slow))
]


def sampled(workload: str, dtype: str) -> list[Case]:
    operators = list(REPRESENTATIVE) if workload in SECOND_ORDER_TOO else FIRST_ORDER
    block = Block(workload, operators, B=4, params=SMALL.get(workload, {}), dtype=dtype)
    return [c for c in cases([block]) if c.strategy in REPRESENTATIVE[c.operator]]


def planned(case: Case, execution: str) -> Plan:
    made = subject(case)
    return prepare(
        case.operator,
        made.problem.f,
        *made.inputs,
        strategy=case.strategy,
        execution=execution,
    )


@pytest.mark.parametrize(("workload", "dtype"), ON_WORKLOADS)
def test_the_simplified_trace_agrees_with_eager(workload: str, dtype: str) -> None:
    for case in sampled(workload, dtype):
        inputs = subject(case).inputs
        expected = only(planned(case, "eager")(*inputs))
        found = only(planned(case, "traced")(*inputs))
        error = (found - expected).norm() / expected.norm().clamp_min(1e-30)
        assert error <= TOLERANCE[dtype], case.id


def test_hvp_forward_over_reverse_takes_four_forward_passes() -> None:
    """6 eager (pytorch#69687), and no more than 4 where zero tangents are not multiplied."""
    block = Block("mlp-scalar", [Operator.HVP], B=64, params={"n": 64})
    found: dict[tuple[str, str], float] = {}
    for case in cases([block]):
        if case.strategy not in ("forward-over-reverse", "reverse-over-reverse"):
            continue
        made = subject(case)
        with torch.no_grad():
            forward = counters(made.problem.f, (made.problem.x,))["flops"]
        for execution in ("eager", "traced"):
            flops = [counters(planned(case, execution), made.inputs)["flops"] for _ in range(2)]
            assert flops[0] == flops[1]
            found[case.strategy, execution] = flops[0] / forward
    print(found, file=sys.stderr)
    assert found["forward-over-reverse", "eager"] > 5.5
    assert found["forward-over-reverse", "traced"] <= 4.1
    assert found["reverse-over-reverse", "traced"] <= 4.1


def test_gradients_pass_the_simplified_trace() -> None:
    net = Net(3, 2)
    plans = [
        prepare("jacobian", net, X, strategy="vmap-jacfwd", execution=e, create_graph=True)
        for e in ("eager", "traced")
    ]
    found = [torch.autograd.grad(only(p(X)).cos().sum(), net.first.weight)[0] for p in plans]
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
