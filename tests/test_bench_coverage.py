"""Coverage: what is laid to which operation, what the table gains, and a planted wrong strategy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import command

from bench import coverage
from bench.__main__ import main
from bench.case import Case
from bench.coverage import cells, findings, new_errors, slow_to_trace, write
from bench.probes import PROBES
from reports.blocks import Sheet
from reports.load import load
from reports.sections import coverage as coverage_section
from strategies import STRATEGIES, unsafe
from strategies.unsafe import Table

MADE_OF = {"probe-a": {"add", "mm"}, "probe-b": {"add", "det"}, "probe-c": {"add", "det", "eye"}}

PLANTED = '''
"""One that is wrong everywhere."""
from strategies import Operator, strategy

@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop")
def planted(f, inputs, options):
    """Zeros."""
    return lambda x, *args: x.new_zeros(*f(x, *args).shape, x.shape[1])
'''


def row(strategy: str, probe: str, status: str, reason: str = "") -> dict[str, Any]:
    return {
        "operator": "hessian",
        "strategy": strategy,
        "execution": "eager",
        "workload": probe,
        "status": status,
        "reason": reason,
    }


@pytest.fixture
def planted_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "PROBES", MADE_OF)
    monkeypatch.setattr(coverage, "operations", lambda name: frozenset(MADE_OF[name]))


@pytest.mark.usefixtures("planted_probes")
def test_blame_falls_on_what_no_right_probe_holds() -> None:
    found = findings(
        [
            row("s", "probe-a", "ok"),
            row("s", "probe-b", "wrong"),
            row("t", "probe-a", "ok"),
            row("t", "probe-b", "unsupported", "torch cannot: vmap"),
            row("u", "probe-b", "unsupported", "rows are not independent"),
        ]
    )
    assert found.wrong == {"det": {"hessian/s"}}
    assert found.raises == {"det": {"hessian/t"}}
    assert found.strategies == {"hessian/s", "hessian/t", "hessian/u"}
    assert found.operations == {"add", "mm", "det", "eye"}


@pytest.mark.usefixtures("planted_probes")
def test_what_a_right_probe_holds_is_not_blamed() -> None:
    found = findings([row("s", "probe-c", "ok"), row("s", "probe-b", "wrong")])
    assert found.wrong == {}


@pytest.mark.usefixtures("planted_probes")
def test_only_what_the_table_does_not_refuse_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    names = frozenset({"hessian/fwd-rev", "hessian/rev-rev"})
    known = Table(names, frozenset(), {"det": frozenset({"hessian/fwd-rev"})}, {})
    monkeypatch.setattr(unsafe, "table", lambda: known)
    right, refused = row("fwd-fwd", "probe-b", "ok"), row("fwd-rev", "probe-b", "wrong")
    rows = [right, refused, row("rev-rev", "probe-b", "wrong"), row("rev-rev", "probe-a", "wrong")]
    assert new_errors(rows) == ["probe-a: hessian/rev-rev", "probe-b: hessian/rev-rev"]


@pytest.mark.usefixtures("planted_probes")
def test_writing_leaves_other_releases(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"1.0": {"kept": True}}))
    write(findings([row("s", "probe-a", "ok"), row("s", "probe-b", "wrong")]), path)
    written = json.loads(path.read_text())
    assert written.pop("1.0") == {"kept": True}
    (mine,) = written.values()
    assert mine["wrong"] == {"det": ["hessian/s"]}
    assert mine["strategies"] == ["hessian/s"]


def test_every_strategy_meets_at_least_twenty_two_probes() -> None:
    met: dict[tuple[str, str, str], set[str]] = {}
    for case in cells():
        met.setdefault((case.operator, case.strategy, case.execution), set()).add(case.workload)
    assert len(PROBES) >= 22
    slow = [strategy for strategy in STRATEGIES.values() if slow_to_trace(strategy)]
    assert len(met) == 2 * len(STRATEGIES) - len(slow)
    assert all(found == set(PROBES) for found in met.values())


def test_a_cell_is_an_ordinary_case() -> None:
    case = cells(["jacobian/vmap-jacrev/probe-det"])[0]
    assert isinstance(case, Case)
    assert case.id == "jacobian/vmap-jacrev/probe-det/m=2/B=3/float64/cpu"


def test_a_planted_wrong_strategy_is_found_and_a_cut_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    asked = ["bench", "coverage", "--only", "jacobian/", "--only", "probe-mlp", "--only", "pl"]
    asked += ["--strategies", str(tmp_path / "planted.py"), "--results", str(tmp_path)]
    done = command(*asked)
    assert done.returncode == 1, done.stderr
    assert "jacobian/planted" in done.stderr
    path = Path(done.stdout.strip())
    whole = path.read_text().splitlines(keepends=True)
    kept = [line for line in whole if '"kind":"row"' in line or '"kind":"run"' in line][:4]
    path.write_text("".join(kept) + '{"kind":"row","opera')
    again = command(*asked, "--resume", str(path))
    assert again.returncode == 1, again.stderr
    run = load(path)
    ids = list(run.rows["id"])
    assert len(ids) == len(set(ids)) == len([line for line in whole if '"kind":"row"' in line])
    assert set(run.rows.loc[run.rows["strategy"] == "planted", "status"]) == {"wrong"}
    lead, wrong, *_ = coverage_section.section(run).blocks
    assert isinstance(wrong, Sheet)
    assert [cell.text for cell in wrong.rows[0]][:3] == ["mlp", "jacobian", "planted"]
    assert "2 WRONG" in lead.text


def test_a_table_is_not_written_from_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--only", "probe-mlp", "--write"]) == 2
    said = "bench: --write takes every cell: leave --only and --execution\n"
    assert capsys.readouterr().err == said


def test_other_executions_are_asked_for_by_name() -> None:
    found = cells(["jacobian/vmap-jacrev/probe-mlp"], ["compile"])
    assert [case.execution for case in found] == ["compile"]
