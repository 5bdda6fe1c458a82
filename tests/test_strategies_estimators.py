"""Estimators: right on average, honest about their error, random of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import (
    Example,
    Net,
    args_example,
    array,
    cubic_example,
    distance,
    draw,
    net_example,
    only,
    outputs,
)
from torch import Tensor

from strategies import (
    EXECUTIONS,
    STRATEGIES,
    Operator,
    Options,
    Orders,
    Plan,
    Strategy,
    Unsupported,
    prepare,
    result_shape,
)
from strategies.auto import Regime, candidates
from strategies.cuda_graphs import captured

B, N, CALLS = 4, 5, 250
# Of so many standard errors none is an accident; the draws are the same in every run.
FAR = 5

DIVERGENCE, LAPLACIAN = Operator.DIVERGENCE, Operator.LAPLACIAN
ESTIMATORS = [s for s in STRATEGIES.values() if not s.exact]
for_each_estimator = pytest.mark.parametrize(
    "found", ESTIMATORS, ids=lambda s: f"{s.operator}-{s.name}"
)


def outputs_of(found: Strategy, n: int = N, m: int = 2) -> int:
    return 1 if "scalar" in found.needs else outputs(found.operator, n, m)


def asked(found: Strategy, f: Any, *inputs: Tensor, **how: Any) -> Plan:
    return prepare(found.operator, f, *inputs, strategy=found.name, **how)


def own(found: Strategy, orders: Tensor | Orders) -> Tensor:
    assert isinstance(orders, Orders)
    result = orders.first if found.operator == DIVERGENCE else orders.second
    assert result is not None
    return result


def repeated(found: Strategy, plan: Plan, *inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Results and reported variances of many calls, `[CALLS, …]`."""
    orders = [plan(*inputs) for _ in range(CALLS)]
    variances = [o.variance for o in orders if isinstance(o, Orders)]
    return (
        np.stack([array(own(found, o)) for o in orders]),
        np.stack([array(v) for v in variances if v is not None]),
    )


def unbiased(results: np.ndarray, expected: np.ndarray) -> bool:
    error = results.std(0, ddof=1) / len(results) ** 0.5
    return bool((np.abs(results.mean(0) - expected) <= FAR * error + 1e-9).all())


def test_there_are_seven() -> None:
    assert {(s.operator.value, s.name) for s in ESTIMATORS} == {
        *(("divergence", n) for n in ("hutchinson", "hutch++", "sampled-dimensions")),
        *(("laplacian", n) for n in ("hutchinson", "hutch++", "sampled-dimensions")),
        ("hessian-diagonal", "hutchinson"),
    }


EXAMPLES = {
    "net": lambda m: net_example(N, m),
    "args": lambda m: args_example(N, m),
    "shaped": lambda m: cubic_example((5, 1), (m, 1)),
}


@pytest.mark.parametrize("name", EXAMPLES)
@for_each_estimator
def test_right_on_average_and_as_far_off_as_said(found: Strategy, name: str) -> None:
    example: Example = EXAMPLES[name](outputs_of(found))
    inputs = example.inputs(found.operator)
    plan = asked(found, example.f, *inputs, samples=4, values=True)
    results, variances = repeated(found, plan, *inputs)
    assert unbiased(results, example.expected(found.operator))
    assert results.std(0).max() > 1e-3
    assert 0.85 <= variances.mean() / results.var(0, ddof=1).mean() <= 1.15


@for_each_estimator
def test_values_come_along(found: Strategy) -> None:
    example = cubic_example((5, 1), (outputs_of(found), 1))
    orders = asked(found, example.f, example.x, values=True)(example.x)
    assert isinstance(orders, Orders)
    value, first, _ = example.expected_orders(found.operator)
    assert distance(orders.value, value) <= 1e-9
    if found.operator != DIVERGENCE:
        assert distance(orders.first, first) <= 1e-9
    shape = result_shape(found.operator, B, example.in_shape, example.out_shape)
    assert tuple(orders.variance.shape) == tuple(own(found, orders).shape) == shape


@for_each_estimator
def test_an_empty_batch_has_no_variance_to_speak_of(found: Strategy) -> None:
    x = draw(0, N, seed=1)
    orders = asked(found, Net(N, outputs_of(found)), x, values=True)(x)
    assert orders.variance.shape == own(found, orders).shape
    assert len(orders.variance) == 0


@for_each_estimator
def test_every_call_draws_anew_and_every_plan_the_same(found: Strategy) -> None:
    f, x = Net(N, outputs_of(found)), draw(B, N, seed=1)
    one, other = (asked(found, f, x, samples=3) for _ in range(2))
    first, second = only(one(x)), only(one(x))
    assert not torch.equal(first, second)
    assert torch.equal(only(other(x)), first)
    assert torch.equal(only(other(x)), second)


@for_each_estimator
def test_rows_have_probes_of_their_own(found: Strategy) -> None:
    f, x = Net(N, outputs_of(found)), draw(1, N, seed=1).expand(B, N)
    result = only(asked(found, f, x, samples=3)(x)).reshape(B, -1)
    assert len({tuple(row.tolist()) for row in result}) > 1


@pytest.mark.parametrize("execution", ["eager", "traced"])
@for_each_estimator
def test_the_global_generator_is_untouched(found: Strategy, execution: str) -> None:
    f, x = Net(N, outputs_of(found)), draw(B, N, seed=1).requires_grad_()
    before = torch.get_rng_state()
    result = only(asked(found, f, x, execution=execution)(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert not result.requires_grad
    assert x.grad is None
    torch.manual_seed(int(before[0]) + 1)
    assert torch.equal(only(asked(found, f, x, execution=execution)(x)), result)
    torch.set_rng_state(before)


@for_each_estimator
def test_a_trace_draws_as_the_code_does(found: Strategy) -> None:
    f, x = Net(N, outputs_of(found)), draw(B, N, seed=1)
    eager, traced = (asked(found, f, x, samples=3, execution=e) for e in ("eager", "traced"))
    results = [(only(eager(x)), only(traced(x))) for _ in range(3)]
    for one, other in results:
        torch.testing.assert_close(one, other)
    assert not torch.equal(results[0][1], results[1][1])


def test_a_captured_graph_takes_fresh_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the device's graphs, which relaunches at the addresses of the capture."""

    def capture(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], object]]:
        result = run()
        return result, lambda: result.copy_(run())

    stand_in = functools.partial(captured, capture=capture)
    monkeypatch.setitem(EXECUTIONS, "cuda-graph", stand_in)
    f, x = Net(N, N), draw(B, N, seed=1)
    how = {"strategy": "hutchinson", "samples": 3}
    eager, graph = (
        prepare("divergence", f, x, execution=e, **how) for e in ("eager", "cuda-graph")
    )
    results = [(only(eager(x)), only(graph(x))) for _ in range(3)]
    for one, other in results:
        torch.testing.assert_close(one, other)
    assert not torch.equal(results[0][1], results[1][1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_code_draws_as_the_code_does() -> None:
    f, x = Net(N, N), draw(B, N, seed=1)
    how = {"strategy": "hutchinson", "samples": 3, "values": True}
    eager, compiled = (
        prepare("divergence", f, x, execution=e, **how) for e in ("eager", "compile")
    )
    for _ in range(3):
        for one, other in zip(eager(x), compiled(x), strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.allclose(one, other)


@for_each_estimator
def test_a_plan_follows_updates_in_place(found: Strategy) -> None:
    f, x = Net(N, outputs_of(found)), draw(B, N, seed=1)
    plan = asked(found, f, x)
    plan(x)
    with torch.no_grad():
        f.second.weight.mul_(1.5)
    fresh = asked(found, f, x)
    fresh(x)
    assert torch.equal(only(plan(x)), only(fresh(x)))


@pytest.mark.parametrize("samples", [N, 3 * N])
@pytest.mark.parametrize("operator", [DIVERGENCE, LAPLACIAN])
def test_all_dimensions_are_the_answer(operator: Operator, samples: int) -> None:
    example = net_example(N, outputs(operator, N, 2))
    plan = prepare(
        operator,
        example.f,
        example.x,
        strategy="sampled-dimensions",
        samples=samples,
        values=True,
    )
    orders = plan(example.x)
    result = orders.first if operator == DIVERGENCE else orders.second
    assert distance(result, example.expected(operator)) <= 1e-12
    assert not orders.variance.any()


def low_rank(operator: Operator) -> Any:
    """Of n = 9 inputs two directions count: Jacobians and Hessians of rank two."""
    A, C = draw(9, 2, seed=1), draw(2, 9, seed=2)
    inside = lambda x: (x @ A).sin()  # noqa: E731
    if operator == DIVERGENCE:
        return lambda x: inside(x) @ C
    return lambda x: inside(x).prod(1, keepdim=True)


@pytest.mark.parametrize("operator", [DIVERGENCE, LAPLACIAN])
def test_a_sketch_that_holds_all_is_exact(operator: Operator) -> None:
    f, x = low_rank(operator), draw(B, 9, seed=3)
    expected = array(only(prepare(operator, f, x)(x)))
    sketched = prepare(operator, f, x, strategy="hutch++", samples=6, values=True)(x)
    result = sketched.first if operator == DIVERGENCE else sketched.second
    assert distance(result, expected) <= 1e-10
    assert float(sketched.variance.max()) <= 1e-20
    plain = prepare(operator, f, x, strategy="hutchinson", samples=6)(x)
    assert distance(only(plain), expected) > 1e-2


def test_the_error_falls_with_the_root_of_the_samples() -> None:
    f, x = Net(N, N), draw(B, N, seed=1)
    few, many = (
        prepare("divergence", f, x, strategy="hutchinson", samples=k, values=True) for k in (4, 64)
    )
    found = ESTIMATORS[0]
    ratio = repeated(found, few, x)[0].var(0).mean() / repeated(found, many, x)[0].var(0).mean()
    assert ratio == pytest.approx(16, rel=0.2)


def test_one_sample_says_nothing_of_its_variance() -> None:
    f, x = Net(N, N), draw(B, N, seed=1)
    for name in ("hutchinson", "sampled-dimensions"):
        orders = prepare("divergence", f, x, strategy=name, samples=1, values=True)(x)
        assert orders.variance.isnan().all()


def test_one_sample_of_one_says_all() -> None:
    f, x = Net(1, 1), draw(B, 1, seed=1)
    orders = prepare("divergence", f, x, strategy="sampled-dimensions", values=True)(x)
    assert not orders.variance.any()


@for_each_estimator
def test_gradients_are_right_on_average(found: Strategy) -> None:
    """To parameters and to an x that is no leaf; of hutch++ with its basis held constant."""
    f, base = Net(N, outputs_of(found)), draw(B, N, seed=1).requires_grad_()
    leaves = [base, *f.parameters()]

    exact = prepare(found.operator, f, 1.5 * base, create_graph=True)
    weight = draw(*only(exact(1.5 * base)).shape, seed=9)

    def gradients(plan: Plan) -> np.ndarray:
        # Linear in the result: of another function the mean would not be the function of the mean.
        projected = (only(plan(1.5 * base)) * weight).sum()
        grads = torch.autograd.grad(projected, leaves, materialize_grads=True)
        return np.concatenate([array(g).ravel() for g in grads])

    plan = asked(found, f, 1.5 * base, samples=4, create_graph=True)
    results = np.stack([gradients(plan) for _ in range(CALLS)])
    assert results.std(0).max() > 1e-3
    assert unbiased(results, gradients(exact))


@pytest.mark.parametrize("operator", [DIVERGENCE, LAPLACIAN])
def test_a_sketch_of_more_than_there_is_trains(operator: Operator) -> None:
    """A basis of what has fewer dimensions than it has no derivative: it is held constant."""
    few = lambda x: x[:, :2].prod(1, keepdim=True) ** 2  # noqa: E731
    f = few if operator == LAPLACIAN else lambda x: few(x) * (torch.arange(9) < 2)
    x = draw(B, 9, seed=3).requires_grad_()
    plan = prepare(operator, f, x, strategy="hutch++", samples=15, create_graph=True)
    (found,) = torch.autograd.grad(only(plan(x)).sum(), x)
    assert found.isfinite().all()
    assert found.any()


@for_each_estimator
def test_an_f_of_no_account_gives_zeros(found: Strategy) -> None:
    m, x = outputs_of(found), draw(B, N, seed=1)
    orders = asked(found, lambda x: x.new_ones(len(x), m), x, values=True)(x)
    assert not own(found, orders).any()
    assert not orders.variance.any()


REFUSED = [
    (LAPLACIAN, "nested-jvp", {"samples": 4}, "samples=4: it draws no probes; estimators do"),
    (LAPLACIAN, "hutch++", {"samples": 2}, "samples=2: it needs 3, to find a basis, for the trac"),
    (LAPLACIAN, "hutch++", {}, "each of the 2 outputs has a Hessian and would need a basis of its"),
    (LAPLACIAN, "hutchinson", {"chunk": 2}, "chunk=2: it takes its directions as they come"),
    (
        DIVERGENCE,
        "hutch++",
        {"create_graph": True, "execution": "traced"},
        "create_graph: it holds its basis constant, which a recording of it would not;"
        " execution='eager' trains",
    ),
    (LAPLACIAN, "auto", {"samples": 4}, "-rows: samples=4: it draws no probes; estimators do, by"),
]


@pytest.mark.parametrize(("operator", "name", "how", "said"), REFUSED)
def test_refusals_say_why(operator: Operator, name: str, how: dict[str, Any], said: str) -> None:
    f = Net(N, outputs(operator, N, 2))
    with pytest.raises(Unsupported) as refusal:
        prepare(operator, f, draw(B, N, seed=1), strategy=name, **how)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("samples", "error", "said"),
    [
        (0, ValueError, "samples counts products, from 1 on, not 0"),
        (-3, ValueError, "samples counts products, from 1 on, not -3"),
        (True, ValueError, "samples counts products, from 1 on, not True"),
        (2.5, TypeError, "samples is int or None, not 2.5"),
    ],
)
def test_samples_are_checked(samples: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Options(samples=samples)


def test_the_rule_never_takes_one() -> None:
    for operator in Operator:
        for n in (1, 10, 100_000):
            for train in (False, True):
                regime = Regime(n, outputs(operator, n, 1), 4, torch.float32, "cpu", train)
                assert all(STRATEGIES[operator, s].exact for s in candidates(operator, regime))


def test_who_draws_is_an_estimator_and_who_is_one_draws() -> None:
    assert all(s.exact == (s.draws is None) for s in STRATEGIES.values())
