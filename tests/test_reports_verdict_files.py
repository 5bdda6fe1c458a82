"""verdicts.json, JUnit XML, Markdown and the terminal say what the judge said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from made_comparisons import made

from reports.schema import VERDICTS
from reports.verdict_files import MOST_BYTES, as_dict, as_json, junit, markdown, text
from reports.verdicts import Comparison, Judgement, Verdict, exit_code, judge
from reports.waivers import Waiver, waive


def every_word() -> Judgement:
    """One case of every word, one waived, and the unchanged ones."""
    names = ["slow", "waived", "fast", "noisy", "gone", "fails", "fixed", "never"]
    comparison = made(dict.fromkeys(names, 1.0) | {"slow": 1.3, "waived": 1.2, "fast": 0.7})
    comparison.screen["noisy"] *= 9
    head = {**comparison.head, "fails": "wrong", "never": "oom", "fresh": "ok"}
    del head["gone"]
    base = {**comparison.base, "fixed": "error", "never": "oom"}
    why = {"fails": "relative error 1 | <b>\nTraceback"}
    found = judge(replace(comparison, base=base, head=head, reasons=why))
    waiver = Waiver("waived", 1.5, date(2027, 1, 1), "known")
    return waive(found, [waiver, replace(waiver, case="none")], date(2026, 1, 1))


WHOLE = every_word()
MOVED = judge(made({"slow": 1.3, "gemm": 1.2}))


def test_every_word_is_there() -> None:
    assert set(WHOLE.counts) == set(VERDICTS)


def test_json_holds_every_number_and_no_nan() -> None:
    found = json.loads(as_json(WHOLE, "title"))
    assert found == {"title": "title", **as_dict(WHOLE)}
    cases = {case["case"]: case for case in found["cases"]}
    assert cases["slow"]["ratio"] == next(v.ratio for v in WHOLE.verdicts if v.case == "slow")
    assert (cases["gone"]["ratio"], cases["gone"]["word"]) == (None, "removed")
    assert cases["waived"]["waived"].endswith("known")
    assert (found["exit_code"], found["contaminated"], found["counts"]["slower"]) == (1, False, 2)
    assert found["rules"]["confirm_ratio"] == 1.05
    assert len(found["controls"]) == 6
    strict = as_dict(judge(made({"noisy": 1.0}, sd=0.06)), strict=True)
    assert (strict["exit_code"], strict["strict"]) == (3, True)


def results(judgement: Judgement) -> dict[str, tuple[str, str]]:
    """Of each JUnit test its outcome and message."""
    root = ElementTree.fromstring(junit(judgement))
    found = {}
    for test in root.iter("testcase"):
        [child] = [*test] or [ElementTree.Element("passed")]
        found[test.get("name")] = (child.tag, child.get("message", ""))
    for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert root.get(plural) == str(sum(outcome == tag for outcome, _ in found.values()))
    assert root.get("tests") == str(len(found))
    assert (root.findtext("system-out") or "").splitlines() == list(judgement.notes)
    return found


def test_junit_has_an_outcome_for_every_word() -> None:
    found = results(WHOLE)
    expected = {
        **dict.fromkeys(["slow", "gone", "fails"], "failure"),
        **dict.fromkeys(["waived", "noisy", "never"], "skipped"),
        **dict.fromkeys(["fast", "fixed", "fresh", "other-0", "gemm (screen)"], "passed"),
    }
    assert {name: found[name][0] for name in expected} == expected
    assert re.match(r"slower: 1\.\d+× \(.*\); MDE \+\d\.\d %$", found["slow"][1])
    assert "often be missed" in found["noisy"][1]
    assert "until 2027-01-01: known" in found["waived"][1]


def test_junit_of_a_contaminated_run_has_an_error_for_the_control_and_no_failure() -> None:
    found = results(MOVED)
    assert found["gemm (screen)"][0] == found["gemm (confirm)"][0] == "error"
    assert "gemm took 1.2" in found["gemm (screen)"][1]
    assert found["slow"][0] == "skipped"
    assert "contaminated" in found["slow"][1]


def cells(page: str) -> list[list[str]]:
    """The cells of the table's rows, without its head."""
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows[2:]]


def test_markdown_has_a_row_for_each_case_worst_first() -> None:
    page = markdown(WHOLE, "A <b> → B")
    assert page.startswith("# A &lt;b&gt; → B\n\n**1 failing, 1 removed, 2 slower, ")
    assert "(1 slower waived)" in page
    assert "- the waiver of none covers no case\n" in page
    table = cells(page)
    assert {len(row) for row in table} == {6}
    assert [row[1].strip(" `") for row in table] == [v.case for v in WHOLE.verdicts]
    assert [row[0].strip() for row in table[:4]] == [
        *("**failing**", "**removed**", "**slower**", "slower, waived"),
    ]
    assert table[0][5].strip() == "wrong: relative error 1 &#124; &lt;b&gt;"


def test_markdown_says_that_it_was_contaminated() -> None:
    page = markdown(MOVED)
    assert "**contaminated: 21 unclear**" in page
    assert "- **contaminated**: gemm took 1.2" in page


def crowd(count: int, length: int) -> Judgement:
    reason = "µ" * length
    return Judgement(tuple(Verdict(f"case-{i}", "failing", reason) for i in range(count)))


def test_markdown_fits_a_job_summary_and_says_what_it_left_out() -> None:
    page = markdown(crowd(5000, 200))
    size, kept = len(page.encode()), len(cells(page))
    assert 0.99 * MOST_BYTES < size <= MOST_BYTES
    assert f"\n{5000 - kept} of 5000 cases are left out, the least bad; verdicts.json" in page
    assert "left out" not in markdown(crowd(1000, 200))


@pytest.mark.parametrize("count", [0, 1, 40, 10_000])
def test_markdown_has_room_for_any_number_of_notes(count: int) -> None:
    page = markdown(replace(crowd(3, 9), notes=("n" * 5000,) * count), limit=20_000)
    assert len(page.encode()) <= 20_000
    assert page.count("nnn…") == min(count, 40)
    assert ("and 9960 more, in verdicts.json" in page) == (count > 40)


def test_the_terminal_says_the_worst_and_how_much_more_there_is() -> None:
    lines = text(WHOLE, most=3).splitlines()
    assert lines[0].startswith("1 failing, 1 removed, 2 slower")
    assert lines[1] == "the waiver of none covers no case"
    assert lines[3] == "removed: gone"
    assert (lines[4][:12], lines[5]) == ("slower: slow", "and 6 more")
    assert "contaminated: gemm took" in text(MOVED)


def test_counters_that_differ_are_said() -> None:
    found = Verdict("x", "unclear", "unpaired", counters={"ops": (54.0, 2290.0)})
    judgement = Judgement((found,))
    for said in (text(judgement), markdown(judgement), junit(judgement)):
        assert "ops 54 → 2,290" in said
    assert as_dict(judgement)["cases"][0]["counters"] == {"ops": [54, 2290]}


anything = some.text(max_size=40)


@settings(max_examples=100, deadline=None)
@given(case=anything, reason=anything, title=anything)
def test_no_text_breaks_a_file(case: str, reason: str, title: str) -> None:
    case, reason, title = (
        part.encode("utf-8", "replace").decode() for part in (case, reason, title)
    )
    odd = f"x{case}"
    base = {odd: "ok", "y": "ok"}
    arms = {"base": base, "head": {**base, odd: "wrong"}, "reasons": {odd: f"r{reason}"}}
    judgement = judge(Comparison(**arms, screen=made({"y": 1.0}).screen))
    tests = ElementTree.fromstring(junit(judgement, title)).findall("testcase")
    assert [test.find("failure") is not None for test in tests] == [True, False]
    assert [len(row) for row in cells(markdown(judgement, title))] == [6, 6]
    assert json.loads(as_json(judgement, title))["cases"][0]["case"] == odd
    assert exit_code(judgement) == 1
