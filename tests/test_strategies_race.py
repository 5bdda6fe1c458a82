"""The race: who is let in, what it costs to find out, who wins, and when nobody may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import Net, draw
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from strategies import (
    STRATEGIES,
    Operator,
    Options,
    Orders,
    Plan,
    Unsupported,
    inspect,
    jacobian,
    laplacian,
    prepare,
    prepare_weighted_laplacian,
    race,
    strategy,
)
from strategies.contenders import contenders
from strategies.costs import Limit, Rates, TooDear, free_bytes, predicted_seconds, rates
from strategies.functions import agree
from strategies.halving import halved
from strategies.structure import structure
from tests import heldout

CPU = torch.device("cpu")
X = draw(4, 3, seed=1)
NONE = Limit(float("inf"), float("inf"))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test races anew, and what it registers is gone after it."""
    before = dict(STRATEGIES)
    race.forget()
    yield
    race.forget()
    STRATEGIES.clear()
    STRATEGIES.update(before)


def net(*widths: int, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, dtype=torch.float64), act()]
    return nn.Sequential(*layers[:-1])


def wait(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def planted(
    name: str, *, waits: float = 0.0, backward_waits: float = 0.0, scale: float = 1.0
) -> None:
    """A Jacobian by backward passes that takes longer than it must, or is wrong by a factor."""

    class Held(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, t: Tensor) -> Tensor:
            return t.clone()

        @staticmethod
        def backward(ctx: object, g: Tensor) -> Tensor:  # type: ignore[override]
            wait(backward_waits)
            return g

    @strategy(Operator.JACOBIAN, mode=f"planted-{name}", sweep="loop", name=name)
    def prepare_planted(f: Callable[..., Tensor], inputs: object, options: Options) -> object:
        """Planted."""

        def evaluate(x: Tensor, *args: Tensor) -> Tensor:
            wait(waits)
            with torch.enable_grad():
                z = x if x.requires_grad else x.detach().requires_grad_()
                y = f(z, *args)
                rows = [
                    torch.autograd.grad(
                        y[:, k].sum(), z, create_graph=options.create_graph, retain_graph=True
                    )[0]
                    for k in range(y.shape[1])
                ]
            found = scale * torch.stack(rows, 1)
            return Held.apply(found) if backward_waits else found

        return evaluate


def only_planted() -> None:
    """No other Jacobian is there."""
    for key, known in list(STRATEGIES.items()):
        if known.operator == Operator.JACOBIAN and not known.mode.startswith("planted"):
            del STRATEGIES[key]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule names nobody: who races is registered by the test."""
    monkeypatch.setattr("strategies.auto.candidates", lambda operator, regime: [])
    only_planted()


def test_the_fastest_is_taken(alone: None) -> None:
    for name, waits in (("slow", 3e-3), ("fast", 0.0), ("slower", 6e-3)):
        planted(name, waits=waits)
    assert prepare("jacobian", net(3, 5, 2), X, race=True).strategy == "fast"


def test_with_a_graph_the_backward_counts(alone: None) -> None:
    planted("late", backward_waits=5e-3)
    planted("early", waits=1e-3)
    f = net(3, 5, 2)
    assert prepare("jacobian", f, X, race=True).strategy == "late"
    plan = prepare("jacobian", f, X, race=True, create_graph=True)
    assert plan.strategy == "early"
    assert plan(X).requires_grad  # type: ignore[union-attr]


def test_who_differs_from_two_that_agree_is_out(alone: None) -> None:
    planted("wrong", scale=1.1)
    planted("right", waits=1e-3)
    planted("right-too", waits=2e-3)
    plan = prepare("jacobian", net(3, 5, 2), X, race=True)
    assert plan.strategy == "right"
    assert "out: its result differs from that of right and right-too" in plan.explain()


def test_two_that_disagree_are_no_answer(alone: None) -> None:
    planted("one")
    planted("other", scale=1.1)
    with pytest.raises(Unsupported, match="no two strategies agree"):
        prepare("jacobian", net(3, 5, 2), X, race=True)


def test_one_alone_is_taken_and_said_to_be_unconfirmed(alone: None) -> None:
    planted("one")
    plan = prepare("jacobian", net(3, 5, 2), X, race=True)
    assert "there is no other to confirm it" in plan.explain()


def test_a_strategy_that_raises_is_out_with_its_reason(alone: None) -> None:
    planted("right")

    @strategy(Operator.JACOBIAN, mode="planted", sweep="loop")
    def hungry(f: object, inputs: object, options: Options) -> object:
        """Wants more memory than there is."""

        def evaluate(x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError

        return evaluate

    said = prepare("jacobian", net(3, 5, 2), X, race=True).explain()
    assert "hungry" in said
    assert "ran out of memory" in said


def test_a_race_is_run_once_for_functions_of_one_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare("laplacian", net(3, 8, 1), X, race=True)

    def never(*given: object) -> None:
        raise AssertionError("raced again")

    monkeypatch.setattr(race, "contenders", never)
    second = prepare("laplacian", net(3, 8, 1), X, race=True)
    assert second.strategy == first.strategy
    assert "kept from an earlier race" in second.explain()
    for other, x, how in (
        (net(3, 8, 1, act=nn.Softplus), X, {}),
        (net(3, 8, 8, 1), X, {}),
        (net(3, 8, 1), X[:2], {}),
        (net(3, 8, 1).float(), X.float(), {}),
        (net(3, 8, 1), X, {"create_graph": True}),
        (net(3, 8, 1), X, {"execution": "traced"}),
    ):
        with pytest.raises(AssertionError, match="raced again"):
            prepare("laplacian", other, x, race=True, **how)


def test_explain_has_a_line_for_every_strategy() -> None:
    plan = prepare("laplacian", net(3, 8, 1), X, race=True)
    lines = plan.explain().splitlines()
    names = {s.name for s in STRATEGIES.values() if s.operator == "laplacian" and s.exact}
    assert {line.split()[0] for line in lines[3:]} == names
    assert lines[0] == f"laplacian: {plan.strategy}"
    assert lines[3].startswith(plan.strategy)
    assert "taken" in lines[3]
    assert "confirms it" in lines[3]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("gelu-mlp", Operator.JACOBIAN),
        ("vit-fused", Operator.JACOBIAN),
        ("siren-scalar", Operator.LAPLACIAN),
        ("lennard-jones-3", Operator.HESSIAN),
        ("coupling-flow", Operator.DIVERGENCE),
        ("deep-operator", Operator.HESSIAN_DIAGONAL),
    ],
    ids=str,
)
def test_no_choice_changes_a_result(name: str, operator: Operator) -> None:
    problem = heldout.build(name, torch.float64, 3)
    raced = prepare(operator, problem.f, problem.x, *problem.args, race=True)
    ruled = prepare(operator, problem.f, problem.x, *problem.args)
    inputs = (problem.x, *problem.args)
    assert agree(raced(*inputs), ruled(*inputs), 1e-9)  # type: ignore[arg-type]


def test_rows_that_meet_are_answered_by_who_can() -> None:
    f = nn.Sequential(net(3, 5), nn.BatchNorm1d(5, dtype=torch.float64), net(5, 2))
    before = {k: v.clone() for k, v in f.state_dict().items()}
    plan = prepare("jacobian", f, X, race=True)
    assert plan.strategy == "loop-grad-rows"
    assert "rows are not independent" in plan.explain()
    assert all(torch.equal(v, before[k]) for k, v in f.state_dict().items())


def test_nothing_of_a_race_remains() -> None:
    f, x = net(3, 5, 2), X.clone().requires_grad_()
    state = torch.get_rng_state()
    prepare("jacobian", f, x, race=True, create_graph=True)
    assert x.grad is None
    assert all(p.grad is None for p in f.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_values_sparse_results_budgets_and_executions_race_too() -> None:
    f = net(3, 5, 1)
    orders = laplacian(f, X, race=True, values=True)
    assert isinstance(orders, Orders)
    assert agree(orders.first, jacobian(f, X)[:, 0], 1e-9)  # type: ignore[arg-type]
    separable = lambda x: x**3  # noqa: E731
    wide = draw(2, 12, seed=3)
    found = jacobian(separable, wide, race=True, layout="sparse")
    assert agree(found.to_dense(), jacobian(separable, wide), 1e-9)
    plan = prepare("jacobian", net(3, 5, 4), X, race=True, chunk="64KiB")
    assert plan.strategy.startswith("chunked")
    assert plan.fit is not None
    traced = prepare("jacobian", net(3, 5, 4), X, race=True, execution="traced")
    assert traced.options.execution == "traced"
    root = draw(3, 2, seed=5)
    weighted = prepare_weighted_laplacian(f, X, root=root, race=True)
    assert agree(weighted(X), prepare_weighted_laplacian(f, X, root=root)(X), 1e-9)


class Looking(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        return func(*args, **(kwargs or {}))


def test_there_is_no_race_where_nothing_can_be_timed() -> None:
    f = net(3, 5, 2)
    with Looking(), pytest.raises(Unsupported, match="a dispatch mode of the caller's own"):
        prepare("jacobian", f, X, race=True)
    with pytest.raises(Unsupported, match=r"inside a torch\.func transform"):
        torch.func.vmap(lambda x: jacobian(f, x[None], race=True))(X)
    with pytest.raises(Unsupported, match="an empty batch"):
        prepare("jacobian", f, X[:0], race=True)
    with pytest.raises(ValueError, match="race chooses a strategy: leave out strategy='loop-grad'"):
        prepare("jacobian", f, X, strategy="loop-grad", race=True)
    for race_s in (-1, 0, float("nan"), "long", None):
        said = f"race is True or a number of seconds, not {race_s!r}"
        with pytest.raises(ValueError, match=said):
            prepare("jacobian", f, X, race=race_s)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # Dynamo's own, of tensors that it looks at.
def test_there_is_no_race_under_compile() -> None:
    f = net(3, 5, 2)
    compiled = torch.compile(lambda x: jacobian(f, x, race=True), backend="eager")
    with pytest.raises(Unsupported, match=r"race=True under torch\.compile"):
        compiled(X)


def test_a_race_keeps_to_its_budget() -> None:
    f, x = net(24, 64, 24), draw(8, 24, seed=2)
    begun = time.perf_counter()
    said = prepare("jacobian", f, x, race=0.05).explain()
    # One strategy is prepared and timed whatever the budget.
    assert time.perf_counter() - begun < 5
    assert "not tried: the budget was spent" in said
    # Nor is one taken alone where another can confirm it.
    said = prepare("jacobian", net(4, 8, 4), draw(4, 4, seed=2), race=1e-9).explain()
    assert "confirms it" in said


def test_a_call_is_stopped_where_it_costs_too_much() -> None:
    one = torch.ones(1)
    entered = 0

    def call() -> None:
        nonlocal entered
        for _ in range(1000):
            entered += 1
            torch.neg(one)

    known = Rates(launch_s=1e-3, flops_s=1e9, bytes_s=1e9)
    with pytest.raises(TooDear, match="many times as long as the cheapest"):
        predicted_seconds(call, known, Limit(0.0105, 1e9))
    assert entered == 11
    assert predicted_seconds(call, known, NONE) == pytest.approx(1.0, rel=0.01)


def test_a_call_is_stopped_where_it_holds_too_much() -> None:
    made = 0

    def call() -> None:
        nonlocal made
        held = []
        for _ in range(100):
            held.append(torch.ones(2**18))
            made += 1

    known = rates(CPU, torch.float32, torch.get_num_threads())
    with pytest.raises(TooDear, match="takes more than 8 MiB at once"):
        predicted_seconds(call, known, Limit(float("inf"), 2**23))
    assert made == 8
    assert 2**20 < free_bytes(CPU) < 2**50


def test_what_costs_is_counted() -> None:
    a = torch.ones(64, 64)
    known = Rates(launch_s=0, flops_s=1, bytes_s=float("inf"))
    assert predicted_seconds(lambda: a @ a, known, NONE) == 2 * 64**3
    moved = replace(known, flops_s=float("inf"), bytes_s=1)
    assert predicted_seconds(lambda: a.neg(), moved, NONE) == 2 * a.nbytes


def test_rates_are_measured_once() -> None:
    found = rates(CPU, torch.float32, torch.get_num_threads())
    assert found is rates(CPU, torch.float32, torch.get_num_threads())
    assert 1e-8 < found.launch_s < 1e-3
    assert 1e8 < found.flops_s < 1e14
    assert 1e8 < found.bytes_s < 1e13


def test_the_slower_half_is_dropped_after_each_stage() -> None:
    entered = dict.fromkeys("abcdef", 0)

    def calls(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            entered[name] += 1
            wait(seconds)

        return call

    waits = {name: 1e-3 * (k + 1) for k, name in enumerate("cafbed")}
    found = halved({n: calls(n, s) for n, s in waits.items()}, CPU, time.perf_counter() + 5)
    assert next(iter(found)) == "c"
    assert list(found.values()) == sorted(found.values())
    assert entered["c"] > entered["f"] > entered["d"]


def test_structure_is_of_operations_not_of_values() -> None:
    a, b, c = net(3, 5, 2), net(3, 5, 2), net(3, 5, 2, act=nn.Sigmoid)
    assert structure(a, (X,)) == structure(b, (X,))
    assert structure(a, (X,)) != structure(c, (X,))
    assert structure(a, (X,)) != structure(a, (X[:2],))
    twice, thrice = (lambda x: x * 2), (lambda x: x * 3)
    assert structure(twice, (X,)) != structure(thrice, (X,))
    crossed, plain = (lambda x: x.sin() * x.cos()), (lambda x: x.cos() * x.sin())
    assert structure(crossed, (X,)) != structure(plain, (X,))


def test_the_cheapest_come_first_and_those_that_refuse_say_why() -> None:
    setting = inspect(Operator.LAPLACIAN, Net(), (X,), Options())
    field = contenders(setting, time.perf_counter() + 60)
    costs = [c.predicted_s for c in field.contenders]
    assert costs == sorted(costs)
    assert all(isinstance(c.plan, Plan) for c in field.contenders)
    assert all(each.reason for each in field.out)
    known = {s.name for s in STRATEGIES.values() if s.operator == "laplacian" and s.exact}
    assert {c.name for c in field.contenders} | {each.name for each in field.out} == known
    assert race.finalists(setting, 3) == [c.name for c in field.contenders][:3]
