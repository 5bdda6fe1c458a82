"""The table of unsafe operations: each entry is really wrong on this torch, and refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from conftest import Array, Function, distance, draw, only
from torch import Tensor

from bench.case import build
from bench.coverage import cells, operations
from bench.probes.registry import PREFIX
from bench.reference import reference, tolerance
from strategies import (
    Operator,
    Options,
    Plan,
    Refusal,
    Strategy,
    TorchLimit,
    Unsupported,
    attempt,
    auto,
    find,
    inspect,
    prepare,
    strategies_for,
)
from strategies import unsafe as unsafe_module
from strategies.unsafe import TABLE, key, release, table, unproven, wrong

# Small, and the ones that are known to go wrong: checked in full here, the others by coverage.
LAYERS = ("det", "slogdet", "logdet", "solve", "custom-function", "layer-norm", "norm-at-zero")
CELLS = [
    pytest.param(case, id=case.id)
    for case in cells()
    if case.execution == "eager" and case.workload.removeprefix(PREFIX) in LAYERS
    # One result of an estimator is never the answer: coverage judges many.
    if find(case.operator, case.strategy).exact
]


@functools.cache
def truth(operator: Operator, workload: str, m: int) -> tuple[Array, float]:
    problem = build(workload, {"m": m}, 3, "float64", "cpu")
    v = _direction(operator, m)
    found = reference(operator, problem, v)
    return found.value, tolerance("float64", found)


def _direction(operator: Operator, m: int) -> Tensor | None:
    if operator == Operator.VJP:
        return draw(3, m, seed=42)
    return draw(3, 4, seed=42) if operator in (Operator.JVP, Operator.HVP) else None


# torch says that it loops where a batching rule is missing: coverage counts that, here it is noise.
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("case", CELLS)
def test_listed_is_wrong_and_unlisted_is_right(case) -> None:
    """Once torch mends an operation this fails: then `bench coverage --write` drops its entry."""
    problem = build(case.workload, case.params, 3, "float64", "cpu")
    v = _direction(case.operator, case.params["m"])
    inputs = (problem.x,) if v is None else (problem.x, v)
    strategy = find(case.operator, case.strategy)
    setting = inspect(case.operator, problem.f, inputs, Options())
    plan = attempt(setting, strategy, by_table=False)
    if isinstance(plan, Refusal):
        return
    listed = wrong(strategy, "eager", setting.probe.operations)
    try:
        found = only(plan(*inputs))
    except TorchLimit:
        return
    expected, allowed = truth(case.operator, case.workload, case.params["m"])
    right = distance(found, expected) <= allowed
    assert right == (not listed)
    if listed:
        guarded = attempt(setting, strategy)
        assert isinstance(guarded, Refusal)
        assert "silently wrong" in guarded.reason


def test_the_table_knows_every_strategy_of_this_suite() -> None:
    known = table().strategies
    asked = {key(find(c.operator, c.strategy), c.execution) for c in cells()}
    missing = asked - known
    assert not missing, "run python -m bench coverage --write"


def test_torchs_known_errors_are_in_it() -> None:
    """pytorch#196696, #192540, #196695 and #197867, found by coverage."""
    known = table("2.13").wrong
    for op in ("aten::_linalg_det", "aten::_linalg_slogdet", "aten::_linalg_solve_ex"):
        assert {"hessian/fwd-fwd", "hessian/rev-fwd", "laplacian/nested-jvp"} <= known[op]
    assert "hessian/fwd-fwd" in known["autograd.Function"]


def test_the_plain_operations_are_wrong_nowhere() -> None:
    for name in ("polynomial", "mlp", "trigonometric"):
        assert not operations(f"{PREFIX}{name}") & set(table().wrong)


def a_strategy(mode: str, name: str = "mine") -> Strategy:
    return Strategy(name, Operator.HESSIAN, mode, "vmap", "", lambda f, i, o: lambda x: x)


def test_a_strategy_that_was_not_measured_shares_the_errors_of_its_mode() -> None:
    ops = {"aten::_linalg_det", "aten::add"}
    assert wrong(a_strategy("forward-over-forward"), "eager", ops) == ["aten::_linalg_det"]
    assert wrong(a_strategy("some-other"), "eager", ops) == []
    assert unproven(a_strategy("some-other"), "eager", ops) == sorted(ops)


def test_an_unknown_operation_is_unproven() -> None:
    strategy = find(Operator.HESSIAN, "rev-rev")
    assert unproven(strategy, "eager", {"aten::mm", "mine::new"}) == ["mine::new"]


def test_an_unknown_torch_takes_the_newest_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = {"strategies": [], "operations": [], "wrong": {}, "raises": {}}
    tables = {"2.9": empty, "2.13": {**empty, "operations": ["aten::new"]}}
    path = tmp_path / "table.json"
    path.write_text(json.dumps(tables))
    monkeypatch.setattr(unsafe_module, "TABLE", path)
    table.cache_clear()
    assert table("9.9").operations == {"aten::new"}
    assert table("2.9").operations == frozenset()
    table.cache_clear()


def test_the_release_is_without_its_build() -> None:
    assert release("2.13.0+cpu") == "2.13"
    assert TABLE.is_file()


WRONG_THROUGH_DET = table().wrong["aten::_linalg_det"]


def det(x: Tensor) -> Tensor:
    return torch.linalg.det(torch.eye(2).to(x) * 2 + (x * x + x).reshape(-1, 2, 2))


def test_auto_goes_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its rule puts first."""
    names = [s.name for s in strategies_for(Operator.LAPLACIAN) if s.exact]
    wrong_first = sorted(names, key=lambda name: f"laplacian/{name}" not in WRONG_THROUGH_DET)
    monkeypatch.setattr(auto, "candidates", lambda *_: wrong_first)
    x = draw(4, 4, seed=41)
    plan = prepare(Operator.LAPLACIAN, det, x)
    assert "silently wrong" in plan.explain()
    minors = {0: 3, 3: 0, 1: 2, 2: 1}
    a = 2 * torch.eye(2).reshape(4) + x * x + x
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=x.dtype)
    # det is linear in each entry, of which each has the second derivative 2 in its x.
    expected = sum(2 * sign[i] * a[:, j] for i, j in minors.items())
    torch.testing.assert_close(only(plan(x)), expected)


def unbatchable(x: Tensor) -> Tensor:
    return x**3 if bool((x.detach() > -9).all()) else x


def test_what_raises_is_refused_in_prepare_and_not_at_the_call() -> None:
    x = draw(4, 3, seed=41)
    with pytest.raises(TorchLimit, match="jacobian by vmap-jacrev: torch cannot: vmap: It looks"):
        prepare(Operator.JACOBIAN, unbatchable, x, strategy="vmap-jacrev")
    assert isinstance(prepare(Operator.JACOBIAN, unbatchable, x), Plan)


def test_a_proven_function_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial evaluation is spared where every operation was seen to go through."""
    counts = {name: _evaluations(f) for name, f in {"plain": plain, "odd": odd}.items()}
    assert counts == {"plain": 0, "odd": 1}


def plain(x: Tensor) -> Tensor:
    return (x * x * x).sum(-1)


def odd(x: Tensor) -> Tensor:
    return torch.special.bessel_j0(x * 0).detach().sum(-1) * 0 + (x * x * x).sum(-1)


def _evaluations(f: Function) -> int:
    calls = []
    strategy = next(s for s in strategies_for(Operator.GRADIENT) if s.name == "func-vjp")

    def counted(f: Function, inputs: tuple[Tensor, ...], options: Options):
        evaluate = strategy.prepare(f, inputs, options)
        return lambda *given: (calls.append(1), evaluate(*given))[1]

    mine = Strategy(
        *(strategy.name, strategy.operator, strategy.mode, strategy.sweep, "", counted),
        needs=strategy.needs,
    )
    x = draw(4, 3, seed=41)
    attempt(inspect(Operator.GRADIENT, f, (x,), Options()), mine)
    return len(calls)


def test_a_refusal_by_the_table_says_what_to_do() -> None:
    x = draw(4, 4, seed=41)
    said = "through _linalg_det silently wrong; strategy='auto' takes one that is right"
    with pytest.raises(Unsupported, match=said):
        prepare(Operator.HESSIAN, det, x, strategy="fwd-fwd")
