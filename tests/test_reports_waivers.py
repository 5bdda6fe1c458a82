"""Waivers: what they cover, until when, up to what; and files that are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from made_comparisons import made

from reports.verdicts import Verdict, exit_code, judge
from reports.waivers import Waiver, WaiverFileError, read_waivers, waive

TODAY = date(2027, 3, 31)
WAIVER = Waiver("loop/*", 1.25, TODAY, "a check that the contract asks for")
SLOWER = judge(made({"loop/a": 1.2}, sd=0.002))


def waived(waiver: Waiver, today: date = TODAY) -> tuple[Verdict, int, tuple[str, ...]]:
    judgement = waive(SLOWER, [waiver], today)
    assert len(judgement.verdicts) == len(SLOWER.verdicts)
    return judgement.verdicts[0], exit_code(judgement), judgement.notes


def test_without_a_waiver_it_fails() -> None:
    assert (exit_code(SLOWER), waive(SLOWER, [], TODAY)) == (1, SLOWER)


@pytest.mark.parametrize("case", ["loop/a", "loop/*", "*", "loop/?"])
def test_within_its_ceiling_a_slower_case_is_waived_on_its_last_day_too(case: str) -> None:
    verdict, code, notes = waived(replace(WAIVER, case=case))
    judgement = waive(SLOWER, [replace(WAIVER, case=case)], TODAY)
    assert [v.case for v in judgement.verdicts if v.waived] == ["loop/a"]
    assert (verdict.word, code, notes) == ("slower", 0, ())
    assert verdict.waived == "up to 1.25× until 2027-03-31: a check that the contract asks for"


def test_an_id_with_brackets_is_an_id() -> None:
    assert replace(WAIVER, case="loop[1]").covers("loop[1]")


def test_above_its_ceiling_it_fails() -> None:
    verdict, code, _ = waived(replace(WAIVER, ceiling=1.15))
    assert (verdict.waived, code) == ("", 1)
    assert verdict.reason == "above the ceiling of its waiver, 1.15×"


def test_an_expired_waiver_is_an_error_that_is_said_and_the_verdict_counts_again() -> None:
    verdict, code, notes = waived(WAIVER, date(2027, 4, 1))
    assert (verdict.waived, code) == ("", 1)
    said = "the waiver of loop/* expired on 2027-03-31; slower cases that count again: 1"
    assert notes == (f"error: {said}",)


def test_an_expired_waiver_of_nothing_slower_is_an_error_too() -> None:
    _, _, notes = waived(replace(WAIVER, case="other-0"), date(2027, 4, 1))
    assert notes == ("error: the waiver of other-0 expired on 2027-03-31",)


def test_a_waiver_that_covers_no_case_is_named() -> None:
    verdict, code, notes = waived(replace(WAIVER, case="LOOP/*"))
    assert (verdict.waived, code, notes) == ("", 1, ("the waiver of LOOP/* covers no case",))


def test_only_slower_can_be_waived() -> None:
    comparison = made({"loop/a": 1.2, "loop/b": 1.0, "loop/c": 0.7})
    gone = {case: "ok" for case in comparison.head if case != "loop/b"}
    judgement = waive(judge(replace(comparison, head=gone)), [WAIVER], TODAY)
    assert [(v.case, v.word, bool(v.waived)) for v in judgement.verdicts[:3]] == [
        ("loop/b", "removed", False),
        ("loop/a", "slower", True),
        ("loop/c", "faster", False),
    ]
    assert exit_code(judgement) == 1


GOOD = """
[[waiver]]
case = "loop/*"
ceiling = 1.25
expires = 2027-03-31
reason = "a check that the contract asks for"
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(GOOD + GOOD.replace("1.25", "2").replace("loop/*", "x"))
    assert read_waivers(path) == (WAIVER, replace(WAIVER, case="x", ceiling=2))
    path.write_text("")
    assert read_waivers(path) == ()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[[waiver]]", "[waiver]", r"it holds \[\[waiver\]\] entries and nothing else"),
        ("[[waiver]]", "[[waivers]]", r"it holds \[\[waiver\]\] entries and nothing else"),
        ("[[waiver]]", "[[", "cannot read .*Invalid"),
        ("ceiling = 1.25", "", "waiver 1: it has case, ceiling, expires and reason"),
        ("ceiling = 1.25", "ceiling = 1.25\nby = 'me'", "waiver 1: it has case, ceiling"),
        ("1.25", "'1.25'", "waiver 1: ceiling is a ratio above 1"),
        ("1.25", "0.9", "waiver 1: ceiling is a ratio above 1"),
        ("1.25", "inf", "waiver 1: ceiling is a ratio above 1"),
        ("1.25", "true", "waiver 1: ceiling is a ratio above 1"),
        ("2027-03-31", "'2027-03-31'", "waiver 1: expires is a date such as"),
        ("2027-03-31", "2027-03-31T00:00:00", "waiver 1: expires is a date such as"),
        ('"loop/*"', "7", "waiver 1: case is a text"),
        ('"loop/*"', '" "', "waiver 1: case and reason say something"),
    ],
)
def test_a_broken_file_is_one_clear_line(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(WaiverFileError, match=said) as raised:
        read_waivers(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(WaiverFileError, match=r"cannot read .*none.toml: No such file"):
        read_waivers(tmp_path / "none.toml")
