"""The tables of docs/choosing.md: from planted runs what was planted, and those of the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import rows, write

from reports.__main__ import main
from reports.answer import Answer, answer
from reports.choosing import costs_table, regret_table, rule_table
from reports.load import load
from reports.markdown import between_markers

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "docs" / "published"
# Of a Jacobian at n inputs, in milliseconds: a closed form that refuses from 16 on, two others.
SECONDS = {"closed-form-reverse": 1e-3, "jacrev-sum": 2e-3, "loop-grad": 8e-3, "vmap-jacrev": 4e-3}
RULE = {
    "cpu": {
        "lists": {
            "evaluate": {
                "jacobian": [
                    {"when": "n > 16", "take": ["loop-grad", "jacrev-sum"]},
                    {"take": ["closed-form-reverse", "jacrev-sum", "loop-grad"]},
                ]
            },
            "train": {"jacobian": [{"take": ["jacrev-sum", "loop-grad"]}]},
        }
    }
}
NEEDS = {
    "jacobian/closed-form-reverse": {"exact": True, "needs": ["chain", "sum"]},
    "jacobian/jacrev-sum": {"exact": True, "needs": ["sum"]},
}


@pytest.fixture
def found(tmp_path: Path) -> Answer:
    lines = rows(
        lambda name, n: SECONDS[name], strategies=list(SECONDS), sizes=(8, 16, 32), noise=0
    )
    for line in lines:
        line["forward_s"] = [0.5e-3] * 3
        if line["strategy"] == "closed-form-reverse" and line["n"] >= 16:
            line.update(status="unsupported", reason="no chain", wall_s=[])
    return answer(load(write(tmp_path / "run.jsonl", lines, strategies=NEEDS)))


def cells(table: str) -> list[list[str]]:
    """Without the two lines of the head."""
    return [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_each_list_says_what_it_brought_where_it_holds(found: Answer) -> None:
    large, small, train = cells(rule_table(RULE, found))
    assert large == ["jacobian", "n > 16", "`loop-grad`", "1", "1.00×", "0.50×", "16"]
    # Of two problems the closed form answers one: 8 times and 4 times as fast as the loop.
    names = "`closed-form-reverse`, `jacrev-sum`"
    assert small == ["jacobian", "else", names, "2", "5.66×", "2.83×", "2.0 to 4.0"]
    assert train == ["jacobian", "train", "`jacrev-sum`", "0", "–", "–", "–"]


def test_costs_are_of_the_problem_nearest_to_one_size(found: Answer) -> None:
    lines = cells(costs_table(found))
    assert [line[1] for line in lines] == ["`jacrev-sum`", "`vmap-jacrev`", "`loop-grad`"]
    assert lines[0][0] == "jacobian, net n=16 B=4 float32 cpu"
    assert [line[3] for line in lines] == ["4.00", "8.00", "16.0"]
    assert {line[6] for line in lines} == {"–"}


def test_a_need_that_few_meet_is_said(found: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.choosing.SIZE", {"n": 8, "B": 4})
    assert cells(costs_table(found))[0][6] == "a chain of layers"


def test_regret_has_a_line_for_each_choice_and_set(found: Answer, tmp_path: Path) -> None:
    names = [*SECONDS, "auto-rule", "auto-race"]
    times = SECONDS | {"auto-rule": 2e-3, "auto-race": 1e-3}
    lines = rows(lambda name, n: times[name], strategies=names, noise=0, passes=4)
    for line in lines:
        line["chosen"] = "jacrev-sum" if line["strategy"] == "auto-rule" else None
    judged = answer(load(write(tmp_path / "judged.jsonl", lines, strategies=NEEDS)))
    found_lines = cells(regret_table(("one", judged), ("two", judged)))
    assert [line[0] for line in found_lines[:4]] == [
        "`auto-rule`, one",
        "`auto-race`, one",
        "torch.func defaults, one",
        "always a loop, one",
    ]
    assert [line[2].split()[0] for line in found_lines[:4]] == ["2.00×", "1.00×", "4.00×", "8.00×"]
    assert len(found_lines) == 8
    assert found_lines[0][6] == "10.0 ms, at most 10.0 ms"
    assert found_lines[2][6] == "–"


def test_without_its_markers_a_page_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    run = str(write(tmp_path / "run.jsonl", rows(lambda name, n: 1e-3, strategies=["loop-grad"])))
    assert main(["choosing", run, "--into", str(page)]) == 2
    assert "has no lines <!-- regret … -->" in capsys.readouterr().err


def test_the_page_holds_the_tables_of_the_published_runs() -> None:
    """`make readme` writes them."""
    names = ("cpu", "choice-cpu", "skewed-cpu", "heldout-cpu")
    run, choice, skewed, heldout = (load(PUBLISHED / f"{name}.jsonl.gz") for name in names)
    text = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    rule = json.loads((ROOT / "strategies" / "rule.json").read_text(encoding="utf-8"))
    own = answer(run)
    tables = {
        "regret": regret_table(("default grid", own), ("held-out networks", answer(heldout))),
        "rule": rule_table(rule, answer(run, choice, skewed)),
        "costs": costs_table(own),
    }
    for marker, table in tables.items():
        assert between_markers(text, table, "choosing.md", marker) == text


def test_of_problems_as_near_the_one_that_most_solve_is_shown(tmp_path: Path) -> None:
    """Whatever the order of the rows."""
    few = rows(lambda name, n: 1e-3, strategies=["loop-grad"], workload="a-net")
    many = rows(lambda name, n: SECONDS[name], strategies=list(SECONDS), workload="b-net")
    for k, lines in enumerate(([*few, *many], [*many, *few])):
        found = answer(load(write(tmp_path / f"{k}.jsonl", lines, strategies=NEEDS)))
        assert cells(costs_table(found))[0][0] == "jacobian, b-net n=16 B=4 float32 cpu"
