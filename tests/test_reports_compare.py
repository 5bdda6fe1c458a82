"""Two stored files: what is compared, what is said of it, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import GOLDEN, header, rows, write
from scipy import stats

from reports.__main__ import main
from reports.compare import compare, welch
from reports.comparison import Verdict
from reports.load import load
from reports.pairs import barred, paired, statuses
from reports.verdicts import judge

Lines = list[dict[str, Any]]
SECONDS = {"a": 1e-3, "b": 4e-3}
CASE = "jacobian/{}/net/n=16/B=4/float32/cpu"


def arm(seconds: dict[str, float] = SECONDS, **fields: Any) -> Lines:
    return rows(lambda s, n: seconds[s], strategies=list(seconds), **fields)


def changed(strategy: str, **fields: Any) -> Lines:
    """An arm in which the rows of one strategy have other fields."""
    return [line | (fields if line["strategy"] == strategy else {}) for line in arm()]


def verdicts(tmp_path: Path, base: Lines, head: Lines, **fields: Any) -> dict[str, Verdict]:
    files = write(tmp_path / "a.jsonl", base), write(tmp_path / "b.jsonl", head, **fields)
    return {verdict.case: verdict for verdict in compare(*map(load, files)).verdicts}


def test_the_interval_is_welchs() -> None:
    draw = np.random.default_rng(0)
    before, after = draw.normal(0, 1, 5), draw.normal(1, 3, 8)
    expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
    found = welch(before, after)
    assert found == pytest.approx((after.mean() - before.mean(), expected.low, expected.high))


def test_one_pass_has_no_interval_and_equal_passes_have_none_to_speak_of() -> None:
    assert welch([1.0], [3.0, 3.5])[0] == 2.25
    assert np.isnan(welch([1.0], [3.0, 3.5])[1:]).all()
    assert welch([1.0, 1.0], [3.0, 3.0]) == (2, 2, 2)


def test_times_are_unclear_whatever_they_are(tmp_path: Path) -> None:
    found = verdicts(tmp_path, arm(), arm({"a": 5e-3, "b": 1e-3}))
    assert {v.word for v in found.values()} == {"unclear"}
    assert {v.reason for v in found.values()} == {"unpaired"}
    ratio = found[CASE.format("a")]
    assert ratio.ratio == pytest.approx(5, rel=0.02)
    assert ratio.low < 5 < ratio.high < 5.5


def test_only_counters_that_differ_are_named(tmp_path: Path) -> None:
    head = changed("a", counters={"ops": 12, "peak_bytes": 16000, "flops": 3})
    found = verdicts(tmp_path, arm(), head)
    assert found[CASE.format("a")].counters == {"ops": (10, 12)}
    assert found[CASE.format("b")].counters == {}


def test_another_version_of_a_workload_is_not_comparable(tmp_path: Path) -> None:
    versions = {"net": {"text": "", "version": 2}}
    found = verdicts(tmp_path, arm(), arm(), workloads=versions)
    assert {(v.word, v.reason) for v in found.values()} == {
        ("not-comparable", "version 2 of workload net, in base 0")
    }


def test_another_contract_is_not_comparable(tmp_path: Path) -> None:
    found = verdicts(tmp_path, arm(), arm(), contract=2)
    assert {v.reason for v in found.values()} == {"contract 2 of strategies, in base 1"}


def test_a_case_is_what_its_worst_pass_is(tmp_path: Path) -> None:
    head = arm()
    head[0] |= {"status": "crashed", "reason": "segmentation fault"}
    found = verdicts(tmp_path, arm(), head)[CASE.format("a")]
    assert (found.word, found.reason) == ("failing", "crashed: segmentation fault")


def run(tmp_path: Path, base: Lines, head: Lines, **fields: Any) -> int:
    files = write(tmp_path / "a.jsonl", base), write(tmp_path / "b.jsonl", head, **fields)
    return main(["compare", *map(str, files)])


@pytest.mark.parametrize(
    ("head", "code", "said"),
    [
        (arm, 0, "2 unclear"),
        (lambda: arm({"a": 9.0, "b": 9.0}), 0, "2 unclear"),
        (lambda: arm({"a": 1.0}), 1, f"removed: {CASE.format('b')}\n"),
        (lambda: changed("b", status="wrong", reason="far off"), 1, "wrong: far off\n"),
        (lambda: arm({"a": 1.0, "c": 1.0}), 1, "1 removed, 1 unclear and 1 new"),
        (lambda: arm({**SECONDS, "c": 1.0}), 0, "2 unclear and 1 new"),
        (lambda: arm({"c": 1.0}), 2, "they have no case in common"),
        (lambda: arm(workload="other"), 2, "they have no case in common"),
        (lambda: [], 2, "b.jsonl holds no rows"),
    ],
    ids=[
        *("equal", "slower", "removed", "failing", "renamed", "new", "foreign", "all-renamed"),
        "empty",
    ],
)
def test_exit_codes(
    tmp_path: Path,
    head: Callable[[], Lines],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, arm(), head()) == code
    out, err = capsys.readouterr()
    assert said in (err if code == 2 else out)
    assert err.count("\n") == (code == 2)


def test_nothing_but_barred_cases_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, arm(), arm(), contract=2) == 2
    assert "every case of both is not-comparable" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "not json", '{"kind": "run", "schema": 99}\n'])
def test_an_invalid_file_is_2_and_one_line(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(text)
    for files in ((GOLDEN, bad), (bad, GOLDEN), (tmp_path / "none.jsonl", GOLDEN)):
        assert main(["compare", *map(str, files)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_another_machine_is_named_fact_by_fact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = {**header()["environment"], "cpu": "Other CPU", "torch": "2.14.0"}
    assert run(tmp_path, arm(), arm(), environment=elsewhere) == 0
    out = capsys.readouterr().out
    assert "another environment: cpu was 'Test CPU' and is 'Other CPU'\n" in out
    assert "another environment: torch was '2.13.0+cpu' and is '2.14.0'\n" in out
    assert out.count("another environment") == 2


def test_what_is_odd_about_a_file_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, arm(), arm(), warnings=["not pinned"]) == 0
    assert f"{tmp_path / 'b.jsonl'}: not pinned\n" in capsys.readouterr().out


def test_files_are_written_by_their_ending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [tmp_path / name for name in ("v.json", "v.xml", "v.md")]
    asked = [part for path in outputs for part in ("-o", str(path))]
    assert main(["compare", str(GOLDEN), str(GOLDEN), *asked]) == 0
    assert json.loads(outputs[0].read_text())["counts"] == {"unclear": 2, "not-comparable": 1}
    assert outputs[1].read_text().startswith("<?xml")
    assert outputs[2].read_text().startswith(f"# {GOLDEN} → {GOLDEN}\n")
    capsys.readouterr()
    assert main(["compare", str(GOLDEN), str(GOLDEN), "-o", "v.txt"]) == 2
    assert "one of .json, .xml, .md" in capsys.readouterr().err


def test_the_golden_file_against_itself() -> None:
    found = compare(load(GOLDEN), load(GOLDEN)).verdicts
    assert [v.word for v in found] == ["unclear", "unclear", "not-comparable"]
    assert {v.ratio for v in found[:2]} == {1}


ARMS = {"a": 1e-3, "b": 4e-3, "gemm": 1e-2}


def with_control(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for line in lines:
        line["operator"] = "control" if line["strategy"] == "gemm" else line["operator"]
    return lines


def stage(tmp_path: Path, name: str, seconds: dict[str, float], passes: int) -> Any:
    lines = with_control(arm(seconds, passes=passes, noise=0.001))
    return load(write(tmp_path / f"{name}.jsonl", lines, passes=passes))


def test_two_arms_of_two_stages_are_judged(tmp_path: Path) -> None:
    slow = {**ARMS, "a": 1.3e-3}
    base = [stage(tmp_path, f"base-{k}", ARMS, k) for k in (8, 10)]
    head = [stage(tmp_path, f"head-{k}", slow, k) for k in (8, 10)]
    comparison = paired(base, head)
    assert comparison.controls == {CASE.format("gemm").replace("jacobian/", "control/")}
    assert (comparison.screen.shape, comparison.confirm.shape) == ((8, 3), (10, 3))
    logs = np.log([line["wall_s"][0] for line in arm(slow, passes=8, noise=0.001)])
    logs -= np.log([line["wall_s"][0] for line in arm(ARMS, passes=8, noise=0.001)])
    assert comparison.screen[CASE.format("a")].tolist() == pytest.approx(logs[::3].tolist())
    judgement = judge(comparison)
    assert {v.case: v.word for v in judgement.verdicts} == {
        CASE.format("a"): "slower",
        CASE.format("b"): "same",
    }
    assert len(judgement.controls) == 2
    assert paired(base[:1], head[:1]).confirm is None


def test_a_pass_that_left_nothing_is_a_missing_pair(tmp_path: Path) -> None:
    whole = stage(tmp_path, "base", ARMS, 8)
    lines = [line for line in with_control(arm(ARMS, passes=8)) if line["pass"] != 3]
    cut = load(write(tmp_path / "head.jsonl", lines, passes=8))
    short = with_control(arm(ARMS, passes=7))
    never = load(write(tmp_path / "short.jsonl", short, passes=8))
    for base, head in ((whole, cut), (whole, never), (never, never), (never, whole)):
        found = judge(paired([base], [head])).verdicts
        assert {v.reason for v in found} == {"7 of 8 pairs of passes have both times"}


def test_what_the_golden_file_says_of_itself() -> None:
    run_ = load(GOLDEN)
    assert sorted(statuses(run_.rows).values()) == ["ok", "ok", "wrong"]
    assert barred(run_, run_) == {}
