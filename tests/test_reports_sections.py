"""The sections of the page: planted runs, and what each section says of them, by hand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from made_comparisons import made
from made_runs import rows, write
from processes import ROOT

from bench.__main__ import parser as bench_parser
from reports import advice, points, verdict_files
from reports.__main__ import main
from reports.answer import Answer, answer
from reports.blocks import Block, Drawing, Fold, Prose, Section, Sheet
from reports.export import as_json
from reports.limits import rates
from reports.load import load
from reports.page import marked
from reports.sections import changes, crossover, failures, limits, results, stability, use
from reports.verdicts import judge

PUBLISHED = ROOT / "docs/published/cpu.jsonl.gz"


@pytest.fixture(scope="module")
def published() -> Answer:
    return answer(load(PUBLISHED))


def answered(path: Path, lines: Sequence[dict[str, Any]], **changed: Any) -> Answer:
    return answer(load(write(path / "run.jsonl", lines, **changed)))


def sheets(blocks: Sequence[Block]) -> list[Sheet]:
    """Every table of some blocks, those behind figures and folds too."""
    found: list[Sheet] = []
    for block in blocks:
        found += [block] if isinstance(block, Sheet) else []
        found += [block.data] if isinstance(block, Drawing) else []
        found += sheets(block.blocks) if isinstance(block, Fold) else []
    return found


def said(section: Section) -> str:
    """Everything that a section says, a cell a word."""
    tables = [cell.text for sheet in sheets(section.blocks) for row in sheet.rows for cell in row]
    prose = [block.text for block in section.blocks if isinstance(block, Prose)]
    figures = [block.finding for block in section.blocks if isinstance(block, Drawing)]
    return "\n".join([*prose, *figures, *tables])


def column(sheet: Sheet, head: str) -> dict[str, str]:
    k = sheet.heads.index(head)
    return {row[0].text: row[k].text for row in sheet.rows}


# 1. Which to use


def test_the_published_run_answers_every_question(published: Answer) -> None:
    table = use.short(published)
    assert len(table.rows) == len(use.QUESTIONS) == 6
    for head in ("use", "time", "next best takes", "peak memory", "line to copy"):
        assert all(text not in ("", "–", "not measured") for text in column(table, head).values())


def test_every_line_to_copy_runs_as_pasted(published: Answer) -> None:
    layers = (torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 5), torch.nn.Tanh())
    net = torch.nn.Sequential(*layers, torch.nn.Linear(5, 1))
    square = torch.nn.Sequential(*layers, torch.nn.Linear(5, 3))
    x = torch.randn(4, 3)
    for _, row in published.advice.iterrows():
        if row["execution"] == "compile":
            continue
        separable = "ones" in row["use"]
        inside = net if row["shape"] == "scalar" and row["operator"] != "divergence" else square
        f = torch.sin if separable else inside
        v = torch.randn(4, f(x).shape[1]) if row["operator"] == "vjp" else torch.randn(4, 3)
        exec(row["line"], {"f": f, "x": x, "v": v})


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    found = answered(tmp_path, rows(lambda s, n: 1e-3, strategies=["a", "b"], sizes=[4]))
    answers = column(use.short(found), "use")
    assert answers["Hessian"] == "not measured"
    assert [text for text in answers if text.startswith("square Jacobian")]


def test_another_execution_that_is_faster_is_named(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 4e-3, strategies=["a"], noise=0)
    lines += rows(lambda s, n: 1e-3, strategies=["a"], noise=0, execution="traced")
    (square,) = [r for r in use.short(answered(tmp_path, lines)).rows if "square" in r[0].text]
    assert square[6].text == "a execution=traced: 0.25× the time"


def test_a_sparse_result_is_not_a_faster_way_to_a_dense_one(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 4e-3, strategies=["a"], noise=0)
    sparse = {"layout": "sparse", "noise": 0}
    lines += rows(lambda s, n: 2e-3, strategies=["b"], **sparse)
    lines += rows(lambda s, n: 1e-3, strategies=["b"], execution="traced", **sparse)
    (square,) = [r for r in use.short(answered(tmp_path, lines)).rows if "square" in r[0].text]
    assert (square[1].text, square[6].text) == ("a", "–")


def test_a_contest_of_a_few_strategies_does_not_choose_the_winner(tmp_path: Path) -> None:
    """`b` wins where all were asked; where two were, `a` does by far."""
    slow = {"loop-grad": 8e-3, "a": 4e-3, "b": 1e-3}
    lines = rows(lambda s, n: slow[s], strategies=list(slow), noise=0)
    lines += rows(lambda s, n: 1e-5, strategies=["a"], sizes=(32,), noise=0)
    (square,) = [r for r in use.short(answered(tmp_path, lines)).rows if "square" in r[0].text]
    assert square[1].text == "b"


# Several runs


def test_two_machines_stand_side_by_side_and_are_not_compared(tmp_path: Path) -> None:
    """On B everything takes ten times as long, and another strategy wins."""
    slow = {"a": 3e-2, "b": 1e-2}
    a = write(tmp_path / "a.jsonl", rows(lambda s, n: 1e-3, strategies=["a"], noise=0))
    b = write(tmp_path / "b.jsonl", rows(lambda s, n: slow[s], strategies=["a", "b"], noise=0))
    found = answer(load(a), load(b))
    factors = found.cases.set_index(["where", "strategy"])["factor"]
    assert factors["A: cpu", "a"] == 1
    assert factors["B: cpu", "a"] == pytest.approx(3)
    answers = {
        text: way for text, way in column(use.short(found), "use").items() if "square" in text
    }
    assert list(answers.values()) == ["a", "b"]
    times = sheets(results.section(found).blocks)[0]
    assert [head for head in times.heads if "cpu" in head] == [
        "net n=16 B=4 A: cpu",
        "net n=16 B=4 B: cpu",
    ]


# 2. Results


def test_columns_are_in_natural_order_and_plain_ones_first(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a", "b"], sizes=[64, 4, 16])
    lines = rows(lambda s, n: 1e-4, strategies=["a"], sizes=[4], execution="traced") + lines
    times = sheets(results.section(answered(tmp_path, lines)).blocks)[0]
    plain = [f"net n={n} B=4" for n in (4, 16, 64)]
    assert list(times.heads) == [
        "strategy",
        "geometric mean",
        "solved",
        *plain,
        "net n=4 B=4 traced",
    ]


def test_a_failed_case_counts_as_unsolved_and_has_no_factor(tmp_path: Path) -> None:
    lines = rows(
        lambda s, n: {"a": 1e-3, "b": 4e-3}[s], strategies=["a", "b"], sizes=[4, 16], noise=0
    )
    for line in lines:
        if (line["strategy"], line["n"]) == ("a", 16):
            line |= {"status": "wrong", "reason": "off"}
    times = sheets(results.section(answered(tmp_path, lines)).blocks)[0]
    assert column(times, "solved") == {"b": "2/2", "a": "1/2"}
    assert column(times, "geometric mean") == {"b": "2.00×", "a": "1.00×"}
    assert column(times, "net n=16 B=4")["a"] == "wrong"


def test_the_profile_counts_failures_as_never_solved(tmp_path: Path) -> None:
    seconds = {"a": 1e-3, "b": 2e-3}
    lines = rows(lambda s, n: seconds[s], strategies=["a", "b"], sizes=[4, 8, 16, 32], noise=0)
    for line in lines:
        if (line["strategy"], line["n"]) == ("a", 32):
            line |= {"status": "error", "reason": "no"}
    table = points.profile_points(answered(tmp_path, lines)).set_index(["strategy", "tau"])["share"]
    assert table["a", 1] == table["a", 100] == 0.75
    assert (table["b", 1], table["b", 1.5], table["b", 2]) == (0.25, 0.25, 1)


# 4. Crossover


def test_the_winner_changes_between_neighbouring_sizes(tmp_path: Path) -> None:
    times = {"loop": lambda n: 1e-5 * n, "batch": lambda n: 1e-4 + 1e-6 * n}
    lines = rows(lambda s, n: times[s](n), strategies=["loop", "batch"], sizes=[4, 8, 16, 32])
    section = crossover.section(answered(tmp_path, lines))
    (row,) = sheets(section.blocks)[-1].rows
    assert [cell.text for cell in row[3:]] == ["loop up to n = 8", "batch from n = 16"]
    assert "loop is fastest" in said(section) or "batch is fastest" in said(section)


# 6. Changes


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    found = judge(made({"jacobian/a": 1.3}, others=3))
    (tmp_path / "verdicts.json").write_text(verdict_files.as_json(found, "main → head"))
    return tmp_path


def test_verdicts_are_read_as_they_were_written(comparison: Path) -> None:
    found, title = verdict_files.read(comparison / "verdicts.json")
    written = judge(made({"jacobian/a": 1.3}, others=3))
    assert title == "main → head"
    assert verdict_files.as_dict(found)["cases"] == verdict_files.as_dict(written)["cases"]
    assert verdict_files.as_dict(found)["controls"] == verdict_files.as_dict(written)["controls"]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 9}', '{"version": 1}', "{"])
def test_a_file_that_holds_no_verdicts_is_one_line(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "verdicts.json").write_text(text)
    golden = str(ROOT / "tests/data/schema-1.jsonl")
    assert main(["html", golden, "--comparison", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("reports: ")


def test_a_comparison_is_on_the_page_in_its_own_words(comparison: Path) -> None:
    found, title = verdict_files.read(comparison / "verdicts.json")
    section = changes.section(found, title, None)
    assert "**main → head**: 1 slower" in said(section)
    assert section.blocks[1].kind == "drawing"
    assert "Furthest from 1: jacobian/a, 1.298× (slower)" in said(section)
    told = sheets(section.blocks)
    assert column(told[1], "verdict") == {"jacobian/a": "slower"}
    assert "Compared: 1 slower" in changes.summary(found, None)


def test_the_page_has_the_verdicts_the_baseline_and_the_steps(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = comparison / "runs"
    folder.mkdir()
    lines = lambda seconds: rows(lambda s, n: seconds, strategies=["a"], noise=0.002)  # noqa: E731
    for k in range(12):
        name = f"r{k:02d}"
        day = f"2026-01-{k + 1:02d}T00:00:00Z"
        write(folder / f"{name}.jsonl", lines(1e-3 * (1 + (k > 5))), run=name, started=day)
    runs = [str(folder / "r11.jsonl"), "-o", str(comparison / "page.html")]
    for options, text in (
        (["--comparison", str(comparison)], "main → head"),
        (["--baseline", str(folder / "r00.jsonl")], "unclear"),
        (["--history", str(folder)], "Steps: times that changed for good"),
    ):
        assert main(["html", *runs, *options]) == 0, capsys.readouterr().err
        assert text in (comparison / "page.html").read_text()


# 8. Limits


COUNTED = {"flops": 8e6, "storage_bytes": 2e6, "ops": 1000, "forward_flops": 2e6}
FLOOR = {"flops": 4e6, "bytes": 1e6, "launches": 100}
# 2·10⁹ FLOP/s, copies of 10⁹ B/s, launches of 1 µs.
CONTROLS = (("product", {"flops": 2e6}), ("copy", {"bytes": 1e6}), ("launches", {"ops": 1000}))


def with_controls(path: Path, **fields: Any) -> Answer:
    """A case of 10 ms on a machine of known rates, f takes 5 ms."""
    common = {"counters": COUNTED, "forward_s": [5e-3] * 3, **fields}
    lines = rows(lambda s, n: 1e-2, strategies=["a"], noise=0, **common)
    for name, counters in CONTROLS:
        control = {"operator": "control", "counters": counters}
        lines += rows(lambda s, n: 1e-3, strategies=[name], noise=0, **control)
    return answered(path, lines)


def table(found: Answer) -> list[list[str]]:
    (only,) = sheets(limits.section(found).blocks)
    return [[cell.text for cell in row] for row in only.rows]


def test_a_limit_is_the_largest_of_what_the_counted_work_takes(tmp_path: Path) -> None:
    found = with_controls(tmp_path)
    (rate,) = rates(found.run.controls).to_dict("records")
    assert rate == pytest.approx({"flops": 2e9, "bytes": 1e9, "ops": 1e6})
    (case,) = found.cases.to_dict("records")
    # 8·10⁶ / 2·10⁹ = 4 ms; 2·10⁶ / 10⁹ = 2 ms; 1000 µs.
    assert (case["limit_s"], case["bound"]) == (pytest.approx(4e-3), "matrix product")
    assert case["eta_own"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("fields", "seconds", "bound"),
    [
        # As timed; else 4·10⁶ / 2·10⁹. Of the passes their mean.
        ({"products_s": [9e-3, 3e-3]}, 3e-3, "matrix product"),
        ({}, 2e-3, "matrix product"),
        # 10⁶ / 10⁹; 100 launches of 1 µs, or 5000.
        ({"products_s": [5e-4]}, 1e-3, "bandwidth"),
        ({"floor": {**FLOOR, "launches": 5000}}, 5e-3, "launches"),
    ],
    ids=["timed", "by rate", "bytes", "launches"],
)
def test_a_floor_is_the_largest_of_what_the_best_known_method_takes(
    tmp_path: Path, fields: dict[str, Any], seconds: float, bound: str
) -> None:
    (case,) = with_controls(tmp_path, **{"floor": FLOOR, **fields}).cases.to_dict("records")
    assert (case["floor_s"], case["floor_bound"]) == (pytest.approx(seconds), bound)
    assert case["eta"] == pytest.approx(seconds / 1e-2)
    # In evaluations of f by FLOPs, 4 / 2.
    assert (case["floor_flops"], case["floor_passes"]) == (4e6, 2)


def test_a_table_of_limits_is_headed_by_the_best_known_method(tmp_path: Path) -> None:
    found = with_controls(tmp_path, floor=FLOOR, products_s=[3e-3])
    best, own = table(found)
    assert best == ["best known method", "3.00 ms", "0.600", "2.00", "100 %", "–", "matrix product"]
    assert own[0] == "a"
    assert own[2:] == ["2.00", "4.00", "30 %", "40 %", "matrix product"]
    assert "at η = 30 % of the best known method in the median over 1 problem;" in said(
        limits.section(found)
    )


def test_without_layers_a_case_is_held_against_the_least_work_counted(tmp_path: Path) -> None:
    best, own = table(with_controls(tmp_path))
    name = "least counted work: a"
    assert best == [name, "4.00 ms", "0.800", "4.00", "100 %", "–", "matrix product"]
    assert own[4:6] == ["40 %", "40 %"]
    found = with_controls(tmp_path)
    assert "of the least work counted in the median over 1 problem without declared layers" in said(
        limits.section(found)
    )
    assert found.cases[["floor_flops", "floor_s", "eta"]].isna().all(axis=None)


def test_an_estimate_is_not_the_least_work_of_a_problem(tmp_path: Path) -> None:
    """It counts a quarter of what the exact one does, and has no place beside it."""
    lines = rows(lambda s, n: 1e-2, strategies=["a"], noise=0, counters=COUNTED)
    quarter = {name: count / 4 for name, count in COUNTED.items()}
    lines += rows(lambda s, n: 1e-3, strategies=["guess"], noise=0, counters=quarter)
    for name, counters in CONTROLS:
        control = {"operator": "control", "counters": counters}
        lines += rows(lambda s, n: 1e-3, strategies=[name], noise=0, **control)
    found = answered(tmp_path, lines, strategies={"jacobian/guess": {"exact": False}})
    best, own = table(found)
    assert (best[0], own[0], own[4]) == ("least counted work: a", "a", "40 %")


def test_products_of_another_dtype_are_timed_beside_the_same_bandwidth(tmp_path: Path) -> None:
    found = with_controls(tmp_path, dtype="float64", floor=FLOOR, products_s=[3e-3])
    (own,) = found.cases.to_dict("records")
    assert own["eta"] == pytest.approx(0.3)
    assert np.isnan(own["eta_own"])


def test_a_file_of_before_has_no_floors() -> None:
    before = answer(load(ROOT / "tests/data/schema-1.jsonl"))
    assert before.cases[["floor_flops", "floor_s", "eta"]].isna().all(axis=None)
    assert "best known method" not in limits._finding(limits.compared(before))


def test_problems_with_and_without_declared_layers(published: Answer) -> None:
    assert published.cases["eta"].notna().any()
    text = said(limits.section(published))
    assert "best known method" in text
    assert "the least work counted" in text


def test_floors_are_exported(tmp_path: Path) -> None:
    found = with_controls(tmp_path, floor=FLOOR, products_s=[3e-3])
    whole = json.loads(as_json(found.runs, found.cases, found.advice))["cases"]
    row = dict(zip(whole["columns"], whole["data"][0], strict=True))
    assert (row["floor_flops"], row["floor_s"], row["eta"]) == (4e6, 0.003, 0.3)


def test_without_controls_no_limit_is_known(tmp_path: Path) -> None:
    counted = {"flops": 8e6, "storage_bytes": 2e6, "ops": 10}
    found = answered(tmp_path, rows(lambda s, n: 1e-2, strategies=["a"], counters=counted))
    assert found.cases[["eta", "eta_own"]].isna().all(axis=None)
    assert "η is not known" in said(limits.section(found))


# 9. Failures, 11. Stability


def test_the_command_that_sees_a_failure_again_parses(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1, strategies=["it's"], status="error", reason="no")
    own = ["python", "-m", "bench", "run", "--workload", "my net.py:f", "--strategies=w.py"]
    found = answered(tmp_path, lines, command=own, grid="own")
    (row,) = failures.failures(found).rows
    words = shlex.split(row[4].text)
    given = bench_parser().parse_args(words[3:])
    assert (given.workload, given.strategies) == (["my net.py:f"], ["w.py"])
    assert given.only == ["jacobian/it's/net/n=16/B=4/float32/cpu"]


def test_faults_come_before_refusals(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1, strategies=["a"], status="unsupported", reason="no")
    lines += rows(lambda s, n: 1, strategies=["b"], status="crashed", reason="gone")
    assert [r[2].text for r in failures.failures(answered(tmp_path, lines)).rows] == [
        "crashed",
        "unsupported",
    ]


def test_the_drift_of_each_pass_is_its_mean_ratio(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a", "b"], passes=2, noise=0)
    for line in lines:
        line["wall_s"] = [seconds * (2 if line["pass"] else 1) for seconds in line["wall_s"]]
    table = stability.drift(answered(tmp_path, lines).run)
    assert [cells[2].sort for cells in table] == pytest.approx([1 / sqrt(2), sqrt(2)])


# Prose


def test_prose_knows_code_and_emphasis_and_nothing_else() -> None:
    assert marked("a `<b>` **c** & <i>") == "a <code>&lt;b&gt;</code> <b>c</b> &amp; &lt;i&gt;"


def test_the_json_of_several_runs_has_all_headers(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.jsonl", rows(lambda s, n: 1e-3, strategies=["a"]), run=name)
        for name in ("one", "two")
    ]
    found = answer(*map(load, paths))
    whole = json.loads(as_json(found.runs, found.cases, found.advice))
    assert [run["run"] for run in whole["runs"]] == ["one", "two"]
    where = whole["cases"]["columns"].index("where")
    assert [row[where] for row in whole["cases"]["data"]] == ["A: cpu", "B: cpu"]


@pytest.mark.parametrize(
    ("chunk", "said"), [(4.0, "chunk=4)"), ("96KiB", 'chunk="96KiB")')], ids=["number", "budget"]
)
def test_the_line_to_copy_says_the_chunk(chunk: float | str, said: str) -> None:
    axes = {"operator": "jacobian", "strategy": "s", "execution": "eager", "create_graph": False}
    assert said in advice.line(pd.Series({**axes, "chunk": chunk}))
