"""Estimates, factors, winners and exponents of runs with planted times."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from made_runs import GOLDEN, rows, write
from processes import ROOT
from rich.console import Console
from scipy import stats

from reports.advice import shape_class
from reports.answer import answer, environment, verdict
from reports.estimator import ESTIMATORS, of_pass
from reports.load import load
from reports.markdown import regimes
from reports.points import scaling_points
from reports.sections import use
from reports.summary import BETWEEN_RUNS, estimates, factors, interval, own_share
from reports.terminal import summary


def answered(tmp_path: Path, lines: list[dict], **changed: object):
    return answer(load(write(tmp_path / "run.jsonl", lines, **changed)))


def test_the_interval_is_the_t_interval_of_the_logarithms() -> None:
    logs = np.log([1.0, 1.2, 1.1, 0.9])
    expected = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs))
    assert interval(logs) == pytest.approx((logs.mean(), *expected))


def test_one_pass_has_no_interval() -> None:
    assert np.isnan(interval([0.0])[1:]).all()


@pytest.mark.parametrize(
    ("name", "seconds"), [("median", 2.5), ("lower quartile", 1.75), ("minimum", 1.0)]
)
def test_a_pass_is_one_number_of_the_rounds_that_have_a_time(name: str, seconds: float) -> None:
    assert of_pass([3.0, 1.0, 2.0, float("nan"), 0.0, 100.0], ESTIMATORS[name]) == seconds


def test_the_golden_file_by_hand() -> None:
    cases = answer(load(GOLDEN)).cases.set_index("strategy")
    assert cases.loc["fast", "seconds"] == pytest.approx((0.001 * 0.0012) ** 0.5)
    assert cases.loc["fast", "factor"] == 1
    ratio = (4 * 5 / 1.2) ** 0.5
    assert cases.loc["loop-grad", "factor"] == pytest.approx(ratio)
    assert cases.loc["fast", "speedup"] == pytest.approx(ratio)


def test_no_number_is_formed_from_a_failed_case() -> None:
    bad = answer(load(GOLDEN)).cases.set_index("strategy").loc["bad"]
    assert bad["status"] == "wrong"
    assert bad[["seconds", "factor", "speedup"]].isna().all()


def test_a_clear_winner_is_named_with_its_margin(tmp_path: Path) -> None:
    times = {"quick": 1e-3, "slow": 2e-3, "loop-grad": 9e-3}
    row = answered(tmp_path, rows(lambda s, n: times[s], strategies=list(times))).advice.iloc[0]
    assert (row["use"], row["next_best"], row["ties"]) == ("quick", "slow", [])
    assert row["judged"] == "winner on odd and on even passes"
    assert row["margin"] == pytest.approx(2, rel=0.05)
    assert row["speedup"] == pytest.approx(9, rel=0.05)


def test_overlapping_intervals_are_a_tie(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a", "b"], noise=0.05)
    row = answered(tmp_path, lines).advice.iloc[0]
    assert row["judged"] == "tie"
    assert len(row["ties"]) == 1


def test_odd_and_even_passes_that_disagree_are_a_tie(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a", "b"], passes=4, noise=0)
    for line in lines:
        if line["strategy"] == ("a" if line["pass"] % 2 else "b"):
            line["wall_s"] = [1.01e-3]
    assert answered(tmp_path, lines).advice.iloc[0]["judged"] == "tie"


def test_one_pass_names_no_tie_and_says_so(tmp_path: Path) -> None:
    lines = rows(lambda s, n: len(s) * 1e-3, strategies=["a", "bb"], passes=1)
    found = answered(tmp_path, lines)
    assert found.advice.iloc[0]["judged"] == "one pass: not judged"
    assert "no intervals" in verdict(found)[-1]


def test_a_strategy_that_skips_a_hard_case_cannot_win(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3 * (0.1 if s == "a" else 1), strategies=["a", "b"], sizes=[4, 8])
    for line in lines:
        if line["strategy"] == "a" and line["n"] == 8:
            line |= {"status": "unsupported", "reason": "no", "wall_s": []}
    assert answered(tmp_path, lines).advice.iloc[0]["use"] == "b"


def test_training_is_ranked_by_the_training_step(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3 if s == "a" else 2e-3, strategies=["a", "b"], create_graph=True)
    for line in lines:
        line["train_s"] = [9e-3 if line["strategy"] == "a" else 3e-3]
    row = answered(tmp_path, lines).advice.iloc[0]
    assert (row["use"], row["purpose"]) == ("b", "train")
    assert row["line"].endswith('jacobian(f, x, strategy="b", create_graph=True)')


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_planted_exponent_is_found(tmp_path: Path, power: float) -> None:
    lines = rows(lambda s, n: 1e-6 * n**power, strategies=["a"], sizes=[8, 16, 32, 64, 128, 256])
    (found,) = answered(tmp_path, lines).exponents.to_dict("records")
    assert found["low"] < power < found["high"]
    assert found["exponent"] == pytest.approx(power, abs=0.1)


def test_three_sizes_give_a_dash(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-6 * n, strategies=["a"], sizes=[8, 16, 32])
    (found,) = answered(tmp_path, lines).exponents.to_dict("records")
    assert np.isnan(found["exponent"])


def test_launch_bound_sizes_do_not_count(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a"], sizes=[8, 16, 32, 64, 128])
    (found,) = answered(tmp_path, lines).exponents.to_dict("records")
    assert (found["above_floor"], np.isnan(found["exponent"])) == (0, True)


@pytest.mark.parametrize(
    ("n", "m", "shape"), [(8, 1, "scalar"), (8, 32, "tall"), (32, 8, "wide"), (8, 9, "square")]
)
def test_shape_classes(n: int, m: int, shape: str) -> None:
    assert shape_class(n, m) == shape


def test_the_verdict_counts_every_status() -> None:
    measured, *_ = verdict(answer(load(GOLDEN)))
    assert measured == (
        "3 cases in 2 passes: 2 measured and right and 1 wrong."
        " Faults in 1 cases, among them bad: they have no times anywhere."
    )


def test_an_execution_pays_back_what_preparing_it_took(tmp_path: Path) -> None:
    planted = {"eager": (4e-3, 0.01), "traced": (2e-3, 0.05), "compile": (8e-3, 9.0)}
    lines = [
        line | {"prepare_s": prepare_s}
        for execution, (seconds, prepare_s) in planted.items()
        for line in rows(lambda s, n, t=seconds: t, strategies=["a"], noise=0, execution=execution)
    ]
    found = answered(tmp_path, lines).cases.set_index("execution")["pays_back_calls"]
    assert found["traced"] == 20
    assert np.isnan(found["eager"])
    assert np.isnan(found["compile"])


def test_an_execution_without_an_eager_row_has_no_payback(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a"], execution="traced")
    assert np.isnan(answered(tmp_path, lines).cases["pays_back_calls"]).all()


def test_the_suites_own_time_is_what_no_case_spent(tmp_path: Path) -> None:
    spent = {"prepare": 1.0, "calls": 6.0, "reference": 0.5}
    lines = rows(lambda s, n: 1e-3, strategies=["a"], passes=2, spent_s=spent)
    table = load(write(tmp_path / "r.jsonl", lines)).rows
    assert own_share(table, 20.0) == pytest.approx(0.25)
    assert np.isnan(own_share(table, None))
    assert np.isnan(own_share(load(GOLDEN).rows, 20.0))


def on_two_counts(tmp_path: Path, sizes: tuple[int, ...] = (16,)):
    """`a` wins with one thread, `b` with two."""
    seconds = {("a", 1): 1.0, ("b", 1): 2.0, ("a", 2): 1.5, ("b", 2): 0.5}
    lines = [
        line
        for t in (1, 2)
        for line in rows(
            lambda s, n, t=t: seconds[s, t] * n**t * 1e-3,
            strategies=["a", "b"],
            sizes=sizes,
            threads=t,
        )
    ]
    return answered(tmp_path, lines)


def test_thread_counts_are_never_compared_with_each_other(tmp_path: Path) -> None:
    found = on_two_counts(tmp_path)
    assert dict(zip(found.advice["threads"], found.advice["use"], strict=True)) == {1: "a", 2: "b"}
    best = found.cases[found.cases["factor"] == 1]
    assert set(zip(best["strategy"], best["threads"], strict=True)) == {("a", 1), ("b", 2)}
    assert found.advice["margin"].tolist() == pytest.approx([2, 3], rel=0.05)


def test_thread_counts_are_told_apart_where_they_are_shown(tmp_path: Path) -> None:
    found = on_two_counts(tmp_path, (8, 16, 32, 64))
    console = Console(width=100, record=True, file=StringIO())
    summary(found, console)
    assert "jacobian, square, cpu, 2 threads" in console.export_text()
    assert "| jacobian, square, cpu, 2 threads |" in regimes(found)
    assert [row[8].text for row in use.regimes(found).rows] == ["cpu", "cpu, 2 threads"]
    assert set(found.exponents["workload"]) == {"net", "net, 2 threads"}
    panels = scaling_points(found, "jacobian")["panel"]
    assert set(panels) == {"net, n", "net, 2 threads, n"}
    assert environment(found.run)["threads"].startswith("1 and 2, ")


@pytest.mark.parametrize(("count", "dots"), [(2, 2), (3, 3), (8, 2)])
def test_of_many_passes_the_least_and_the_most_are_drawn(
    tmp_path: Path, count: int, dots: int
) -> None:
    lines = rows(
        lambda name, n: n * 1e-3, strategies=["loop-grad"], sizes=(4, 8, 16, 32), passes=count
    )
    points = scaling_points(answer(load(write(tmp_path / "run.jsonl", lines))), "jacobian")
    each = points[~points["estimate"]].groupby("value")["seconds"]
    assert set(each.size()) == {dots}
    taken = {n: [line["wall_s"][0] for line in lines if line["n"] == n] for n in (4, 8, 16, 32)}
    assert each.min().to_dict() == pytest.approx({n: min(t) for n, t in taken.items()})
    assert each.max().to_dict() == pytest.approx({n: max(t) for n, t in taken.items()})


def test_each_thread_count_has_a_launch_floor_of_its_own(tmp_path: Path) -> None:
    """By the floor of one thread the smallest size of two would count too."""
    found = on_two_counts(tmp_path, (8, 16, 32, 64, 128)).exponents.set_index(["workload", "way"])
    assert found.loc[("net, 2 threads", "b"), "above_floor"] == 4


def test_the_memory_of_a_training_case_is_that_of_a_step(tmp_path: Path) -> None:
    counted = {"peak_bytes": 1000, "train_peak_bytes": 3000, "ops": 10}
    lines = rows(lambda *_: 1e-3, strategies=["trains", "not"], create_graph=True, train_s=[2e-3])
    for line in lines:
        line["counters"] = counted if line["strategy"] == "trains" else {"peak_bytes": 1000}
    table = estimates(load(write(tmp_path / "run.jsonl", lines)).rows)
    assert dict(zip(table["strategy"], table["peak_bytes"], strict=True)) == {
        "trains": 3000,
        "not": 1000,
    }


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"cpu_s": [1e-3, 2e-3]}, 1e-3),
        ({"cpu_s": [1e-3], "threads": 2}, 5e-3),
        ({"cpu_s": [1e-3], "device": "cuda"}, 5e-3),
        ({"cpu_s": []}, 5e-3),
        ({"create_graph": True, "train_s": [9e-3], "train_cpu_s": [4e-3]}, 4e-3),
        ({"create_graph": True, "train_s": [9e-3], "train_cpu_s": [4e-3], "threads": 2}, 9e-3),
    ],
    ids=["one-thread", "two-threads", "device", "wall-alone", "training", "training-two-threads"],
)
def test_cpu_time_counts_where_one_thread_of_the_host_computes(
    tmp_path: Path, fields: dict[str, object], seconds: float
) -> None:
    lines = rows(lambda *_: 5e-3, strategies=["a"], noise=0, **fields)
    table = estimates(load(write(tmp_path / "run.jsonl", lines)).rows)
    assert list(table["seconds"]) == pytest.approx([seconds])


def test_a_time_may_drift_between_runs_and_a_ratio_within_one_does_not(tmp_path: Path) -> None:
    lines = rows(lambda s, _: {"a": 1e-3, "b": 2e-3}[s], strategies=["a", "b"], noise=0)
    run = load(write(tmp_path / "run.jsonl", lines))
    widths = estimates(run.rows)["half_width"]
    assert list(widths) == pytest.approx([np.exp(1.96 * BETWEEN_RUNS) - 1] * 2, rel=1e-4)
    ratios = factors(run.rows)
    assert list(ratios["factor_low"]) == pytest.approx(list(ratios["factor_high"]))


def test_nothing_is_cut_in_a_terminal_of_80_columns() -> None:
    found = answer(load(ROOT / "docs/published/cpu.jsonl.gz"))
    said = StringIO()
    summary(found, Console(file=said, width=80))
    text = said.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(word in text for name in found.advice["use"] for word in name.split())
