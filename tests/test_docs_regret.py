"""What `docs/regret.py` measures: every choice on the held-out networks, and how it goes on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import heldout
import pytest
import regret
from processes import python

from bench.case import Case
from bench.workloads import WORKLOADS, load_workload
from reports.schema import CHOOSERS, contest_id
from strategies import find

ONLY = "mixture-density"


@pytest.fixture(scope="module")
def asked() -> Iterator[list[Case]]:
    """The networks are workloads for this module only."""
    yield regret.asked(list(heldout.RECIPES), "cpu")
    for name in heldout.RECIPES:
        del WORKLOADS[name]
    load_workload.cache_clear()


def test_every_network_is_asked_for_its_operators(asked: list[Case]) -> None:
    found = {(case.workload, case.operator) for case in asked}
    assert found == {(name, op) for name, ops in heldout.OPERATORS.items() for op in ops}


def test_every_contest_has_its_choosers_and_more_than_one_exact_strategy(asked: list[Case]) -> None:
    for contest in {contest_id(case.axes) for case in asked}:
        names = [case.strategy for case in asked if contest_id(case.axes) == contest]
        assert set(CHOOSERS) < set(names)
        operator = next(case.operator for case in asked if contest_id(case.axes) == contest)
        exact = [find(operator, name).exact for name in names if name not in CHOOSERS]
        assert all(exact)
        assert len(exact) >= 3


def test_it_is_eager_float32(asked: list[Case]) -> None:
    assert {(case.execution, case.dtype) for case in asked} == {("eager", "float32")}


def measured(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Of the cores that other runs have claimed, it would say a line more: here there are none."""
    given = ("--only", ONLY, "--passes", "1", "--results", str(folder))
    return python("docs/regret.py", *given, *arguments, TMPDIR=str(folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in one pass."""
    done = measured(tmp_path_factory.mktemp("regret"))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_every_case_leaves_a_row(run: Path, asked: list[Case]) -> None:
    rows = [json.loads(line) for line in run.read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "row" and row["operator"] != "control"]
    expected = {case.id for case in asked if case.workload == ONLY}
    assert len(rows) == len(expected)
    chose = [row for row in rows if row["strategy"] in CHOOSERS]
    assert {row["status"] for row in chose} == {"ok"}
    assert all(row["chosen"] for row in chose)


def test_a_run_is_gone_on_with(run: Path) -> None:
    whole = run.read_text()
    lines = whole.splitlines(keepends=True)
    # As it was before its last rows, and without its end.
    run.write_text("".join(lines[:-6]))
    done = measured(run.parent, "--resume", str(run))
    assert (done.returncode, done.stdout.strip()) == (0, str(run)), done.stderr
    found = [json.loads(line) for line in run.read_text().splitlines()]
    kinds = [line["kind"] for line in found]
    assert kinds.count("row") == sum('"kind":"row"' in line for line in lines)
    assert kinds.count("resume") == 1


def test_another_file_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text("{}\n")
    done = measured(tmp_path, "--resume", str(tmp_path / "other.jsonl"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nothing to go on with" in done.stderr
