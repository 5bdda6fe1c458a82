"""Regret of auto: planted choosers, what they lose, where they count and where they never do."""

from __future__ import annotations

import csv as csv_module
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import chromium, visit
from made_runs import GOLDEN, header, rows, write
from playwright.sync_api import expect
from rich.console import Console

from reports import points
from reports.answer import Answer, answer
from reports.compare import compare
from reports.export import as_json, csv
from reports.history import points as history_points
from reports.load import load
from reports.markdown import regimes
from reports.page import page
from reports.pairs import paired
from reports.regret import CHOICES, LOOP, TORCH_FUNC, sentences, shares, summary
from reports.schema import CHOOSERS, DEFAULTS, LOOPS
from reports.sections import (
    correctness,
    crossover,
    failures,
    limits,
    memory,
    regret,
    results,
    scaling,
    use,
)
from reports.summary import interval
from reports.terminal import summary as printed
from reports.verdicts import judge

RULE, RACE = CHOOSERS
# Of a Hessian, seconds at n = 16; they grow with n.
SECONDS = {"closed-form": 1e-3, "fwd-rev": 3e-3, "loop-double-backward": 9e-3}
SIZES = (4, 8, 16, 32)
Lines = list[dict[str, Any]]


def strategies(sizes: tuple[int, ...] = SIZES, **fields: Any) -> Lines:
    common: dict[str, Any] = {"operator": "hessian", "passes": 4, "noise": 0} | fields
    return rows(
        lambda name, n: SECONDS[name] * n / 16, strategies=list(SECONDS), sizes=sizes, **common
    )


def chooser(name: str, took: str, factor: float, sizes: tuple[int, ...] = SIZES) -> Lines:
    """The rows of a chooser that took a strategy, and so many times as long as that."""
    made = rows(
        lambda _, n: SECONDS[took] * factor * n / 16,
        **{"strategies": [name], "sizes": sizes, "operator": "hessian", "passes": 4, "noise": 0},
    )
    return [row | {"chosen": took} for row in made]


def answered(folder: Path, *parts: Lines, **changed: Any) -> Answer:
    path = write(folder / "run.jsonl", [row for part in parts for row in part], **changed)
    return answer(load(path))


@pytest.fixture
def found(tmp_path: Path) -> Answer:
    return answered(
        tmp_path,
        strategies(),
        chooser(RULE, "closed-form", 1.3, (4, 8)) + chooser(RULE, "fwd-rev", 1, (16, 32)),
        chooser(RACE, "closed-form", 1.0),
    )


def of(table: pd.DataFrame, choice: str) -> pd.Series:
    (line,) = (row for _, row in table.iterrows() if row["choice"] == choice)
    return line


# Regret.


def test_planted_regret_is_found(found: Answer) -> None:
    own = found.regrets[found.regrets["choice"] == RULE]
    assert dict(zip(own["contest"].str.extract(r"n=(\d+)")[0], own["regret"], strict=True)) == (
        pytest.approx({"4": 1.3, "8": 1.3, "16": 3.0, "32": 3.0})
    )
    assert set(own["best"]) == {"closed-form"}
    line = of(summary(found.regrets), RULE)
    assert line["mean"] == pytest.approx((1.3 * 1.3 * 3 * 3) ** 0.25)
    assert (line["problems"], line["judged"], line["silent"]) == (4, 4, 0)
    assert line["worst"] == pytest.approx(3)
    assert line["median"] == pytest.approx(2.15)
    assert line["within"] == (0, 0, 2)


def test_defaults_and_the_loop_are_measured_by_the_same(found: Answer) -> None:
    lines = summary(found.regrets)
    assert of(lines, TORCH_FUNC)["mean"] == pytest.approx(3)
    assert of(lines, LOOP)["mean"] == pytest.approx(9)
    assert of(lines, RACE)["speedup"] == pytest.approx(3)
    assert list(lines["choice"]) == list(CHOICES)


def test_the_interval_is_of_the_passes(tmp_path: Path) -> None:
    logs = [0.01, -0.02, 0.03, 0.0]
    own = chooser(RULE, "closed-form", 1, (16,))
    for row in own:
        row["wall_s"] = [1e-3 * np.exp(logs[row["pass"]])]
    line = of(answered(tmp_path, strategies((16,)), own).regrets, RULE)
    assert (line["regret"], line["low"], line["high"]) == pytest.approx(np.exp(interval(logs)))
    assert line["half_width"] == pytest.approx(np.sqrt(line["high"] / line["low"]) - 1)


def noisy(draw: random.Random, sd: float) -> list[float]:
    return [1e-3 * np.exp(draw.gauss(0, sd))]


def test_the_truly_best_has_no_regret_among_many_ties(tmp_path: Path) -> None:
    """Twenty strategies as fast as one another: against their least it would seem to lose."""
    draw, sd, names = random.Random(1), 0.05, [f"s-{k}" for k in range(20)]
    common: dict[str, Any] = {"operator": "hessian", "sizes": range(1, 61), "passes": 4, "noise": 0}
    tied = rows(lambda s, n: 1e-3, strategies=[*names, RACE], **common)
    for row in tied:
        row["wall_s"] = noisy(draw, sd)
        row["chosen"] = "s-0" if row["strategy"] == RACE else None
    found = answered(tmp_path, tied)
    line = of(summary(found.regrets), RACE)
    assert line["low"] < 1 < line["high"]
    assert line["mean"] == pytest.approx(1, abs=0.015)
    times = found.every.set_index(["contest", "strategy"])["seconds"].astype(float).unstack()
    naive = float(np.exp(np.log(times[RACE] / times[names].min(axis=1)).mean()))
    assert naive > 1.035


def test_one_pass_is_not_judged(tmp_path: Path) -> None:
    own = chooser(RULE, "fwd-rev", 1)
    once = [row for row in strategies() + own if row["pass"] == 0]
    found = answered(tmp_path, once)
    assert found.regrets["regret"].isna().all()
    assert sentences(found.regrets) == [
        f"{RULE}: not judged in 4 problems, two passes or more are needed."
    ]
    assert "not judged" in str(regret.section(found))


def test_a_chooser_without_an_answer_is_counted_and_in_no_mean(tmp_path: Path) -> None:
    refused = [
        row | {"status": "unsupported", "reason": "rows meet", "wall_s": [], "chosen": None}
        for row in chooser(RULE, "closed-form", 1, (32,))
    ]
    own = chooser(RULE, "closed-form", 1, (4, 8, 16)) + refused
    found = answered(tmp_path, strategies(), own)
    line = of(summary(found.regrets), RULE)
    assert (line["problems"], line["judged"], line["silent"]) == (4, 3, 1)
    assert line["mean"] == pytest.approx(1)
    (silent,) = regret.silent(found.regrets).rows
    assert [cell.text for cell in silent[1:]] == ["1", RULE, "unsupported", "rows meet"]
    assert "no answer in 1" in sentences(found.regrets)[0]
    (row,) = regret.by_operator(found.regrets).rows
    assert row[-1].text == "closed-form 3"
    drawn = shares(found.regrets).set_index(["choice", "tau"])["share"]
    assert drawn[RULE, 100] == 0.75


def test_a_chooser_that_missed_a_pass_is_incomplete(tmp_path: Path) -> None:
    own = [row for row in chooser(RULE, "closed-form", 1) if row["pass"] != 2]
    found = answered(tmp_path, strategies(), own).regrets
    assert set(found.loc[found["choice"] == RULE, "status"]) == {"incomplete"}


def test_what_no_strategy_solves_is_left_out(tmp_path: Path) -> None:
    failed = [row | {"status": "oom", "wall_s": []} for row in strategies((32,))]
    found = answered(tmp_path, strategies((4,)), failed, chooser(RULE, "fwd-rev", 1, (4, 32)))
    assert set(found.regrets["contest"].str.extract(r"n=(\d+)")[0]) == {"4"}


def test_a_default_that_was_not_asked_is_left_out_and_counted(tmp_path: Path) -> None:
    most = [r for r in strategies() if r["strategy"] != "fwd-rev" or r["n"] > 8]
    lines = summary(answered(tmp_path, most, chooser(RULE, "closed-form", 1)).regrets)
    line = of(lines, TORCH_FUNC)
    assert (line["problems"], line["judged"], line["silent"]) == (4, 2, 2)
    assert (of(lines, RULE)["compared"], of(lines, RULE)["judged"]) == (2, 4)


def test_only_the_same_chunk_and_an_eager_run_compete(tmp_path: Path) -> None:
    def faster(**fields: Any) -> Lines:
        made = [row | fields for row in strategies((16,)) if row["strategy"] == "closed-form"]
        return [row | {"wall_s": [1e-6]} for row in made]

    others = faster(execution="traced") + faster(chunk=2) + faster(layout="sparse")
    found = answered(tmp_path, strategies((16,)), others, chooser(RACE, "fwd-rev", 1, (16,)))
    assert of(found.regrets, RACE)["regret"] == pytest.approx(3)


def test_an_estimator_is_no_best(tmp_path: Path) -> None:
    quick = rows(lambda s, n: 1e-9, strategies=["guess"], operator="hessian", passes=4)
    known = {"hessian/guess": {"operator": "hessian", "name": "guess", "exact": False}}
    run = answered(
        tmp_path,
        *(strategies((16,)), quick, chooser(RACE, "closed-form", 1, (16,))),
        strategies={**header()["strategies"], **known},
    )
    assert of(run.regrets, RACE)["regret"] == pytest.approx(1)


def test_what_a_chooser_took_is_counted_by_operator(tmp_path: Path) -> None:
    own = chooser(RACE, "closed-form", 1)
    for row in own:
        row["chosen"] = "fwd-rev" if (row["n"], row["pass"]) == (4, 3) else "closed-form"
    (row,) = regret.by_operator(answered(tmp_path, strategies(), own).regrets).rows
    assert row[-1].text == "closed-form 4, fwd-rev 1"


@pytest.mark.parametrize("operator", LOOPS)
def test_the_default_and_the_loop_of_every_operator_are_strategies(operator: str) -> None:
    import strategies as library

    known = {(str(o), name) for o, name in library.STRATEGIES}
    assert {(operator, DEFAULTS[operator]), (operator, LOOPS[operator])} <= known


# Where choosers are, and where they are not.

RANKED = {
    "use": lambda a: str(use.section(a)),
    "matrix": lambda a: str(results.section(a)),
    "scaling": lambda a: str(scaling.section(a)),
    "crossover": lambda a: str(crossover.section(a)),
    "memory": lambda a: str(memory.section(a)),
    "limits": lambda a: str(limits.section(a)),
    "correctness": lambda a: str(correctness.section(a)),
    "advice": lambda a: a.advice.to_string(),
    "exponents": lambda a: a.exponents.to_string(),
    "profile": lambda a: points.profile_points(a).to_string(),
    "markdown": regimes,
}


def fast_then_slow(name: str) -> Lines:
    """A chooser that would be the fastest of all at small sizes and in the mean of all."""
    small, large = SIZES[:2], SIZES[2:]
    return chooser(name, "closed-form", 0.01, small) + chooser(name, "closed-form", 2, large)


@pytest.mark.parametrize("where", RANKED)
def test_a_chooser_competes_nowhere(tmp_path: Path, where: str) -> None:
    ways = [fast_then_slow(name) for name in CHOOSERS]
    plain = answered(tmp_path, strategies())
    found = answered(tmp_path, strategies(), *ways)
    assert RANKED[where](found) == RANKED[where](plain)


def test_were_it_a_strategy_it_would_win(tmp_path: Path) -> None:
    """That the test above can fail."""
    other = [row | {"strategy": "auto"} for row in fast_then_slow(RULE)]
    plain = answered(tmp_path, strategies())
    found = answered(tmp_path, strategies(), other)
    competing = set(RANKED) - {"limits"}
    assert {name for name in competing if RANKED[name](found) == RANKED[name](plain)} == set()


def test_it_is_exported_with_what_it_took(found: Answer) -> None:
    lines = list(csv_module.DictReader(csv(found.every).splitlines()))
    took = {row["id"]: row["chosen"] for row in lines if row["strategy"] == RULE}
    assert len(took) == 4
    assert set(took.values()) == {"closed-form", "fwd-rev"}
    assert {row["factor"] for row in lines if row["strategy"] in CHOOSERS} == {""}
    table = json.loads(as_json(found.runs, found.every, found.advice))["cases"]
    assert "chosen" in table["columns"]


def test_regrets_are_exported(found: Answer, tmp_path: Path) -> None:
    given = found.runs, found.every, found.advice, found.regrets
    table = json.loads(as_json(*given))["regrets"]
    lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
    own = {line["contest"]: line["regret"] for line in lines if line["choice"] == RULE}
    assert sorted(own.values()) == [1.3, 1.3, 3.0, 3.0]
    assert "regrets" not in json.loads(as_json(*given[:3]))


def test_a_race_that_took_several_names_them(tmp_path: Path) -> None:
    own = chooser(RACE, "closed-form", 1, (16,))
    own[2]["chosen"] = "fwd-rev"
    every = answered(tmp_path, strategies((16,)), own).every
    assert every.set_index("strategy")["chosen"][RACE] == "closed-form; fwd-rev"


def test_a_wrong_chooser_is_a_fault(tmp_path: Path) -> None:
    wrong = [
        row | {"status": "wrong", "reason": "relative error 1"}
        for row in chooser(RULE, "closed-form", 1, (16,))
    ]
    found = answered(tmp_path, strategies((16,)), wrong)
    assert found.statuses == {"wrong": 1, "ok": 3}
    assert RULE in str(failures.section(found))
    assert "wrong" in str(regret.silent(found.regrets))


# Two runs.


def two(folder: Path, factor: float, name: str, **fields: Any) -> list[Path]:
    base = strategies((16,)) + chooser(name, "closed-form", 1, (16,))
    head = strategies((16,)) + [row | fields for row in chooser(name, "closed-form", factor, (16,))]
    return [write(folder / "a.jsonl", base), write(folder / "b.jsonl", head)]


def words_of(judgement: Any, name: str) -> list[str]:
    return [verdict.word for verdict in judgement.verdicts if f"/{name}/" in verdict.case]


@pytest.mark.parametrize(("name", "word"), [(RULE, "unclear"), (RACE, "not-comparable")])
def test_a_race_has_no_time_verdict_between_runs(tmp_path: Path, name: str, word: str) -> None:
    base, head = map(load, two(tmp_path, 3, name))
    assert words_of(compare(base, head), name) == [word]


def test_a_race_is_never_slower_of_two_arms(tmp_path: Path) -> None:
    for name, expected in ((RACE, ["not-comparable"]), (RULE, ["unclear"])):
        base, head = map(load, two(tmp_path, 3, name))
        comparison = paired([base], [head])
        assert (f"hessian/{RACE}/net/n=16/B=4/float32/cpu" in comparison.barred) == (name == RACE)
        many = pd.concat([comparison.screen] * 3, ignore_index=True)
        found = judge(type(comparison)(**{**vars(comparison), "screen": many}))
        assert words_of(found, name) == expected


def test_a_race_that_fails_now_is_failing(tmp_path: Path) -> None:
    base, head = map(load, two(tmp_path, 1, RACE, status="error", reason="no", wall_s=[]))
    assert words_of(compare(base, head), RACE) == ["failing"]


def test_a_race_has_no_history(tmp_path: Path) -> None:
    for name, there in ((RACE, False), (RULE, True)):
        run = load(two(tmp_path, 1, name)[0])
        assert (f"/{name}/" in " ".join(history_points(run)["id"])) == there


# The page and the terminal.


def test_the_page_tells_of_it_after_the_answer(found: Answer) -> None:
    html = page(found)
    assert html.index('id="use"') < html.index('id="regret"') < html.index('id="results"')
    section = html[html.index('id="regret"') : html.index('id="results"')]
    assert f"{RULE}: 1.97×" in section
    assert f"{RACE}: 1.00×" in section
    assert section.count("<svg") == 1
    for caption in ("Regret of each choice", "Regret by operator", "Where auto loses most"):
        assert caption in section


def test_your_own_sizes_find_no_chooser(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        page(answered(tmp_path, strategies((16,)), chooser(RACE, "fwd-rev", 0.01, (16,))))
    )
    with chromium() as browser, visit(browser, file) as opened:
        output = opened.page.locator("#finder output")
        expect(output).to_contain_text("closed-form: 1 ms")
        assert RACE not in output.inner_text()


def test_the_worst_come_first(found: Answer) -> None:
    sheet = regret.worst(found.regrets)
    regrets = [row[2].sort for row in sheet.rows]
    assert regrets == sorted(regrets, reverse=True)
    assert [cell.text for cell in sheet.rows[0][1:]] == [
        *(RULE, "3.00× (3.00× to 3.00×)", "fwd-rev", "closed-form"),
    ]


def test_a_run_without_choosers_has_one_line(tmp_path: Path) -> None:
    for found in (answer(load(GOLDEN)), answered(tmp_path, [])):
        section = regret.section(found)
        assert len(section.blocks) == 1
        assert "No row of `auto-rule` or `auto-race`" in str(section.blocks)
        assert 'id="regret"' in page(found)


def test_two_runs_are_never_mixed(tmp_path: Path) -> None:
    slow, fast = chooser(RULE, "fwd-rev", 1), chooser(RULE, "closed-form", 1)
    files = [
        write(tmp_path / f"{k}.jsonl", strategies() + own) for k, own in enumerate((slow, fast))
    ]
    lines = summary(answer(*map(load, files)).regrets)
    means = lines[lines["choice"] == RULE].set_index("where")["mean"]
    assert dict(means) == pytest.approx({"A: cpu": 3, "B: cpu": 1})


def test_the_terminal_says_it_in_three_lines(found: Answer) -> None:
    console = Console(width=300, record=True, file=None)
    with console.capture() as shown:
        printed(found, console)
    said = [line for line in shown.get().splitlines() if line.startswith((*CHOOSERS, "By the"))]
    assert len(said) == 3
    assert said[0].startswith(
        f"{RULE}: 1.97× (0.92× to 4.26×) the time of the best in the geometric mean of 4 problems,"
        " at worst 3.00× (3.00× to 3.00×)"
    )
    assert said[2].strip() == (
        "By the same measure: torch.func defaults 3.00× and always a loop 9.00×."
    )
