"""Reading result files: what is whole is read, what is broken is named."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import GOLDEN, rows, write

from reports.load import ResultFileError, load
from reports.machine import machine
from reports.schema import AXES, case_id, contest_id, way

Change = Callable[[list[str]], list[str]]


def test_the_golden_file_is_read_whole() -> None:
    run = load(GOLDEN)
    assert (len(run.rows), run.name, run.warnings) == (6, "20260101T000000Z-0123abcd", ())
    assert run.rows["execution"].eq("eager").all()


def test_a_cut_last_line_is_reported_and_all_before_it_read(tmp_path: Path) -> None:
    text = GOLDEN.read_text()
    cut = tmp_path / "cut.jsonl"
    cut.write_text(text[: text.rindex('"wall_s":60.0')])
    run = load(cut)
    assert len(run.rows) == 6
    assert "the last line (line 9) was cut in the middle; the 8 lines before it" in run.warnings[0]
    assert "did not end" in run.warnings[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: ["{broken", *lines], "line 1: not a line of JSON"),
        (lambda lines: [lines[0], "[1]", *lines[1:]], "line 2: not a line of a result file"),
        (lambda lines: lines[1:], "does not begin with a run line"),
        (lambda lines: [], "does not begin with a run line"),
        (lambda lines: [lines[0].replace('"schema":1', '"schema":99')], "has schema 99; this"),
    ],
    ids=["broken", "foreign", "headless", "empty", "schema"],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, change: Change, said: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(change(GOLDEN.read_text().splitlines())))
    with pytest.raises(ResultFileError, match=re.escape(said)) as raised:
        load(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError, match=r"cannot read .*: No such file"):
        load(tmp_path / "none.jsonl")


def test_a_compressed_file_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(gzip.compress(GOLDEN.read_bytes()))
    assert load(path).rows.equals(load(GOLDEN).rows)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ResultFileError, match="cannot read "):
        load(path)


def test_absent_fields_take_their_defaults(tmp_path: Path) -> None:
    line = {"kind": "row", "operator": "jacobian", "strategy": "s", "workload": "w", "status": "ok"}
    run = load(write(tmp_path / "r.jsonl", [line]))
    assert run.rows.loc[0, "dtype"] == AXES["dtype"]
    assert run.rows.loc[0, "wall_s"] == []


def test_names_of_cases_contests_and_ways() -> None:
    axes = {**AXES, "operator": "jacobian", "strategy": "s", "workload": "w", "params": {"n": 2}}
    axes |= {"B": 4, "execution": "traced", "create_graph": True}
    assert case_id(axes) == "jacobian/s/w/n=2/B=4/float32/cpu/execution=traced/create_graph=True"
    assert contest_id(axes) == "jacobian/w/n=2/B=4/float32/cpu/create_graph=True"
    assert way(axes) == "s execution=traced"


def test_a_status_nobody_knows_is_an_error(tmp_path: Path) -> None:
    run = load(write(tmp_path / "r.jsonl", rows(lambda s, n: 1, strategies=["a"], status="odd")))
    assert set(run.rows["status"]) == {"error"}
    assert run.rows.loc[0, "reason"] == "unknown status 'odd'"


def test_what_the_runner_found_odd_and_how_it_ended_last_is_said(tmp_path: Path) -> None:
    stopped = {"kind": "end", "interrupted": True}
    again = {"kind": "resume", "warnings": ["pinned was [1] and is [0]"]}
    odd = write(tmp_path / "r.jsonl", [stopped, again], warnings=["not pinned"])
    assert load(odd).warnings == ("not pinned", "pinned was [1] and is [0]")
    lost = write(tmp_path / "r.jsonl", [])
    lost.write_text(lost.read_text() + json.dumps(again) + "\n" + json.dumps(stopped) + "\n")
    assert "did not end" in load(lost).warnings[-1]


def test_controls_are_no_cases_and_say_how_fast_the_machine_is(tmp_path: Path) -> None:
    product = rows(lambda *_: 2e-3, strategies=["matrix-product"], operator="control", noise=0)
    for row in product:
        row |= {"counters": {"flops": 10**8}, "n": 512}
    cases = rows(lambda *_: 1e-3, strategies=["loop-grad"])
    run = load(write(tmp_path / "run.jsonl", [*cases, *product]))
    assert set(run.rows["operator"]) == {"jacobian"}
    assert machine(run.controls) == {"matrix-product, float32, size 512": "50.0 GFLOP/s ± 3 %"}
