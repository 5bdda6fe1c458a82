"""The held-out networks: every strategy is right on them or says in a line why it refuses."""

from __future__ import annotations

import functools
from math import prod
from pathlib import Path

import heldout
import numpy as np
import pytest
import torch

from bench.case import Case, Subject
from bench.check import check, judge, reference_of
from bench.problem import Problem, direction
from bench.workloads import WORKLOADS, load_workload
from strategies import (
    Operator,
    Refusal,
    Setting,
    TorchLimit,
    attempt,
    check_rows_independent,
    find,
    prepare,
    strategies_for,
    violated_shape,
)

# torch's fused attention backward has no batching rule: vmap says so, and loops.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

B = 3
NAMES = list(heldout.RECIPES)
ASKED = [(name, operator) for name in NAMES for operator in heldout.OPERATORS[name]]
GRID = [
    pytest.param(name, operator, strategy.name, id=f"{name}-{operator}-{strategy.name}")
    for name, operator in ASKED
    for strategy in strategies_for(operator)
    if strategy.exact
]

# torch has neither a forward mode nor a double backward of its fused attention, and the rule does
# not know the one strategy that needs neither.
on_names = pytest.mark.parametrize("name", NAMES)
on_asked = pytest.mark.parametrize(("name", "operator"), ASKED)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for each network and operator, shared by the strategies."""
    return tmp_path_factory.mktemp("references")


@functools.cache
def problem(name: str) -> Problem:
    return heldout.build(name, batch=B)


@functools.cache
def subject(name: str, operator: Operator, strategy: str = "auto") -> Subject:
    p = problem(name)
    out = tuple(p.f(p.x, *p.args).shape[1:])
    case = Case(operator, strategy, name, B, tuple(p.x.shape[1:]), out, dtype="float64")
    return Subject(case, p, direction(operator, p, out))


@functools.cache
def setting(name: str, operator: Operator) -> Setting:
    """One look at f for all strategies."""
    return subject(name, operator).setting()


@functools.cache
def outcome(name: str, operator: Operator, strategy: str, references: Path) -> str:
    """`ok`, `refused`, or what is not as it should be."""
    made = subject(name, operator, strategy)
    plan = attempt(setting(name, operator), find(operator, strategy))
    if isinstance(plan, Refusal):
        return _refused(plan.reason)
    try:
        found = plan(*made.inputs)
    except TorchLimit as limit:
        return _refused(str(limit))
    assert isinstance(found, torch.Tensor)
    checked = check(made, found, references)
    return checked.reason or checked.status


def _refused(reason: str) -> str:
    return "refused" if len(reason.strip().splitlines()) == 1 else f"not a line: {reason!r}"


@pytest.mark.parametrize(("name", "operator", "strategy"), GRID)
def test_right_or_refused(name: str, operator: Operator, strategy: str, references: Path) -> None:
    assert outcome(name, operator, strategy, references) in ("ok", "refused")


@on_asked
def test_some_strategy_works(name: str, operator: Operator, references: Path) -> None:
    exact = (s.name for s in strategies_for(operator) if s.exact)
    assert any(outcome(name, operator, strategy, references) == "ok" for strategy in exact)


@pytest.mark.parametrize(("name", "operator"), ASKED)
def test_auto_is_right(name: str, operator: Operator, references: Path) -> None:
    made = subject(name, operator)
    plan = prepare(operator, made.problem.f, *made.inputs)
    found = plan(*made.inputs)
    assert isinstance(found, torch.Tensor)
    assert check(made, found, references).status == "ok"


@on_asked
def test_one_wrong_entry_would_be_seen(name: str, operator: Operator, references: Path) -> None:
    """Off by a ten-thousandth of the scale of its entry, in float64."""
    made = subject(name, operator)
    trusted = reference_of(made, references)
    off = trusted.value.copy()
    where = np.unravel_index(off.size // 2, off.shape)
    off[where] += 1e-4 * np.broadcast_to(trusted.scale, off.shape)[where]
    assert judge(made, trusted.value, trusted).status == "ok"
    assert judge(made, off, trusted).status == "wrong"


def test_operators_are_defined_for_their_networks() -> None:
    assert set(heldout.OPERATORS) == set(NAMES)
    assert not [
        (name, operator)
        for name, operator in ASKED
        if violated_shape(operator, *_shapes(name, operator))
    ]


def _shapes(name: str, operator: Operator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    case = subject(name, operator).case
    return case.in_shape, case.out_shape


@on_names
def test_small_enough_to_be_judged_by(name: str) -> None:
    p = heldout.build(name)
    assert 4 <= len(p.x) <= 64
    assert prod(p.x.shape[1:]) <= 64
    assert not p.exact


@on_names
def test_rows_are_independent(name: str) -> None:
    p = problem(name)
    found = check_rows_independent(p.f, p.x, *p.args)
    assert (found.alone, found.apart) == (None, None)


@on_names
def test_the_same_each_time_and_in_every_dtype(name: str) -> None:
    state = torch.get_rng_state()
    double, again = heldout.build(name), heldout.build(name)
    single = heldout.build(name, torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(double.x, again.x)
    value = double.f(double.x, *double.args)
    assert torch.equal(value, again.f(again.x, *again.args))
    assert torch.equal(double.x.float(), single.x)
    found = single.f(single.x, *single.args)
    torch.testing.assert_close(value.float(), found, rtol=1e-4, atol=1e-4)


@on_names
def test_its_file_is_a_workload(name: str) -> None:
    """`--workload` takes it, and it has the values that the tests see."""
    # What a rule is fitted to are the suite's workloads: no held-out network is one of them.
    assert name not in WORKLOADS
    loaded = load_workload(heldout.spec(name))
    del WORKLOADS[loaded.name]
    load_workload.cache_clear()
    assert loaded.name == name
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    made, ours = loaded.build(torch.float64, device, generator), heldout.build(name)
    assert torch.equal(made.f(made.x, *made.args), ours.f(ours.x, *ours.args))
