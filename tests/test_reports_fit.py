"""The rule fitted to planted runs: the right order, divided where it pays, the same every time."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import GOLDEN, Seconds, header, rows, write

from reports.__main__ import main
from reports.divisions import Condition, between, left_out
from reports.fit import FitError, Fitted, fit
from reports.load import load
from reports.orders import Losses, judged, mean, ordered
from reports.rule_file import as_json, quality
from reports.schema import CHOOSERS

NETS = ("a", "b", "c", "d")
SIZES = (4, 8, 64, 128)
NOT_OK: dict[str, Any] = {"wall_s": [], "error": {}, "counters": {}}


def on(
    nets: Sequence[str], seconds: Seconds, strategies: Sequence[str], **fields: Any
) -> list[dict[str, Any]]:
    """Rows of these strategies on each of the workloads."""
    sizes = fields.pop("sizes", (16,))
    return [
        line
        for net in nets
        for line in rows(seconds, strategies=strategies, sizes=sizes, workload=net, **fields)
    ]


def refused(nets: Sequence[str], strategy: str, reason: str = "no chain", **fields: Any) -> list:
    given = {"status": "unsupported", "reason": reason, **NOT_OK, **fields}
    return on(nets, lambda *_: 1.0, [strategy], **given)


def table(*seconds: tuple[str, float]) -> Seconds:
    return lambda strategy, n: dict(seconds)[strategy]


def fitted(tmp_path: Path, lines: list[dict[str, Any]], **changed: Any) -> list[Fitted]:
    return fit([load(write(tmp_path / "run.jsonl", lines, **changed))])[0]


def only(rule: list[Fitted]) -> list[tuple[str, tuple[str, ...]]]:
    """The entries of the only list, their conditions as text."""
    assert len(rule) == 1
    return [(str(entry.when or ""), entry.take) for entry in rule[0].entries]


PLAIN = table(("fast", 1.0), ("middle", 1.5), ("slow", 4.0), ("special", 0.5))
ALWAYS = ["slow", "fast", "middle"]


def test_the_order_is_that_of_the_times(tmp_path: Path) -> None:
    (found,) = only(fitted(tmp_path, on(NETS, PLAIN, ALWAYS)))
    assert found == ("", ("fast", "middle", "slow", *_named("fast", "middle", "slow")))


def _named(*known: str) -> tuple[str, ...]:
    """What the golden header names beside these: those that were never seen to answer."""
    names = [s["name"] for s in header()["strategies"].values() if s["operator"] == "jacobian"]
    return tuple(name for name in names if name not in known)


def test_who_answers_few_and_is_best_there_comes_first(tmp_path: Path) -> None:
    lines = on(NETS, PLAIN, ALWAYS)
    lines += on(NETS[:1], PLAIN, ["special"]) + refused(NETS[1:], "special")
    assert only(fitted(tmp_path, lines))[0][1][:2] == ("special", "fast")


def test_a_tie_goes_to_who_answers_everywhere(tmp_path: Path) -> None:
    tie = table(("fast", 1.0), ("special", 0.99))
    lines = on(NETS, tie, ["fast"], noise=0)
    lines += on(NETS[:1], tie, ["special"], noise=0) + refused(NETS[1:], "special")
    assert only(fitted(tmp_path, lines))[0][1][:2] == ("fast", "special")


def test_who_was_hardly_asked_does_not_lead(tmp_path: Path) -> None:
    """Measured once, beside a slow one alone; the others are measured to be no best everywhere."""
    lines = on(NETS[1:3], PLAIN, ALWAYS)
    lines += on(NETS[3:], table(("fast", 1.5), ("middle", 1.0), ("slow", 4.0)), ALWAYS)
    lines += on(NETS[:1], table(("least bad", 1.0), ("slow", 2.0)), ["least bad", "slow"])
    assert only(fitted(tmp_path, lines))[0][1][:4] == (*ALWAYS[1:], "slow", "least bad")


def test_who_fails_is_not_taken(tmp_path: Path) -> None:
    lines = on(NETS, PLAIN, ALWAYS)
    for line in lines:
        if line["strategy"] == "fast" and line["workload"] in NETS[:2] and line["pass"] == 1:
            line |= {"status": "wrong", "reason": "far off"}
    assert only(fitted(tmp_path, lines))[0][1][0] == "middle"


def test_who_takes_any_rows_comes_last(tmp_path: Path) -> None:
    known = {
        f"jacobian/{name}": {
            **{"operator": "jacobian", "name": name, "mode": "reverse", "sweep": "loop"},
            **{"exact": True, "summary": "", "needs": needs},
        }
        for name, needs in (("fast", ["scalar"]), ("middle", ["sum"]), ("never", ["chain"]))
    }
    lines = on(NETS, PLAIN, ["fast", "middle"])
    found = only(fitted(tmp_path, lines, strategies=known))[0][1]
    assert found == ("middle", "never", "fast")


@pytest.mark.parametrize(
    "fields",
    [{"strategy": CHOOSERS[0]}, {"strategy": CHOOSERS[1]}, {"execution": "traced"}],
    ids=lambda fields: next(iter(fields.values())),
)
def test_choosers_and_other_executions_are_no_candidates(
    tmp_path: Path, fields: dict[str, str]
) -> None:
    others = on(NETS, table(("best", 0.1)), ["best"])
    lines = on(NETS, PLAIN, ALWAYS) + [line | fields for line in others]
    assert only(fitted(tmp_path, lines))[0][1][:3] == ("fast", "middle", "slow")


def test_estimators_are_no_candidates(tmp_path: Path) -> None:
    known = {"jacobian/fast": {"operator": "jacobian", "name": "fast", "exact": False}}
    lines = on(NETS, PLAIN, ALWAYS)
    assert only(fitted(tmp_path, lines, strategies=known))[0][1] == ("middle", "slow")


def crossing(strategy: str, n: int) -> float:
    """One is three times as fast up to 16 inputs, the other above."""
    return 1.0 if (strategy == "small") == (n <= 16) else 3.0


def test_it_divides_where_the_order_turns(tmp_path: Path) -> None:
    found = only(fitted(tmp_path, on(NETS, crossing, ["small", "large"], sizes=SIZES)))
    assert [(when, take[0]) for when, take in found] == [("n <= 16", "small"), ("", "large")]


@pytest.mark.parametrize(
    ("seconds", "nets"),
    [
        (lambda s, n: 1.0 if (s == "small") == (n <= 16) else 1.02, NETS),
        (crossing, NETS[:1]),
    ],
    ids=["gain", "workloads"],
)
def test_it_does_not_divide_where_little_is_gained_or_little_known(
    tmp_path: Path, seconds: Seconds, nets: Sequence[str]
) -> None:
    assert len(only(fitted(tmp_path, on(nets, seconds, ["small", "large"], sizes=SIZES)))) == 1


def test_a_ratio_is_preferred_to_a_size_that_does_as_well(tmp_path: Path) -> None:
    """It holds at sizes that nobody measured."""
    lines = on(NETS, crossing, ["small", "large"], sizes=SIZES)
    lines = [line | {"m": 256 // line["n"]} for line in lines]
    (when, _), _ = only(fitted(tmp_path, lines))
    assert when == "m/n <= 0.5"


def test_it_does_not_divide_by_noise(tmp_path: Path) -> None:
    """Times that depend on the workload alone, at random: no size tells the orders apart."""
    draw = random.Random(3)
    lines = []
    for net in "abcdefgh":
        for n in SIZES:
            times = table(*((name, draw.lognormvariate(0, 0.02)) for name in "xyz"))
            lines += on([net], times, list("xyz"), sizes=[n])
    assert len(only(fitted(tmp_path, lines))) == 1


def test_a_rare_kind_keeps_its_specialist_on_either_side(tmp_path: Path) -> None:
    """Chains were measured small alone, and their strategy is best: it comes first above too."""
    lines = on(NETS, crossing, ["small", "large"], sizes=SIZES)
    lines += refused(NETS, "chain", sizes=SIZES)
    lines += on(
        ["e", "f"],
        lambda s, n: 0.1 if s == "chain" else crossing(s, n),
        ["small", "large", "chain"],
        sizes=SIZES[:2],
    )
    assert [take[0] for _, take in only(fitted(tmp_path, lines))] == ["chain", "chain"]


def test_what_is_asked_for_has_lists_of_its_own(tmp_path: Path) -> None:
    turned = table(("fast", 4.0), ("slow", 1.0))
    lines = on(NETS, PLAIN, ["fast", "slow"])
    lines += on(NETS, turned, ["fast", "slow"], layout="sparse")
    lines += on(NETS, turned, ["fast", "slow"], chunk="1MiB") + on(NETS, PLAIN, ["fast"], chunk=4)
    trained = on(NETS, PLAIN, ["fast", "slow"], create_graph=True)
    lines += [line | {"train_s": [turned(line["strategy"], 0)] * 3} for line in trained]
    found = {each.purpose: each.entries[0].take[0] for each in fitted(tmp_path, lines)}
    assert found == {
        "evaluate": "fast",
        "evaluate chunked": "slow",
        "evaluate sparse": "slow",
        "train": "slow",
    }


@pytest.mark.parametrize(
    ("reason", "first"),
    [("no chain", "special"), ("create_graph: torch gives it no graph", "slow")],
    ids=["elsewhere", "never"],
)
def test_to_train_borrows_what_few_contests_leave_open(
    tmp_path: Path, reason: str, first: str
) -> None:
    """Who refused the only function trained, but is best to evaluate others, may train those."""
    lines = on(NETS, PLAIN, [*ALWAYS, "special"])
    trained = on(NETS[:1], table(("fast", 16.0), ("slow", 1.0)), ["fast", "slow"])
    trained += refused(NETS[:1], "special", reason)
    lines += [line | {"create_graph": True, "train_s": line["wall_s"]} for line in trained]
    found = {each.purpose: each for each in fitted(tmp_path, lines)}
    assert found["train"].entries[0].take[0] == first
    assert found["train"].contests == 1


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    lines = on(NETS, crossing, ["small", "large"], sizes=SIZES)
    lines += on(NETS, PLAIN, ALWAYS, operator="hessian")
    texts = []
    for given in (lines, lines, random.Random(0).sample(lines, len(lines))):
        texts.append(as_json(*fit([load(write(tmp_path / "run.jsonl", given))])))
    assert len(set(texts)) == 1


def test_two_runs_are_fitted_together(tmp_path: Path) -> None:
    """Times of one are not compared with those of the other, on a machine ten times as slow."""
    slow = table(("fast", 10.0), ("middle", 15.0))
    runs = [
        load(write(tmp_path / f"{name}.jsonl", on(NETS, times, ["fast", "middle"]), run=name))
        for name, times in (("one", PLAIN), ("two", slow))
    ]
    rule, sources = fit(runs)
    assert (rule[0].contests, rule[0].own.mean) == (8, pytest.approx(1, abs=0.01))
    assert [(source.run, source.contests) for source in sources] == [("one", 4), ("two", 4)]


def test_the_file_is_a_list_a_line(tmp_path: Path) -> None:
    lines = on(NETS, crossing, ["small", "large"], sizes=SIZES)
    lines += on(NETS, PLAIN, ["fast"], device="cuda")
    text = as_json(*fit([load(write(tmp_path / "run.jsonl", lines, strategies={}))]))
    found = json.loads(text)
    assert list(found) == ["cpu", "cuda"]
    assert found["cpu"]["lists"]["evaluate"]["jacobian"] == [
        {"when": "n <= 16", "take": ["small", "large"]},
        {"take": ["large", "small"]},
    ]
    assert '\n          {"take": ["large", "small"]}\n' in text
    known = header()
    (run,) = found["cpu"]["runs"]
    assert run == {
        **{"run": known["run"], "processor": "Test CPU", "torch": "2.13.0+cpu"},
        **{"grid": known["grid"], "contests": 16},
    }


def test_the_regret_of_a_workload_left_out_is_honest(tmp_path: Path) -> None:
    """Of the last alone another is best, which the others cannot know."""
    lines = on(NETS[1:], PLAIN, ALWAYS, noise=0)
    lines += on(NETS[:1], table(("fast", 8.0), ("middle", 16.0), ("slow", 1.0)), ALWAYS, noise=0)
    (found,) = fitted(tmp_path, lines)
    assert found.own.worst == found.others.worst == pytest.approx(8)
    assert found.others.mean == pytest.approx(8 ** (1 / 4))
    assert "2.000" not in quality([found])
    assert f"{8 ** (1 / 4):.3f}" in quality([found])


def test_one_workload_is_not_judged_by_others(tmp_path: Path) -> None:
    (found,) = fitted(tmp_path, on(NETS[:1], PLAIN, ALWAYS))
    assert np.isnan(found.others.mean)
    assert quality([found]).splitlines()[1].split()[-2:] == ["–", "–"]


LOSSES = Losses(
    ("a", "b", "rows"),
    np.array([[0.0, 1.0, 3.0], [np.nan, 0.0, 3.0], [np.nan, 0.0, np.nan]]),
    np.array([[True, True, True], [True, True, True], [False, True, False]]),
    ("x", "x", "y"),
    np.ones(3),
    frozenset({"rows"}),
)


def test_a_list_is_judged_by_the_first_that_does_not_refuse() -> None:
    found = judged(LOSSES, ["a", "b", "rows"])
    np.testing.assert_equal(found, [0.0, 0.0, np.nan])
    np.testing.assert_equal(judged(LOSSES, ["b", "a", "rows"]), [1.0, 0.0, 0.0])


def test_every_workload_counts_the_same() -> None:
    assert LOSSES.weights.tolist() == [0.25, 0.25, 0.5]
    assert mean(LOSSES, np.array([1.0, 2.0, 4.0])) == pytest.approx(2.75)
    assert np.isnan(mean(LOSSES, np.full(3, np.nan)))


def test_nobody_is_left_out_of_an_order() -> None:
    assert ordered(LOSSES) == ["a", "b", "rows"]
    nothing = replace(LOSSES, loss=np.full((3, 3), np.nan))
    assert ordered(nothing) == ["a", "b", "rows"]


def test_a_lone_workload_has_nobody_to_be_judged_by() -> None:
    alone = LOSSES.of(np.array([True, True, False]))
    assert np.isnan(left_out(alone, {})).all()


@pytest.mark.parametrize(
    ("low", "high", "power"), [(6, 96, 32), (3, 4, None), (4, 5, 4), (0.1, 1.0, 0.25), (8, 16, 8)]
)
def test_thresholds_are_powers_of_two(low: float, high: float, power: float | None) -> None:
    assert between(low, high) == power


def test_conditions_read_as_they_hold() -> None:
    values = {"m/n": np.array([0.25, 0.5, 1.0])}
    assert Condition("m/n", "<=", 0.5).holds(values).tolist() == [True, True, False]
    assert Condition("m/n", ">", 0.5).holds(values).tolist() == [False, False, True]
    assert str(Condition("m/n", "<=", 0.5)) == "m/n <= 0.5"
    assert str(Condition("B*n*m", ">", 1048576.0)) == "B*n*m > 1048576"


def test_nothing_to_fit_to_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="no case of an exact strategy, run eagerly, is ok"):
        fitted(tmp_path, refused(NETS, "fast"))


def test_the_command_writes_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "rule.json"
    assert main(["fit", str(GOLDEN), "--into", str(into)]) == 0
    said = capsys.readouterr().out
    assert "cpu, evaluate, jacobian" in said
    assert said.splitlines()[-1] == str(into)
    assert json.loads(into.read_text())["cpu"]["lists"]["evaluate"]["jacobian"]


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run.jsonl", refused(NETS, "fast"))
    assert main(["fit", str(run)]) == 2
    assert "reports: no case of an exact strategy" in capsys.readouterr().err


@pytest.mark.slow
def test_the_rule_is_what_its_published_runs_give(tmp_path: Path) -> None:
    """`make rule`, to the byte."""
    root = Path(__file__).parent.parent
    names = ("rule/cpu", "choice-cpu", "skewed-cpu")
    runs = [str(root / "docs" / "published" / f"{name}.jsonl.gz") for name in names]
    found = tmp_path / "rule.json"
    assert main(["fit", *runs, "--into", str(found)]) == 0
    assert found.read_bytes() == (root / "strategies" / "rule.json").read_bytes()
