"""Estimators in reports: the fastest of all, and nowhere a winner; errors beside times."""

from __future__ import annotations

import csv as csv_module
import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import header, rows, write
from processes import ROOT
from rich.console import Console

from reports import points
from reports.answer import Answer, answer, verdict
from reports.export import COLUMNS, PRECISION, as_json, csv
from reports.load import load
from reports.markdown import regimes
from reports.page import page
from reports.sections import (
    correctness,
    crossover,
    estimators,
    failures,
    limits,
    memory,
    results,
    scaling,
    use,
)
from reports.terminal import summary

NAME = "quick-guess"
SECONDS = {NAME: 1e-6, "forward-laplacian": 1e-3, "loop-double-backward": 9e-3}
SIZES = (4, 8, 16, 32)


def lines(**fields: Any) -> list[dict[str, Any]]:
    """Three sizes of a Laplacian by two exact ways and by an estimator a thousand times as fast."""
    exact = [name for name in SECONDS if name != NAME]
    common: dict[str, Any] = {"operator": "laplacian", "sizes": SIZES}
    estimate = {"samples": 16, "std_error": 0.25, "evaluations": 64}
    one = rows(
        lambda s, n: SECONDS[s] * n, strategies=[NAME], estimate=estimate, **common, **fields
    )
    for row in one:
        row["error"] = {**row["error"], "relative": 0.3, "digits": 0.5, "tolerance": None}
        row["m"], row["out_shape"] = 1, [1]
        row["counters"] = {"ops": 10, "peak_bytes": 10}
    others = rows(lambda s, n: SECONDS[s] * n, strategies=exact, **common, m=1, out_shape=[1])
    return one + others


def described(exact: bool = False) -> dict[str, Any]:
    """The header's strategies, the estimator among them."""
    own = {"operator": "laplacian", "name": NAME, "mode": "reverse", "sweep": "vmap"}
    known = {f"laplacian/{NAME}": {**own, "exact": exact, "summary": "An estimate."}}
    return {"strategies": {**header()["strategies"], **known}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    return answer(load(write(path, lines(), **described())))


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """The same run, were the estimator exact: then it wins everything."""
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    return answer(load(write(path, lines(), **described(exact=True))))


RANKED = {
    "use": lambda a: str(use.section(a)),
    "matrix": lambda a: str([b for b in results.section(a).blocks if "Estimators" not in str(b)]),
    "scaling": lambda a: str(scaling.section(a)),
    "crossover": lambda a: str(crossover.section(a)),
    "memory": lambda a: str(memory.section(a)),
    "correctness": lambda a: str(correctness.section(a)),
    "limits": lambda a: str(limits.section(a)),
    "verdict": lambda a: str(verdict(a)),
    "readme": regimes,
    "profile": lambda a: points.profile_points(a).to_string(),
    "advice": lambda a: a.advice.to_string(),
    "exponents": lambda a: a.exponents.to_string(),
}


@pytest.mark.parametrize("where", RANKED)
def test_nothing_that_ranks_names_an_estimator(found: Answer, where: str) -> None:
    assert NAME not in RANKED[where](found)


SILENT = {"limits", "crossover"}


@pytest.mark.parametrize("where", [name for name in RANKED if name not in SILENT])
def test_an_exact_one_that_is_as_fast_would_be_named(mistaken: Answer, where: str) -> None:
    """So that the test above can fail."""
    assert NAME in RANKED[where](mistaken)


def test_the_terminal_names_none(found: Answer, mistaken: Answer) -> None:
    for run, named in ((found, False), (mistaken, True)):
        console = Console(width=100)
        with console.capture() as said:
            summary(run, console)
        assert (NAME in said.get()) == named


def test_factors_are_to_the_best_exact_one(found: Answer) -> None:
    cases = found.every.set_index(["strategy", "n"])
    assert cases.loc[("forward-laplacian", 8), "factor"] == 1
    assert cases.loc[("loop-double-backward", 8), "factor"] == pytest.approx(9, rel=0.05)
    assert cases.loc[NAME, "factor"].isna().all()


def test_their_own_table_has_time_error_and_what_an_equal_error_takes(found: Answer) -> None:
    block = estimators.block(found)
    assert block is not None
    table = block.blocks[1]
    assert len(table.rows) == len(SIZES)
    row = dict(zip(table.heads, table.rows[0], strict=True))
    assert row["estimator"].text == f"laplacian: {NAME}"
    assert (row["samples"].text, row["standard error"].text) == ("16", "25 %")
    assert row["time"].sort == pytest.approx(4e-6, rel=0.05)
    assert row["to 1 %"].sort == pytest.approx(4e-6 * 625, rel=0.05)
    assert row["fastest exact"].text == "forward-laplacian"
    assert row["takes"].sort == pytest.approx(4e-3, rel=0.05)


def test_an_estimator_alone_is_shown_with_nothing_beside_it(tmp_path: Path) -> None:
    alone = [line for line in lines() if line["strategy"] == NAME]
    run = answer(load(write(tmp_path / "run.jsonl", alone, **described())))
    block = estimators.block(run)
    assert block is not None
    assert block.blocks[1].rows[0][-2].text == "not measured"
    assert "nothing to recommend" in str(use.section(run))
    assert NAME in page(run)


def test_a_wrong_one_is_a_fault(tmp_path: Path) -> None:
    bad = lines(status="wrong", reason="biased: far off")
    run = answer(load(write(tmp_path / "run.jsonl", bad, **described())))
    assert NAME in str(failures.section(run))
    assert f"Faults in {len(SIZES)} cases, among them {NAME}" in verdict(run)[0]
    assert estimators.block(run) is None


def test_exports_say_what_is_exact(found: Answer) -> None:
    table = list(csv_module.DictReader(csv(found.every).splitlines()))
    assert {row["strategy"]: row["exact"] for row in table} == {
        name: str(name != NAME) for name in SECONDS
    }
    (one, *_) = [row for row in table if row["strategy"] == NAME]
    assert (float(one["samples"]), float(one["std_error"])) == (16, 0.25)
    cases = json.loads(as_json(found.runs, found.every, found.advice))["cases"]
    assert cases["columns"] == [*COLUMNS, *PRECISION]


def test_a_run_without_estimators_has_nothing_more() -> None:
    before = answer(load(ROOT / "tests/data/schema-1.jsonl"))
    assert len(before.cases) == len(before.every)
    assert csv(before.every).partition("\n")[0] == ",".join(COLUMNS)
    assert estimators.block(before) is None


def test_a_file_of_before_is_exact(tmp_path: Path) -> None:
    run = load(write(tmp_path / "run.jsonl", lines()))
    assert run.rows["exact"].all()


def test_the_page_looks_up_exact_cases_only() -> None:
    assert "row.exact !== false" in (ROOT / "reports/assets/page.js").read_text()
