"""Counters against numbers by hand, repeated, in other processes, and with a vmap taken out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from bench.case import Case, Subject, subject
from bench.counted import counted
from bench.counters import counters, fallbacks, peak_bytes
from bench.grid import Block, blocks, cases
from bench.problem import Problem
from bench.training import training_step
from strategies import Operator, Options, Plan, Refusal, attempt, prepare
from strategies.functions import Function, row
from strategies.registry import Evaluate, Inputs, find

ROOT = Path(__file__).parent.parent
# Uneven, so that no product of two sizes is that of two others.
A, V, W, X = torch.ones(5, 3), torch.ones(3), torch.ones(5), torch.ones(4, 3)
B = torch.ones(3, 7)
TWO = 2  # a multiplication and an addition
SINGLE = 4  # bytes of a float32

# What is evaluated, FLOPs by hand, and whether torch's own registry knows them.
FLOPS: dict[str, tuple[Callable[[], object], int, bool]] = {
    "mv": (lambda: torch.mv(A, V), TWO * 5 * 3, False),
    "addmv": (lambda: torch.addmv(W, A, V), TWO * 5 * 3, False),
    "addmv in place": (lambda: W.clone().addmv_(A, V), TWO * 5 * 3, False),
    "dot": (lambda: torch.dot(V, V), TWO * 3, False),
    "vdot": (lambda: torch.vdot(W, W), TWO * 5, False),
    "mul-sum": (lambda: (X * X).sum(-1), TWO * 4 * 3, False),
    "mul-sum, broadcast": (lambda: (A[:, None] * X).sum(-1), TWO * 5 * 4 * 3, False),
    "mul-sum of all": (lambda: (X * X).sum(), TWO * 4 * 3, False),
    "mul alone": (lambda: X * X, 0, False),
    "sum alone": (lambda: X.sum(-1), 0, False),
    "sum of another": (lambda: (X * X, X.sum(-1)), 0, False),
    "mm": (lambda: X @ B, TWO * 4 * 3 * 7, True),
    "addmm": (lambda: torch.addmm(B[0], X, B), TWO * 4 * 3 * 7, True),
    "addmm in place": (lambda: torch.ones(4, 7).addmm_(X, B), TWO * 4 * 3 * 7, False),
    "bmm": (lambda: torch.bmm(A.expand(2, 5, 3), B.expand(2, 3, 7)), TWO * 2 * 5 * 3 * 7, True),
    "linear of a vector": (lambda: nn.functional.linear(V, A), TWO * 5 * 3, True),
    "conv": (
        lambda: nn.functional.conv1d(torch.ones(2, 3, 8), torch.ones(4, 3, 3)),
        TWO * 2 * 4 * 6 * 3 * 3,
        True,
    ),
    "tanh": (lambda: X.tanh(), 0, False),
}


@pytest.mark.parametrize("name", FLOPS)
def test_flops_are_those_by_hand(name: str) -> None:
    call, expected, _ = FLOPS[name]
    assert counters(call, ())["flops"] == expected


@pytest.mark.parametrize("name", FLOPS)
def test_the_registry_alone_would_miss_the_others(name: str) -> None:
    call, expected, known = FLOPS[name]
    with FlopCounterMode(display=False) as registry:
        call()
    assert registry.get_total_flops() == (expected if known else 0)


def _saved(grad: bool) -> Callable[[Tensor], Tensor]:
    """Four results of which only the last has a name: with a graph each is saved for backward."""

    def evaluate(x: Tensor) -> Tensor:
        return x.clone().requires_grad_(grad).tanh().exp().tanh().exp()

    return evaluate


def _freed(x: Tensor) -> Tensor:
    a = x * 2
    b = a + 1
    del a
    return b.sum(-1)


def _cycle(x: Tensor) -> Tensor:
    """A tensor that only a cycle of references keeps alive: nothing frees it during the call."""
    lost: list[object] = [x * 2]
    lost.append(lost)
    del lost
    # As many objects as call the collector, were it on.
    assert len([[] for _ in range(20_000)]) == 20_000
    return (x + 1) * 3


@dataclass(frozen=True)
class ByHand:
    evaluate: Callable[[Tensor], object]
    ops: int
    elements: int
    total: int
    peak: int
    result: int


PARAMETER = nn.Parameter(torch.ones(3, 7))
# x is [4, 3]: 12 numbers, 48 bytes. Storages by hand, in bytes.
BYTES: dict[str, ByHand] = {
    # 48 and 48 at once, then 48 and 16.
    "freed on the way": ByHand(_freed, 3, 24, 48 + 48 + 16, 96, 16),
    "in place": ByHand(lambda x: (x * 2).add_(1), 2, 24, 48, 48, 48),
    "a view of the result": ByHand(lambda x: (x * 2)[0], 2, 12, 48, 48, 48),
    "a view of x": ByHand(lambda x: x[0], 1, 0, 0, 0, 48),
    "x itself, in place": ByHand(lambda x: x.mul_(1), 1, 12, 0, 0, 48),
    "a parameter": ByHand(lambda x: (x @ PARAMETER).detach(), 2, 0, 112, 112, 112),
    "two of one storage": ByHand(lambda x: (y := x + 1, y.t()), 2, 12, 48, 48, 48),
    "broadcast": ByHand(lambda x: x[:, None] * x, 2, 48, 192, 192, 192),
    "fills and copies": ByHand(lambda x: torch.zeros(5).copy_(x[0, 0]), 4, 10, 20, 20, 20),
    "reduced": ByHand(lambda x: x.sum(), 1, 0, 4, 4, 4),
    "moved": ByHand(lambda x: torch.cat([x, x]), 1, 0, 96, 96, 96),
    "a number's tensor": ByHand(lambda x: x + torch.tensor([1.0, 2, 3]), 2, 12, 60, 60, 48),
    "out=": ByHand(lambda x: torch.add(x, 1, out=torch.empty(0)), 2, 12, 48, 48, 48),
    # The clone and four results; at most two of them are alive at once without a graph.
    "no graph": ByHand(_saved(grad=False), 5, 60, 5 * 48, 96, 48),
    # Each is saved as a detached one, which is an operation and no storage.
    "saved for backward": ByHand(_saved(grad=True), 5 + 4, 60, 5 * 48, 5 * 48, 48),
    "a cycle": ByHand(_cycle, 3, 36, 3 * 48, 3 * 48, 48),
    "sparse": ByHand(lambda x: (x * 0 + 1).to_sparse(), -1, -1, -1, -1, 2 * 12 * 8 + 48),
}


@pytest.mark.parametrize("name", BYTES)
def test_elements_and_bytes_are_those_by_hand(name: str) -> None:
    hand = BYTES[name]
    found = counters(hand.evaluate, (torch.ones(4, 3),))
    expected = {
        "ops": hand.ops,
        "elements": hand.elements,
        "storage_bytes": hand.total,
        "peak_bytes": hand.peak,
        "result_bytes": hand.result,
    }
    known = {counter: value for counter, value in expected.items() if value >= 0}
    assert {counter: found[counter] for counter in known} == known


# One operation on x, [4, 3], and the numbers that an elementwise one writes.
WRITTEN: dict[str, tuple[Callable[[Tensor], object], int]] = {
    "tagged": (lambda x: torch.tanh(x), 12),
    "of two": (lambda x: torch.maximum(x, x), 12),
    "tagged of no overload in place": (lambda x: x.clone().masked_fill_(x > 0, X[0, 0]), 36),
    "an activation's backward": (lambda x: torch.ops.aten.softplus_backward(x, x, 1, 20), 12),
    "a prim": (lambda x: torch.ops.prims.mul(x, x), 12),
    "a prim's sum": (lambda x: torch.ops.prims.sum(x, [0]), 0),
    "a cast": (lambda x: x.double(), 12),
    "a fill": (lambda x: torch.full((7,), 2.0), 7),
    "the largest": (lambda x: x.max(), 0),
    "sorted": (lambda x: x.sort(), 0),
    "picked": (lambda x: x[torch.tensor([True, False, True, True])], 0),
    "empty": (lambda x: torch.empty(7), 0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_elements_are_those_that_elementwise_operations_write(name: str) -> None:
    evaluate, written = WRITTEN[name]
    assert counters(evaluate, (torch.ones(4, 3),))["elements"] == written


def test_symbolic_zeros_have_no_memory() -> None:
    """And an operation made of others can be counted of them: torch alone would read null."""
    found = counters(lambda: torch.ops.aten.mul.Scalar(torch._efficientzerotensor(3), 2.0), ())
    assert found["elements"] == found["storage_bytes"] == found["result_bytes"] == 0


def test_meta_tensors_have_no_memory() -> None:
    found = counters(lambda: torch.ones(3, device="meta") * 2, ())
    assert (found["ops"], found["elements"], found["storage_bytes"]) == (2, 0, 0)


@pytest.mark.parametrize(("name", "times"), [("histc", 1), ("tanh", 0)])
def test_fallbacks_are_counted(name: str, times: int) -> None:
    """`histc` has no batching rule."""

    def evaluate(x: Tensor) -> Tensor:
        return vmap(getattr(torch, name))(x)

    assert counters(evaluate, (X,))["fallbacks"] == fallbacks(evaluate, (X,)) == times


def _subject(f: Function, x: Tensor, strategy: str, **how: object) -> Subject:
    case = Case(Operator.GRADIENT, strategy, "of the test", len(x), tuple(x.shape[1:]), (1,), **how)
    return Subject(case, Problem(f, x), None)


def counters_of(made: Subject) -> dict[str, int]:
    found = counted(made)
    assert not isinstance(found, Refusal), found.reason
    return found


def test_a_jacobian_by_loops_costs_a_forward_pass_and_one_for_each_output() -> None:
    """f is X @ B, [4, 3] by [3, 7]: of each of 7 outputs the backward is a product of that size."""
    case = Case(Operator.JACOBIAN, "loop-grad", "of the test", 4, (3,), (7,))
    found = counters_of(Subject(case, Problem(lambda x: x @ B, X), None))
    assert (found["forward_flops"], found["forward_ops"]) == (TWO * 4 * 3 * 7, 1)
    assert found["flops"] == (1 + 7) * found["forward_flops"]


def test_a_plain_evaluation_of_f_has_no_graph() -> None:
    """A product, two activations and a sum; a graph would save the activations' results, which are
    operations too."""

    def f(x: Tensor) -> Tensor:
        return (x @ PARAMETER).tanh().exp().sum(-1)

    assert counters_of(_subject(f, X, "autograd-grad"))["forward_ops"] == 4
    assert counters(f, (X,))["ops"] > 4


def test_a_plain_evaluation_of_f_has_its_arguments() -> None:
    made = _subject(lambda x, c: (x[:, None] * c).sum((1, 2)), X, "autograd-grad")
    given = replace(made, problem=replace(made.problem, args=(torch.ones(4, 5, 3),)))
    assert counters_of(given)["forward_flops"] == TWO * 4 * 5 * 3


# What is alive when the square of the gradient [4, 3] is differentiated: the ones that began the
# first backward (16 bytes), the gradient (48), the sum of its square and the ones of the second
# backward (4 and 4), and of the square's derivative g·(2·x¹) the power, the double and the product.
TRAINING = 16 + 48 + 4 + 4 + 3 * 48


def test_the_peak_of_a_training_step_is_that_by_hand() -> None:
    net = nn.Linear(3, 1, bias=False)
    found = counters_of(_subject(net, X.clone(), "autograd-grad", create_graph=True))
    # f (16), the ones and the gradient.
    assert found["peak_bytes"] == 16 + 16 + 48
    assert found["train_peak_bytes"] == TRAINING


def test_only_what_can_train_has_the_peak_of_training() -> None:
    assert "train_peak_bytes" not in counters_of(_subject(nn.Linear(3, 1), X, "autograd-grad"))


def test_without_parameters_a_step_trains_x_and_leaves_it_alone() -> None:
    made = _subject(lambda x: x.pow(3).sum(-1, keepdim=True), X.clone(), "autograd-grad")
    plan = prepare("gradient", *(made.problem.f, X), strategy="autograd-grad", create_graph=True)
    assert peak_bytes(training_step(plan, made)) > 3 * 48
    assert not made.problem.x.requires_grad


def _on_grid(operator: Operator, **how: object) -> dict[str, Subject]:
    tall = operator is Operator.JACOBIAN
    params = {"n": 3, "m": 5} if tall else {"n": 3}
    block = Block("mlp-tall" if tall else "mlp-scalar", [operator], B=2, params=params, **how)
    return {case.strategy: subject(case) for case in cases([block])}


# B = 2 rows, n = 3 inputs, m = 5 outputs.
CALLS = [
    (Operator.JACOBIAN, "loop-grad", {}, 1),
    (Operator.JACOBIAN, "vmap-jacrev", {}, 1),
    (Operator.JACOBIAN, "loop-jvp", {}, 3),
    (Operator.JACOBIAN, "chunked-jacfwd", {"chunk": 2}, 2),
    (Operator.JACOBIAN, "loop-jvp", {"execution": "traced"}, 0),
    (Operator.HESSIAN, "functional-hessian", {}, 2),
    (Operator.HESSIAN, "loop-hvp", {}, 3),
    (Operator.HESSIAN, "fwd-rev", {"create_graph": True}, 1),
]


@pytest.mark.parametrize(("operator", "strategy", "how", "calls"), CALLS)
def test_calls_of_f_are_those_by_hand(
    operator: Operator, strategy: str, how: dict[str, object], calls: int
) -> None:
    assert counters_of(_on_grid(operator, **how)[strategy])["calls"] == calls


def _of_the_plan(found: dict[str, int]) -> dict[str, int]:
    """Without what takes f to count."""
    of_f = ("calls", "forward_flops", "forward_ops")
    return {name: value for name, value in found.items() if name not in of_f}


def test_a_function_that_counts_its_calls_changes_no_other_counter() -> None:
    names = ["vmap-jacrev", "chunked-jacfwd", "loop-grad"]
    for execution in ("eager", "traced"):
        for made in _on_grid(Operator.JACOBIAN, execution=execution, strategies=names).values():
            plan, found = made.prepare(), counters_of(made)
            assert isinstance(plan, Plan)
            assert counters(plan, made.inputs) == _of_the_plan(found)


def looped_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """vmap-jacrev without the vmap over rows."""
    return lambda x: torch.stack([jacrev(row(f))(z) for z in x])


def looped_directions(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """vmap-jvp without the vmap over directions."""
    basis = torch.eye(inputs[0].shape[1]).unsqueeze(1)

    def evaluate(x: Tensor) -> Tensor:
        return torch.stack([jvp(f, (x,), (e.expand_as(x),))[1] for e in basis], -1)

    return evaluate


def vmapped_directions(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The same by vmap, f itself once for each direction too."""
    basis = torch.eye(inputs[0].shape[1]).unsqueeze(1)

    def evaluate(x: Tensor) -> Tensor:
        def push(e: Tensor) -> Tensor:
            # Something of every direction, so that f is not hoisted out of the vmap.
            return jvp(f, (x + 0 * e,), (e.expand_as(x),))[1]

        return vmap(push, out_dims=-1)(basis)

    return evaluate


DEVMAPPED = {
    "rows": (find(Operator.JACOBIAN, "vmap-jacrev").prepare, looped_rows),
    "directions": (vmapped_directions, looped_directions),
}


@pytest.mark.parametrize("over", DEVMAPPED)
def test_a_lost_vmap_is_more_operations_and_the_same_flops(over: str) -> None:
    block = Block("mlp-tall", [Operator.JACOBIAN], B=7, params={"n": 6, "m": 24})
    made = next(subject(case) for case in cases([block]) if case.strategy == "vmap-jacrev")
    plans = [
        attempt(made.setting(), replace(made.strategy(), prepare=prepare))
        for prepare in DEVMAPPED[over]
    ]
    assert all(isinstance(plan, Plan) for plan in plans)
    before, after = (counters(plan, made.inputs) for plan in plans)
    torch.testing.assert_close(plans[0](*made.inputs), plans[1](*made.inputs))
    assert after["flops"] == before["flops"] > 0
    assert after["ops"] > 3 * before["ops"]


REPEATED = [
    *("jacobian/vmap-jacrev/", "jacobian/functional-jacobian-vectorized/", "hessian/fwd-rev/"),
    *("hessian/functional-hessian-forward/", "laplacian/nested-jvp/", "jvp/linearize/"),
    *("divergence/jacrev-trace/", "gradient/vmap-grad/", "hvp/forward-over-reverse/"),
]


@pytest.mark.parametrize("part", REPEATED)
def test_counters_are_the_same_in_every_repeat(part: str) -> None:
    """The first evaluation of a plan included, with the same plan and with others."""
    made = subject(cases(blocks("smoke"), only=[part])[0])
    plan = made.prepare()
    assert isinstance(plan, Plan)
    own = [counters(plan, made.inputs) for _ in range(10)]
    others = [counters_of(made) for _ in range(10)]
    assert all(found == own[0] for found in own)
    assert all(found == others[0] for found in others)
    assert _of_the_plan(others[0]) == own[0]


def _written(folder: Path, seed: str) -> str:
    path = folder / f"seed-{seed}.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "counters", "--grid", "smoke", "--counters", str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return path.read_text(encoding="utf-8")


def test_counters_are_the_same_in_other_processes(tmp_path: Path) -> None:
    first, second = (_written(tmp_path, seed) for seed in ("0", "4711"))
    assert first == second
    assert first.count("flops") > 60
