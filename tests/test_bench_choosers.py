"""Rows of what chooses: where they are, what they say was chosen, what is trained and counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import choosers, facts
from bench import test_time as timing
from bench.__main__ import main
from bench.case import Case, subject
from bench.choosers import CHOICES, Chooser, planned
from bench.counted import counted
from bench.grid import CHOOSING, GRIDS, Block, blocks, cases, choosers_in
from bench.header import described
from bench.record import Row
from reports.schema import CHOOSERS, contest_id
from strategies import STRATEGIES, Operator, Plan, Refusal, Setting, Unsupported, choose

SQUARE = Block("mlp-square", [Operator.JACOBIAN], B=2, params={"n": 3})


def timed(grid: str) -> list[Case]:
    return cases(blocks(grid), choosers=choosers_in(grid))


def test_every_chooser_of_a_result_file_can_choose() -> None:
    assert tuple(CHOICES) == CHOOSERS


@pytest.mark.parametrize("grid", GRIDS)
def test_a_contest_has_all_choosers_or_none(grid: str) -> None:
    rule, race = (
        Counter(contest_id(case.axes) for case in timed(grid) if case.strategy == name)
        for name in CHOOSERS
    )
    assert rule == race
    assert bool(rule) == (grid in CHOOSING)


def eager(block: Block) -> bool:
    return block.execution == "eager" and not block.strategies


@pytest.mark.parametrize("grid", [grid for grid in CHOOSING if grid in GRIDS])
def test_they_are_where_every_strategy_runs_eagerly(grid: str) -> None:
    beside = {contest_id(c.axes) for c in cases(filter(eager, blocks(grid)))}
    found = [case for case in timed(grid) if case.strategy in CHOICES]
    assert {contest_id(case.axes) for case in found} == beside
    assert {case.execution for case in found} == {"eager"}


def test_the_default_grid_chooses_in_every_way() -> None:
    found = [case for case in timed("default") if case.strategy in CHOICES]
    assert {case.operator for case in found} == set(Operator)
    assert {case.create_graph for case in found} == {True, False}
    assert {case.layout for case in found} == {"dense", "sparse"}
    assert {type(case.chunk) for case in found} == {type(None), int, str}


@pytest.mark.parametrize(
    "block",
    [
        replace(SQUARE, strategies=["jacrev-sum"]),
        replace(SQUARE, execution="traced"),
        # No strategy offers it, so none could be taken.
        replace(SQUARE, operators=[Operator.VJP], layout="sparse"),
    ],
)
def test_they_are_not_beside_named_or_traced_ones(block: Block) -> None:
    assert cases([block, SQUARE], choosers=CHOOSERS)[-1].strategy in CHOICES
    found = cases([block, replace(SQUARE, B=3)], choosers=CHOOSERS)
    assert not [case for case in found if case.strategy in CHOICES and case.B == 2]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> set[str]:
    assert main(["list", *arguments]) == 0
    return {name.split("/")[1] for name in capsys.readouterr().out.split()}


def test_what_is_timed_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "--only", "vjp/") >= set(CHOOSERS)
    assert not listed(capsys, "--grid", "counters", "--only", "vjp/") & set(CHOOSERS)


def test_a_comparison_has_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A race may end otherwise in each arm."""
    facts.main("", str(tmp_path), str(tmp_path), "--grid=smoke", "--only=vjp/")
    found = {axes["strategy"] for axes in json.loads(capsys.readouterr().out)["cases"]}
    assert found
    assert not found & set(CHOOSERS)


def test_the_run_line_describes_them_where_they_are_measured() -> None:
    found = {
        chosen: described(cases([SQUARE], choosers=CHOOSERS if chosen else ()))["strategies"]
        for chosen in (True, False)
    }
    own = {name: row for name, row in found[True].items() if name not in found[False]}
    assert own.keys() == {f"jacobian/{name}" for name in CHOOSERS}
    assert own["jacobian/auto-rule"].keys() == found[True]["jacobian/jacrev-sum"].keys()
    assert {(row["mode"], row["exact"]) for row in own.values()} == {("auto", True)}


def refusing(setting: Setting) -> Plan:
    raise Unsupported("every strategy refuses")


def test_a_refusal_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosers, "CHOICES", {"auto-rule": Chooser(refusing, "")})
    made = subject(replace(cases([SQUARE])[0], strategy="auto-rule"))
    assert planned(made.setting(), "auto-rule") == Refusal("auto-rule", "every strategy refuses")


def request() -> Any:
    config = SimpleNamespace(option=SimpleNamespace(bench_pass=0, inject=[]))
    return SimpleNamespace(node=SimpleNamespace(stash={}), config=config)


def measured(case: Case, references: Path) -> Row:
    """The row of an evaluation and a training step, as a worker makes it; nothing is timed."""
    benchmark = SimpleNamespace(enabled=False, pedantic=lambda *_, **__: None, extra_info={})
    rows: dict[str, Row] = {}
    timing.test_time(case, benchmark, references, rows, {}, {}, request())
    if case.create_graph:
        timing.test_train(case, benchmark, rows, request())
    return rows[case.id]


@pytest.mark.parametrize("name", CHOOSERS)
def test_a_row_says_what_was_chosen(name: str, tmp_path: Path) -> None:
    row = measured(replace(cases([SQUARE])[0], strategy=name), tmp_path)
    assert row["status"] == "ok", row["reason"]
    assert (Operator.JACOBIAN, row["chosen"]) in STRATEGIES
    assert row["strategy"] == name
    # Of a chain, whose floor is that of the strategy that was taken.
    assert row["floor"]


def test_a_strategy_chooses_nothing(tmp_path: Path) -> None:
    assert "chosen" not in measured(cases([SQUARE])[0], tmp_path)


def test_what_was_chosen_is_trained_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A race that would end otherwise each time."""
    winners = iter(["vmap-jvp", "loop-grad"])

    def race(setting: Setting) -> Plan:
        plan = planned(setting, next(winners))
        assert isinstance(plan, Plan)
        return plan

    trained = []
    step = timing.training_step
    monkeypatch.setattr(choosers, "CHOICES", {"auto-race": Chooser(race, "")})
    monkeypatch.setattr(
        timing,
        "training_step",
        lambda plan, made: trained.append(plan.strategy) or step(plan, made),
    )
    case = replace(cases([SQUARE])[0], create_graph=True)
    row = measured(replace(case, strategy="auto-race"), tmp_path)
    assert row["status"] == "ok", row["reason"]
    assert (row["chosen"], trained) == ("vmap-jvp", ["vmap-jvp"])
    assert row["counters"] == counted(subject(replace(case, strategy="vmap-jvp")))


def test_choosing_is_part_of_preparing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(setting: Setting) -> Plan:
        timing.time.sleep(0.2)
        return choose(setting)

    monkeypatch.setattr(choosers, "CHOICES", {"auto-race": Chooser(slowly, "")})
    row = measured(replace(cases([SQUARE])[0], strategy="auto-race"), tmp_path)
    assert row["prepare_s"] > 0.2
