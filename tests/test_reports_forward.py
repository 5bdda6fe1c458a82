"""The cost in forward passes, of planted times and counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import rows, write
from processes import ROOT
from scipy import stats

from reports.answer import answer
from reports.export import COLUMNS
from reports.load import load
from reports.summary import estimates

COST = ["forward_passes", "forward_passes_low", "forward_passes_high"]


def estimated(
    tmp_path: Path, evaluate_s: list[float], forward_s: list[float], **fields: object
) -> pd.Series:
    """The estimate of one case that took so long in each pass."""
    lines = rows(lambda *_: 0.0, strategies=["a"], passes=len(evaluate_s), noise=0, **fields)
    for line, seconds, forward in zip(lines, evaluate_s, forward_s, strict=True):
        line |= {"wall_s": [seconds, 9 * seconds], "forward_s": [9 * forward, forward]}
    return estimates(load(write(tmp_path / "run.jsonl", lines)).rows).iloc[0]


def test_what_disturbs_a_pass_disturbs_both(tmp_path: Path) -> None:
    """The machine slows down fourfold, and in each pass a derivative takes three times f."""
    found = estimated(tmp_path, [3e-3, 6e-3, 12e-3], [1e-3, 2e-3, 4e-3])
    assert found["forward_s"] == pytest.approx(2e-3)
    assert list(found[COST]) == pytest.approx([3] * 3)


def test_the_interval_is_that_of_the_logarithms_of_the_ratios(tmp_path: Path) -> None:
    found = estimated(tmp_path, [2e-3, 4e-3, 8e-3], [1e-3] * 3)
    logs = np.log([2, 4, 8])
    bounds = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    assert list(found[COST]) == pytest.approx([4, *bounds])


def test_one_pass_has_a_ratio_and_no_interval(tmp_path: Path) -> None:
    found = estimated(tmp_path, [3e-3], [1e-3])
    assert found["forward_passes"] == pytest.approx(3)
    assert found[COST[1:]].isna().all()


def test_a_pass_without_the_time_of_f_does_not_count(tmp_path: Path) -> None:
    found = estimated(tmp_path, [3e-3, 3e-3, 5e-3], [1e-3, 1e-3, float("nan")])
    assert list(found[COST]) == pytest.approx([3] * 3)


@pytest.mark.parametrize(("threads", "seconds"), [(1, 5e-4), (2, 1e-3)])
def test_the_time_of_f_is_by_the_clock_of_its_case(
    tmp_path: Path, threads: int, seconds: float
) -> None:
    found = estimated(tmp_path, [3e-3], [1e-3], threads=threads, forward_cpu_s=[5e-4])
    assert found["forward_s"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("counters", "ratio"),
    [
        ({"flops": 800, "forward_flops": 100}, 8),
        ({"flops": 800, "forward_flops": 0}, None),
        ({"flops": 0, "forward_flops": 100}, None),
        ({"flops": 800}, None),
        ({}, None),
    ],
    ids=["both", "f has none", "the derivative has none", "of before", "not counted"],
)
def test_flops_are_told_in_those_of_f(
    tmp_path: Path, counters: dict[str, int], ratio: float | None
) -> None:
    found = estimated(tmp_path, [3e-3], [1e-3], counters=counters)["forward_flops_ratio"]
    assert np.isnan(found) if ratio is None else found == ratio


def test_counts_of_the_derivative_are_in_the_estimates(tmp_path: Path) -> None:
    counted = {"flops": 8, "elements": 40, "storage_bytes": 160}
    found = estimated(tmp_path, [3e-3], [1e-3], counters=counted)
    assert found[list(counted)].to_dict() == counted


def test_files_of_before_have_no_cost_in_forward_passes() -> None:
    cases = answer(load(ROOT / "tests/data/schema-1.jsonl")).cases
    assert cases[["forward_s", *COST, "forward_flops_ratio"]].isna().all(axis=None)
    assert cases["seconds"].notna().any()


def test_the_export_has_the_cost() -> None:
    assert {"forward_s", *COST, "flops", "forward_flops_ratio"} <= set(COLUMNS)
    assert not {"elements", "storage_bytes"} & set(COLUMNS)
