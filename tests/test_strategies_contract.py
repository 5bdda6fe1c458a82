"""What every strategy promises beside the right answer: no traces, honest plans, honest zeros."""

from __future__ import annotations

import statistics
from timeit import repeat

import numpy as np
import pytest
import torch
from conftest import (
    ON_GRID,
    WORKING,
    Example,
    Function,
    Net,
    array,
    check_orders,
    contracted,
    draw,
    for_each_operator,
    for_each_strategy,
    net_exact,
    on_fewer_traced,
    on_working_grid,
    only,
    outputs,
    weights,
    with_direction,
)
from torch import Tensor, nn
from torch.autograd import forward_ad

from strategies import (
    DIRECTIONS,
    SECOND_ORDER,
    Operator,
    Orders,
    Plan,
    PlanMismatch,
    Refusal,
    Strategy,
    Unsupported,
    attempt,
    find,
    inspect,
    prepare,
    result_shape,
)
from strategies.registry import Options

B, N, M = 4, 3, 2

on_executions = pytest.mark.parametrize("execution", ON_GRID)


def given(operator: Operator, m: int | None = None) -> tuple[Tensor, ...]:
    m = outputs(operator, N, M) if m is None else m
    return with_direction(operator, draw(B, N, seed=21), m)


def plan_for(strategy: Strategy, execution: str, f: Function, *inputs: Tensor, **how: bool) -> Plan:
    return prepare(
        strategy.operator, f, *inputs, strategy=strategy.name, execution=execution, **how
    )


def parts(found: Tensor | Orders) -> list[Tensor]:
    return [t for t in (found if isinstance(found, Orders) else [found]) if t is not None]


def surroundings() -> tuple[object, ...]:
    return (
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        forward_ad._current_level,
        len(torch.nn.modules.module._global_forward_pre_hooks),
        torch._C._functorch.peek_interpreter_stack(),
    )


def timed_example(operator: Operator) -> Example:
    """The net with a time a row."""
    net, x, t = Net(N, outputs(operator, N, M)), draw(B, N, seed=21), draw(B, 1, seed=23)
    exact = net_exact(weights(net), array(x), array(t))
    return Example(net, x, (t,), (outputs(operator, N, M),), exact)


@pytest.mark.parametrize("grad_mode", [True, False], ids=["grad", "no-grad"])
@on_working_grid
def test_leaves_no_traces(strategy: Strategy, execution: str, grad_mode: bool) -> None:
    """And all values are right that come along."""
    operator, example = strategy.operator, timed_example(strategy.operator)
    net, inputs = example.f, example.inputs(operator)
    leaves = [t.requires_grad_() for t in (*inputs, *net.parameters())]
    before = [array(t).copy() for t in leaves]
    with torch.set_grad_enabled(grad_mode):
        around = surroundings()
        plan = plan_for(strategy, execution, net, *inputs, values=not grad_mode)
        result = plan(*inputs)
        assert surroundings() == around
    for tensor, old in zip(leaves, before, strict=True):
        assert tensor.grad is None
        np.testing.assert_array_equal(array(tensor), old)
    found = parts(result)
    assert [(t.grad_fn, t.requires_grad) for t in found] == [(None, False)] * len(found)
    if not grad_mode:
        check_orders(result, example, operator)


class Counting(nn.Module):
    """A net that counts its calls in a buffer and draws from the global RNG, to no effect."""

    def __init__(self, m: int) -> None:
        super().__init__()
        self.net = Net(N, m)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.calls += 1
            torch.rand(()) if torch._C._functorch.maybe_current_level() is None else None
        return self.net(x)


@on_fewer_traced
def test_prepare_leaves_buffers_alone(strategy: Strategy, execution: str) -> None:
    counting, inputs = Counting(outputs(strategy.operator, N, M)), given(strategy.operator)
    state = torch.get_rng_state()
    options = Options(execution=execution, values=execution == "eager")
    attempt(inspect(strategy.operator, counting, inputs, options), strategy)
    assert counting.calls == 0
    assert torch.equal(torch.get_rng_state(), state)


@for_each_strategy
def test_prepare_leaves_running_statistics_alone(strategy: Strategy) -> None:
    norm, inputs = nn.BatchNorm1d(N, dtype=torch.float64), given(strategy.operator)
    before = {name: b.clone() for name, b in norm.named_buffers()}
    f = nn.Sequential(norm, Net(N, outputs(strategy.operator, N, M)))
    attempt(inspect(strategy.operator, f, inputs, Options()), strategy)
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name


@on_working_grid
def test_plan_follows_updates_in_place(strategy: Strategy, execution: str) -> None:
    operator, net = strategy.operator, Net(N, outputs(strategy.operator, N, M))
    scale, inputs = torch.tensor(0.7, dtype=torch.float64), given(strategy.operator)
    plan = plan_for(strategy, execution, lambda x: scale * net(x), *inputs)
    check_scaled(operator, plan, net, scale, inputs)
    with torch.no_grad():
        for p in [scale, *net.parameters()]:
            p.mul_(1.5)
    check_scaled(operator, plan, net, scale, inputs)


def check_scaled(
    operator: Operator, plan: Plan, net: Net, scale: Tensor, inputs: tuple[Tensor, ...]
) -> None:
    p = weights(net)
    p |= {name: float(scale) * p[name] for name in ("second.weight", "second.bias")}
    direction = array(inputs[1]) if operator in DIRECTIONS else None
    expected = contracted(operator, net_exact(p, array(inputs[0])), direction)
    np.testing.assert_allclose(array(only(plan(*inputs))), expected, rtol=1e-9, atol=1e-12)


def _constant(operator: Operator) -> Function:
    m = outputs(operator, N, M)
    return lambda x: x.new_ones(len(x), m)


def _ignoring(operator: Operator) -> Function:
    """A function with parameters and a graph, in which x has no part."""
    net = Net(N, outputs(operator, N, M))
    return lambda x: net(torch.ones_like(x))


def _linear(operator: Operator) -> Function:
    matrix = draw(N, outputs(operator, N, M), seed=24)
    return lambda x: x @ matrix


FLAT = {"constant": _constant, "ignoring": _ignoring, "linear": _linear}


ZEROS = [
    pytest.param(*param.values, name, create_graph, id=f"{param.id}-{name}-{create_graph}")
    for param in WORKING
    for name in FLAT
    for create_graph in (False, True)
    if name != "linear" or param.values[0].operator in SECOND_ORDER
    if not create_graph or not (param.values[0].not_differentiable or param.values[1] == "traced")
]


@pytest.mark.parametrize(("strategy", "execution", "name", "create_graph"), ZEROS)
def test_zeros(strategy: Strategy, execution: str, name: str, create_graph: bool) -> None:
    operator = strategy.operator
    inputs = tuple(t.requires_grad_(create_graph) for t in given(operator))
    f = FLAT[name](operator)
    found = only(plan_for(strategy, execution, f, *inputs, create_graph=create_graph)(*inputs))
    m = outputs(operator, N, M)
    assert tuple(found.shape) == result_shape(operator, B, (N,), (m,))
    assert found.dtype == torch.float64
    assert not found.any()


DETACHED = {
    "detach": lambda net: lambda x: net(x.detach()),
    "data": lambda net: lambda x: net(x).data,
    "numpy": lambda net: lambda x: torch.from_numpy(net(x).detach().numpy() * 2),
    "no-grad": lambda net: torch.no_grad()(net.forward),
}


@pytest.mark.parametrize("name", DETACHED)
@for_each_strategy
def test_detached_is_refused(strategy: Strategy, name: str) -> None:
    f = DETACHED[name](Net(N, outputs(strategy.operator, N, M)))
    with pytest.raises(
        Unsupported, match=r"f is detached: moving x moves its output, but no graph"
    ):
        prepare(strategy.operator, f, *given(strategy.operator), strategy=strategy.name)


# Each changes what the plan was prepared for; the message must name it.
CHANGES = {
    "shape": (lambda net, i: (i[0][:3], *i[1:]), r"input 0 is \(3, 3\) float64 on cpu"),
    "dtype": (lambda net, i: (i[0].float(), *i[1:]), r"input 0 is \(4, 3\) float32 on cpu"),
    "device": (lambda net, i: (i[0].to("meta"), *i[1:]), r"float64 on meta, the plan was prep"),
    "last": (lambda net, i: (*i[:-1], i[-1].float()), r"input \d is .* float32 on cpu, the plan"),
    "fewer": (lambda net, i: i[:-1], r"the plan takes \d tensors, got \d"),
    "more": (lambda net, i: (*i, i[0]), r"the plan takes \d tensors, got \d"),
    "parameter": (
        lambda net, i: (setattr(net[0], "weight", nn.Parameter(net[0].weight * 2)), i)[1],
        r"'weight' of Linear was replaced .* \(in-place updates are fine\); prepare again",
    ),
    "buffer": (
        lambda net, i: (setattr(net[1], "running_mean", draw(N, seed=1)), i)[1],
        "'running_mean' of BatchNorm1d was replaced",
    ),
    "submodule": (
        lambda net, i: (setattr(net, "2", nn.Sigmoid()), i)[1],
        "'2' of Sequential was replaced",
    ),
    "train": (lambda net, i: (net[1].train(), i)[1], "'training' of BatchNorm1d was replaced"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("operator", "execution"),
    [*((operator, "eager") for operator in Operator), (Operator.JACOBIAN, "traced")],
)
def test_mismatch(operator: Operator, execution: str, change: str) -> None:
    m = outputs(operator, N, M)
    layers = [nn.Linear(N, N), nn.BatchNorm1d(N), nn.Tanh(), nn.Linear(N, m)]
    net = nn.Sequential(*layers).double().eval()
    inputs = given(operator)
    wrapped = lambda x: net(x) * 2  # noqa: E731  (the modules are found inside)
    plan = prepare(operator, wrapped, *inputs, execution=execution)
    plan(*inputs)
    other, message = CHANGES[change]
    changed = other(net, inputs)
    with pytest.raises(PlanMismatch, match=message):
        plan(*changed)


def test_train_after_eval_after_train() -> None:
    net, x = nn.Sequential(nn.Linear(N, N), nn.Dropout(0.5)).double().eval(), draw(B, N, seed=1)
    plan = prepare("jacobian", net, x)
    net.train()
    with pytest.raises(PlanMismatch, match="'training' of Sequential was replaced"):
        plan(x)
    net.eval()
    assert only(plan(x)).shape == (B, N, N)


def test_guard_is_cheap() -> None:
    layers = [layer for _ in range(5) for layer in (nn.Linear(N, N), nn.Tanh())]
    net, x = nn.Sequential(*layers[:-1]).double(), draw(B, N, seed=1)
    plan = prepare("jacobian", net, x)
    inputs = (x,)

    def median_s() -> float:
        return statistics.median(repeat(lambda: plan._guard.check(inputs), number=50, repeat=21))

    # The best of several medians: other processes only ever make it slower.
    assert min(median_s() for _ in range(7)) / 50 <= 5e-6


@on_executions
@for_each_operator
def test_repeats_itself(operator: Operator, execution: str) -> None:
    """Two calls of one plan give the same, and leave the first result alone."""
    net, inputs = Net(N, outputs(operator, N, M)), given(operator)
    plan = prepare(operator, net, *inputs, execution=execution)
    first = only(plan(*inputs))
    kept = first.clone()
    moved = tuple(t + 0.1 for t in inputs)
    assert not torch.equal(only(plan(*moved)), kept)
    assert torch.equal(first, kept)
    assert torch.equal(only(plan(*inputs)), kept)


@for_each_strategy
def test_refusal_is_a_value(strategy: Strategy) -> None:
    setting = inspect(
        strategy.operator,
        Net(N, outputs(strategy.operator, N, M)),
        given(strategy.operator),
        Options(layout="sparse"),
    )
    found = attempt(setting, find(strategy.operator, strategy.name))
    assert found == Refusal(strategy.name, "layout='sparse': its result is dense")
