"""Verdicts from planted counts of instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import made_runs
import pytest

from reports.comparison import Judgement, Verdict, exit_code
from reports.instructions import judge
from reports.load import Run, load
from reports.verdict_files import as_dict, markdown, text

BASE = {"interpreter": 600, "malloc": 300, "at::add": 50, "at::mul": 50}


def arm(
    path: Path, counts: Mapping[str, Sequence[int]], functions: Mapping[str, int] = BASE
) -> Run:
    """A result file of counts; a case without any is wrong."""
    found = []
    for case, rounds in counts.items():
        fields = {"instructions": list(rounds), "functions": dict(functions), "wall_s": []}
        [row] = made_runs.rows(lambda *_: 1.0, strategies=[case], passes=1)
        found.append({**row, **fields, **({} if rounds else {"status": "wrong"})})
    return load(made_runs.write(path, found))


@pytest.fixture
def judged(tmp_path: Path):
    def between(base, head, functions=BASE) -> Judgement:
        return judge(
            arm(tmp_path / "base.jsonl", base), arm(tmp_path / "head.jsonl", head, functions)
        )

    return between


def only(judgement: Judgement) -> Verdict:
    [verdict] = judgement.verdicts
    return verdict


@pytest.mark.parametrize(
    ("head", "word", "code"),
    [
        ([1000, 1001, 1000], "same", 0),
        ([1019, 1021, 1020], "same", 0),
        ([1021, 1021, 1021], "slower", 1),
        ([979, 980, 979], "faster", 0),
        ([981, 982, 981], "same", 0),
        ([1100, 1121, 1130], "unclear", 0),
        ([], "failing", 1),
    ],
)
def test_two_percent_is_the_line(judged, head: list[int], word: str, code: int) -> None:
    judgement = judged({"a": [1000, 1002, 1003]}, {"a": head})
    assert (only(judgement).word, exit_code(judgement)) == (word, code)


def test_ratio_is_of_the_least_of_each_arm(judged) -> None:
    verdict = only(judged({"a": [1010, 1000, 1005]}, {"a": [1060, 1059, 1050]}))
    assert verdict.ratio == pytest.approx(1.05)
    assert verdict.counters == {"instructions": (1000, 1050)}


def test_reason_names_the_three_functions_that_moved_most(judged) -> None:
    functions = {"interpreter": 610, "malloc": 280, "at::add": 52, "at::mul": 50, "at::sub": 100}
    verdict = only(judged({"a": [1000] * 3}, {"a": [1092] * 3}, functions))
    moved = verdict.reason.partition(";")[0]
    assert moved == "what moved: at::sub +10.0 %, malloc -2.0 %, interpreter +1.0 %"


def test_jitter_of_each_arm_is_printed_with_its_worst_case(judged) -> None:
    counts = {"a": [1000, 1001], "b": [1000, 1007], "c": [1000, 1002]}
    notes = judged(counts, {"a": [1000, 1000]}).notes
    assert "jitter of base: 3 cases, 2 rounds of each, differ by 0.20 % (median)" in notes[0]
    assert "at most 0.70 % (jacobian/b/" in notes[0]
    assert "jitter of head: 1 cases" in notes[1]


def test_cases_of_one_arm_are_new_and_removed(judged) -> None:
    judgement = judged({"a": [1000], "old": [1000]}, {"a": [1000], "young": [1000]})
    assert judgement.counts == {"removed": 1, "new": 1, "same": 1}


def test_every_output_takes_it(judged) -> None:
    judgement = judged({"a": [1000] * 3}, {"a": [1100] * 3})
    assert as_dict(judgement)["rules"] == {"least": 0.02}
    assert "1.100×" in markdown(judgement)
    assert "instructions 1,000 → 1,100" in text(judgement)
