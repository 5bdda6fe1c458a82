"""A budget of bytes for an evaluation: never passed, used up, and refused where it cannot be kept.

Peaks are those of the harness's counters and of torch's own profiler, which share no code with what
keeps the budget.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from processes import python
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.profiler import ProfilerActivity, profile

from bench.case import build
from bench.counters import peak_bytes
from strategies import STRATEGIES, Operator, Plan, Unsupported, prepare, strategies_for
from strategies import plan as planning
from strategies.budget import _largest
from strategies.memory import bytes_of, estimated_peak, readable
from strategies.memory import peak_bytes as allocated

JACOBIAN, HESSIAN, LAPLACIAN = Operator.JACOBIAN, Operator.HESSIAN, Operator.LAPLACIAN

# Operator, strategy, workload, its parameters, rows: more directions than fit the budgets below.
WORKS: dict[str, tuple[Operator, str, str, dict[str, Any], int]] = {
    "square-reverse": (JACOBIAN, "chunked-jacrev", "mlp-square", {"n": 24}, 4),
    "square-forward": (JACOBIAN, "chunked-jacfwd", "mlp-square", {"n": 24}, 4),
    "tall-reverse": (JACOBIAN, "chunked-jacrev", "mlp-tall", {"n": 5, "m": 32}, 4),
    "tall-forward": (JACOBIAN, "chunked-jacfwd", "mlp-tall", {"n": 5, "m": 32}, 4),
    "cnn-reverse": (JACOBIAN, "chunked-jacrev", "cnn", {}, 4),
    "cnn-forward": (JACOBIAN, "chunked-jacfwd", "cnn", {"size": 4}, 2),
    "hessian": (HESSIAN, "chunked-fwd-rev", "mlp-scalar", {"n": 24}, 4),
    "laplacian": (LAPLACIAN, "chunked-nested-jvp", "mlp-scalar", {"n": 24}, 4),
}
on_works = pytest.mark.parametrize("work", WORKS)
on_some = pytest.mark.parametrize("work", ["square-reverse", "tall-forward", "hessian"])


def made(work: str) -> tuple[Operator, str, Callable[..., Tensor], Tensor]:
    operator, strategy, workload, params, B = WORKS[work]
    problem = build(workload, params, B, "float32", "cpu")
    return operator, strategy, problem.f, problem.x


def planned(work: str, **how: Any) -> tuple[Plan, Tensor]:
    operator, strategy, f, x = made(work)
    return prepare(operator, f, x, strategy=strategy, **how), x


@functools.cache
def taken(work: str, **how: Any) -> int:
    plan, x = planned(work, **how)
    return allocated(lambda: plan(x), x.device)


def between(work: str, part: float, **how: Any) -> int:
    """A budget between what one direction at a time takes and what all at once take."""
    one, every = (taken(work, chunk=chunk, **how) for chunk in (1, 10**6))
    return int(one + part * (every - one))


def profiled(call: Callable[[], object]) -> int:
    """The peak of the CPU allocations that torch's profiler saw during the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize(
    ("text", "size"),
    [("8 GiB", 2**33), ("8GiB", 2**33), ("500 MB", 5 * 10**8), ("1.5kB", 1500), (" 7 B ", 7)],
)
def test_budgets_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1, "1 B"), (1536, "1.5 KiB"), (3 * 2**30, "3 GiB")]
)
def test_bytes_are_said(size: int, text: str) -> None:
    assert readable(size) == text


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@on_works
def test_a_budget_is_never_passed(work: str, part: float) -> None:
    budget = between(work, part)
    plan, x = planned(work, chunk=f"{budget} B")
    assert max(peak_bytes(partial(plan, x)), profiled(partial(plan, x))) <= budget


@on_works
def test_a_budget_is_used_up(work: str) -> None:
    budget = between(work, 0.6)
    fit = planned(work, chunk=f"{budget} B")[0].fit
    assert fit is not None
    more = fit.directions + fit.directions // 16 + 1
    assert fit.directions == fit.count or taken(work, chunk=more) > budget


@on_works
def test_the_answer_is_the_same(work: str) -> None:
    operator, strategy, f, x = made(work)
    plan = prepare(operator, f, x, strategy=strategy, chunk=f"{between(work, 0.4)} B")
    assert plan.fit is not None
    assert 1 <= plan.fit.directions < plan.fit.count
    torch.testing.assert_close(plan(x), prepare(operator, f, x)(x))


@on_some
def test_the_peak_that_a_plan_tells_is_that_of_a_call(work: str) -> None:
    plan, x = planned(work, chunk=f"{between(work, 0.5)} B")
    assert plan.fit is not None
    assert plan.fit.peak_bytes == allocated(lambda: plan(x), x.device)


@pytest.mark.parametrize("work", ["square-reverse", "square-forward", "hessian", "laplacian"])
def test_a_recorded_evaluation_stays_within(work: str) -> None:
    budget = between(work, 1.0)
    plan, x = planned(work, chunk=f"{budget} B", execution="traced")
    assert peak_bytes(partial(plan, x)) <= budget


def test_a_recorded_evaluation_that_keeps_more_is_refused() -> None:
    # Its chunks are joined: the result is there twice.
    operator, strategy, f, x = made("square-reverse")
    budget = f"{between('square-reverse', 0.0)} B"
    with pytest.raises(Unsupported, match=r"traced with 1 of 24 .* takes .*execution='eager' 1 of"):
        prepare(operator, f, x, strategy=strategy, chunk=budget, execution="traced")


@pytest.mark.parametrize("execution", ["eager", "traced"])
@on_some
def test_a_graph_counts(work: str, execution: str) -> None:
    how = {"create_graph": True, "execution": execution}
    every = taken(work, chunk=10**6, create_graph=True)
    plan, x = planned(work, chunk=f"{2 * every} B", **how)
    x.requires_grad_()
    assert peak_bytes(partial(plan, x)) <= 2 * every
    result = plan(x)
    assert isinstance(result, Tensor)
    assert result.requires_grad


@pytest.mark.parametrize("work", ["square-reverse", "laplacian"])
def test_a_graph_that_does_not_fit_is_refused(work: str) -> None:
    every = taken(work, chunk=10**6, create_graph=True)
    with pytest.raises(Unsupported, match="the graph of all directions, which create_graph=True"):
        planned(work, chunk=f"{every // 2} B", create_graph=True)


@pytest.mark.parametrize(
    ("work", "how", "said"),
    [
        (
            "square-reverse",
            {"chunk": "1 kB"},
            "the jacobian alone takes 9 KiB, the budget",
        ),
        ("hessian", {"chunk": "8 KiB"}, "the hessian alone takes 9 KiB, the budget is 8 KiB"),
        ("laplacian", {"chunk": "9 KiB"}, "one direction at a time takes about .*, the budget is"),
        (
            "square-reverse",
            {"chunk": "1 GiB", "execution": "cuda-graph"},
            "a captured graph keeps its memory",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(work: str, how: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said) as raised:
        planned(work, **how)
    assert "\n" not in str(raised.value)


def test_all_orders_count() -> None:
    """Beside a Laplacian of 16 bytes a Jacobian of 384."""
    with pytest.raises(Unsupported, match="the laplacian alone takes 416 B"):
        planned("laplacian", chunk="415 B", values=True)


@pytest.mark.parametrize("operator", list(Operator))
def test_those_that_do_not_chunk_name_those_that_do(operator: Operator) -> None:
    net, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), torch.ones(4, 3)
    scalar = operator in (Operator.GRADIENT, Operator.HVP)
    f = (lambda u: net(u).sum(-1, keepdim=True)) if scalar else net
    direction = {Operator.VJP, Operator.JVP, Operator.HVP}
    args = (x,) if operator in direction else ()
    offered = [s.name for s in strategies_for(operator) if s.chunks]
    plain = next(s.name for s in strategies_for(operator) if not s.chunks)
    with pytest.raises(Unsupported, match="takes its directions as they come") as raised:
        prepare(operator, f, x, *args, strategy=plain, chunk="8 GiB")
    named = offered or [f"so does every strategy for {operator}"]
    assert all(name in str(raised.value) for name in named)


@pytest.mark.parametrize(
    "operator", [op for op in Operator if any(s.chunks for s in strategies_for(op))]
)
@pytest.mark.parametrize("chunk", ["1 MiB", 2])
def test_the_rule_finds_a_strategy_for_every_operator_that_has_one(
    operator: Operator, chunk: int | str
) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    plan = prepare(operator, net, torch.ones(4, 3), chunk=chunk)
    assert STRATEGIES[operator, plan.strategy].chunks


def test_a_plan_says_what_became_of_the_budget() -> None:
    plan, _ = planned("square-reverse", chunk="1 MiB")
    said = plan.explain().splitlines()[1]
    assert said.startswith("24 of 24 directions at once take ")
    assert said.endswith(" of the budget of 1 MiB")


def test_another_profile_is_not_disturbed() -> None:
    with (
        profile(activities=[ProfilerActivity.CPU]),
        pytest.raises(Unsupported, match="by torch's profiler, which is on already"),
    ):
        planned("tall-reverse", chunk="1 MiB")


def test_values_do_not_matter() -> None:
    operator, strategy, f, x = made("tall-reverse")
    budget = f"{between('tall-reverse', 0.5)} B"
    found = [prepare(operator, f, at, strategy=strategy, chunk=budget).fit for at in (x, 1e3 * x)]
    assert found[0] == found[1]


def test_an_empty_batch_needs_no_budget() -> None:
    plan = prepare(JACOBIAN, nn.Linear(3, 2), torch.ones(0, 3), chunk="1 B")
    assert plan(torch.ones(0, 3)).shape == (0, 2, 3)


@pytest.mark.parametrize("work", ["square-forward", "hessian", "laplacian"])
def test_a_try_that_is_stopped_leaves_nothing(work: str) -> None:
    with pytest.raises(Unsupported):
        planned(work, chunk="10 KiB")
    level = torch._C._functorch.maybe_current_level()  # type: ignore[attr-defined]
    assert (forward_ad._current_level, level, gc.isenabled()) == (-1, None, True)


@pytest.mark.parametrize("fixed", [0, 900, 5000])
@pytest.mark.parametrize("budget", [1000, 1700, 6000, 90_000, 10**7])
@pytest.mark.parametrize("free", [1, 7, 300])
def test_the_search(fixed: int, budget: int, free: int) -> None:
    """A peak that does not grow before so many directions: the line through two is too low."""

    def peak(k: int) -> int:
        return max(fixed, 50 * k, 90 * (k - free))

    def noted(k: int) -> int:
        tried.append(k)
        return peak(k)

    tried: list[int] = []
    if peak(1) > budget:
        return
    fit = _largest(noted, peak(1), 1000, budget)
    fits = [1, *(k for k in tried if peak(k) <= budget)]
    assert fit.peak_bytes <= budget
    assert fit.directions == 1000 or peak(fit.directions + fit.directions // 16 + 1) > budget
    assert all(k <= 2 * max(j for j in fits if j < k) for k in tried)


@on_some
def test_shapes_alone_tell_about_as_much(work: str) -> None:
    plan, x = planned(work, chunk=3)
    with torch.no_grad():
        found, counted = estimated_peak(plan._run, (x,)), peak_bytes(partial(plan, x))
    assert found == pytest.approx(counted, rel=0.1)


def test_what_needs_values_has_no_estimate() -> None:
    assert estimated_peak(lambda x: x.sum().item() > 0 and x, (torch.ones(3),)) is None


def test_scratch_memory_counts() -> None:
    """A convolution's backward pass has some that no operation returns."""
    plan, x = planned("cnn-reverse", chunk=10**6)
    assert allocated(lambda: plan(x), x.device) > 1.1 * peak_bytes(partial(plan, x))


RSS = """
import torch
from pathlib import Path
from strategies import prepare

def pages(name):
    (line,) = (l for l in Path("/proc/self/status").read_text().splitlines() if name in l)
    return 1024 * int(line.split()[1])

def growth(chunk, x):
    # The highest so far was that of the imports.
    Path("/proc/self/clear_refs").write_text("5")
    before = pages("VmRSS")
    prepare("jacobian", net, x, strategy="chunked-jacrev", chunk=chunk)(x)
    return pages("VmHWM") - before

torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Linear(400, 500), torch.nn.Tanh(), torch.nn.Linear(500, 300))
x = torch.ones(32, 400)
growth("1 GiB", x[:2])
print(growth("20 MB", x), growth(10**6, x))
"""


def test_the_process_grows_by_no_more() -> None:
    """Of pages that the system gave out, prepare included: the C library maps every large block by
    itself here, and keeps none of them."""
    said = python("-c", RSS, MALLOC_MMAP_THRESHOLD_="65536").stdout
    within, every = map(int, said.split())
    # A try in prepare is stopped only after the operation that passed the budget.
    assert within <= 23e6
    assert every > 30e6


def test_the_backward_is_tried_once_whatever_was_tried_of_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(planning, "check_backward", lambda *given: tried.append(given))
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 12))
    how = {"strategy": "chunked-jacrev", "chunk": "1 MiB", "create_graph": True}
    prepare("jacobian", net, torch.randn(4, 6), **how)
    assert len(tried) == 1
