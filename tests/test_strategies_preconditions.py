"""What f may not do: seen before anything is differentiated, refused with what to do instead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import (
    Function,
    Net,
    array,
    contracted,
    distance,
    draw,
    for_each_operator,
    for_each_strategy,
    one_row_differences,
    only,
    outputs,
    with_direction,
)
from torch import Tensor, nn

from strategies import (
    DIRECTIONS,
    SECOND_ORDER,
    Operator,
    Strategy,
    TorchLimit,
    Unsupported,
    jacobian,
    prepare,
)

B, N, M = 4, 3, 2


def dropout(m: int) -> Function:
    return nn.Sequential(Net(N, m), nn.Dropout(0.5)).train()


def noise(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(x) + 0.1 * torch.randn(len(x), m, dtype=x.dtype)


def counting(m: int) -> Function:
    net, calls = Net(N, m), [0]

    def f(x: Tensor) -> Tensor:
        calls[0] += 1
        return calls[0] * net(x)

    return f


def writes_x(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(x.mul_(2))


def writes_outside(m: int) -> Function:
    net, total = Net(N, m), torch.zeros(N, dtype=torch.float64)
    return lambda x: net(x) + 0 * total.add_(1).sum()


def detached(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(x.detach())


def through_numpy(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(torch.from_numpy(np.sin(x.detach().numpy())))


def part_detached(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(x) * x.detach()[:, :1]


def part_no_grad(m: int) -> Function:
    net = Net(N, m)

    def f(x: Tensor) -> Tensor:
        with torch.no_grad():
            factor = x[:, :1].exp()
        return net(x) * factor

    return f


REFUSED: dict[str, tuple[Callable[[int], Function], str]] = {
    "dropout": (dropout, "f is random, or keeps a state: .* take dropout to .eval()"),
    "noise": (noise, "draw the noise outside and hand it in as an arg"),
    "counting": (counting, "f is random, or keeps a state"),
    "writes-x": (writes_x, r"f writes into x \(mul_\)"),
    "writes-outside": (writes_outside, r"f writes into a tensor from outside \(add_\)"),
    "detached": (detached, "f is detached: moving x moves its output"),
    "numpy": (through_numpy, "f is detached: moving x moves its output"),
    "part-detached": (part_detached, "f is detached in part: .* x left the graph in detach"),
    "part-no-grad": (
        part_no_grad,
        "f is detached in part: .* x left the graph in exp",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@for_each_strategy
def test_every_strategy_refuses(strategy: Strategy, name: str) -> None:
    build, reason = REFUSED[name]
    m = outputs(strategy.operator, N, M)
    inputs = with_direction(strategy.operator, draw(B, N, seed=61), m)
    kept = [t.clone() for t in inputs]
    with pytest.raises(Unsupported, match=reason):
        prepare(strategy.operator, build(m), *inputs, strategy=strategy.name)
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))


def stable_softmax(m: int) -> Function:
    """A maximum that is subtracted and detached: of no account."""
    net = Net(N, m)

    def f(x: Tensor) -> Tensor:
        y = net(x)
        top = y.detach().amax(-1, keepdim=True)
        return (y - top).exp().sum(-1, keepdim=True).log() + top + y

    return f


def zeros_like(m: int) -> Function:
    net = Net(N, m)
    return lambda x: net(x + torch.zeros_like(x))


def running_statistics(m: int) -> Function:
    """A buffer of a module is its own to write."""
    return nn.Sequential(Net(N, m), _Counter())


class _Counter(nn.Module):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        if torch._C._functorch.maybe_current_level() is None:
            self.calls.add_(1)
        return x


ACCEPTED = {"softmax": stable_softmax, "zeros": zeros_like, "buffer": running_statistics}


@pytest.mark.parametrize("name", ACCEPTED)
@for_each_operator
def test_what_does_no_harm_is_accepted(operator: Operator, name: str) -> None:
    m = outputs(operator, N, M)
    inputs, f = with_direction(operator, draw(B, N, seed=61), m), ACCEPTED[name](m)
    found = only(prepare(operator, f, *inputs)(*inputs))
    direction = array(inputs[1]) if operator in DIRECTIONS else None
    truth = contracted(operator, one_row_differences(f, inputs[0]), direction)
    assert distance(found, truth) <= 1e-5


def envelope(x: Tensor) -> Tensor:
    """x·c − c²/2 with c = x held fixed: the gradient is right, the curvature 0 instead of 1."""
    c = x.detach()
    return (x * c - c * c / 2).sum(-1)


@pytest.mark.parametrize("operator", [o for o in Operator if o != Operator.DIVERGENCE])
def test_a_detach_that_only_the_second_order_sees(operator: Operator) -> None:
    x, side = draw(B, N, seed=61), DIRECTIONS.get(operator)
    inputs = (x,) if side is None else (x, draw(B, *((N,) if side == "in" else ()), seed=62))
    if operator in SECOND_ORDER:
        with pytest.raises(Unsupported, match="f is detached in part"):
            prepare(operator, envelope, *inputs)
    else:
        prepare(operator, envelope, *inputs)


def test_inference_mode_is_refused() -> None:
    net, x = Net(N, M), draw(B, N, seed=61)
    with torch.inference_mode(), pytest.raises(Unsupported, match="inference_mode is on"):
        jacobian(net, x)


@for_each_strategy
def test_an_inference_tensor_is_refused(strategy: Strategy) -> None:
    m = outputs(strategy.operator, N, M)
    with torch.inference_mode():
        inputs = with_direction(strategy.operator, draw(B, N, seed=61), m)
    with pytest.raises(Unsupported, match=r"an input is an inference tensor, .* \.clone\(\)"):
        prepare(strategy.operator, Net(N, m), *inputs, strategy=strategy.name)


def test_inference_parameters_are_refused() -> None:
    with torch.inference_mode():
        net = nn.Linear(N, M, dtype=torch.float64)
    with pytest.raises(Unsupported, match="of Linear are inference tensors"):
        jacobian(net, draw(B, N, seed=61))


def test_parameters_on_another_device_are_refused() -> None:
    net = nn.Sequential(nn.Linear(N, N, dtype=torch.float64), nn.Tanh()).to("meta")
    with pytest.raises(Unsupported, match="parameters of Linear are on meta, x is on cpu"):
        jacobian(net, draw(B, N, seed=61))


def test_an_integer_x_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor .* try x.float\(\)"):
        jacobian(lambda x: x, torch.ones(B, N, dtype=torch.int64))


def branching(m: int) -> Function:
    """A Python branch on a value, taken the same way everywhere."""
    net = Net(N, m)
    return lambda x: net(x) if bool((x.detach() > -9).all()) else x


# Those that record f as a whole, which no branch survives.
RECORDING = ("linearize", "linearize-vmap", "zero-aware-forward")


@for_each_strategy
def test_a_branch_on_values_is_right_or_refused(strategy: Strategy) -> None:
    m = outputs(strategy.operator, N, M)
    inputs, f = with_direction(strategy.operator, draw(B, N, seed=61), m), branching(m)
    try:
        found = only(prepare(strategy.operator, f, *inputs, strategy=strategy.name)(*inputs))
    except TorchLimit as refusal:
        assert "torch cannot: " in str(refusal)  # noqa: PT017
        assert "rows" in strategy.needs or strategy.name in RECORDING
        return
    direction = array(inputs[1]) if strategy.operator in DIRECTIONS else None
    truth = contracted(strategy.operator, one_row_differences(Net(N, m), inputs[0]), direction)
    assert distance(found, truth) <= 1e-5
