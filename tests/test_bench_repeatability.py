"""Runs of unchanged code say the same: intervals overlap and are narrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import rows, write
from processes import command

from reports.load import load
from reports.summary import BETWEEN_RUNS, estimates

RUNS, PASSES = 5, 5
LEAST_OVERLAPPING = 0.95
WIDEST = 0.15


@dataclass(frozen=True)
class Repeated:
    """How far runs agree: pairs of runs of a case, those whose intervals are apart, and the median
    half-width of all intervals."""

    pairs: int
    apart: tuple[str, ...]
    half_width: float

    @property
    def overlapping(self) -> float:
        return 1 - len(self.apart) / self.pairs

    def __str__(self) -> str:
        said = f"{self.overlapping:.1%} of {self.pairs} pairs of intervals overlap"
        return f"{said}; median half-width {self.half_width:.1%}; apart: {list(self.apart)}"


def repeated(paths: Iterable[Path]) -> Repeated:
    tables = [estimates(load(path).rows).set_index("id") for path in paths]
    timed = [table[table["status"] == "ok"] for table in tables]
    pairs, apart = 0, []
    for one, other in combinations(timed, 2):
        both = one.join(other[["low", "high"]].add_suffix("_other"), how="inner")
        pairs += len(both)
        disjoint = (both["high"] < both["low_other"]) | (both["high_other"] < both["low"])
        apart += list(both.index[disjoint])
    return Repeated(pairs, tuple(apart), float(pd.concat(timed)["half_width"].median()))


def measured(folder: Path, runs: int, passes: int, only: Sequence[str] = ()) -> list[Path]:
    """Result files of the smoke grid, one after the other."""
    asked = ["bench", "run", "--passes", str(passes), *(f"--only={part}" for part in only)]
    paths = []
    for _ in range(runs):
        done = command(*asked, "--results", str(folder), timeout_s=1200)
        assert done.returncode == 0, done.stderr
        paths.append(Path(done.stdout.strip()))
    return paths


@pytest.mark.slow
def test_runs_of_unchanged_code_say_the_same(tmp_path: Path) -> None:
    found = repeated(measured(tmp_path, RUNS, PASSES))
    print(found)
    assert found.pairs > 0
    assert found.overlapping >= LEAST_OVERLAPPING, found
    assert found.half_width <= WIDEST, found


def planted(folder: Path, name: str, **seconds: tuple[float, float, float]) -> Path:
    """A run of these strategies, each with its times in three passes."""
    lines = rows(lambda s, n: 1.0, strategies=list(seconds), noise=0)
    for line in lines:
        line["wall_s"] = [seconds[line["strategy"]][line["pass"]]]
    return write(folder / name, lines)


def test_intervals_that_are_apart_are_counted_and_named(tmp_path: Path) -> None:
    near, far, loud = (1.0, 1.01, 1.02), (2.0, 2.01, 2.02), (1.0, 2.0, 3.0)
    paths = [
        planted(tmp_path, "one.jsonl", a=near, b=near, c=loud),
        planted(tmp_path, "two.jsonl", a=near, b=far, c=near),
        planted(tmp_path, "three.jsonl", a=near, b=near),
    ]
    found = repeated(paths)
    assert found.pairs == 3 + 2 + 2
    assert [name.split("/")[1] for name in found.apart] == ["b", "b"]
    assert found.overlapping == pytest.approx(5 / 7)


def test_the_half_width_is_that_of_the_median_interval(tmp_path: Path) -> None:
    quiet, loud = (1.0, 1.0, 1.0), (1.0, 1.1, 1.2)
    path = planted(tmp_path, "run.jsonl", a=quiet, b=loud, c=loud)
    # Student's t for 95 % and two degrees of freedom.
    half = 4.302653 * np.std(np.log(loud), ddof=1) / np.sqrt(3)
    half = np.hypot(half, 1.959964 * BETWEEN_RUNS)
    assert repeated([path, path]).half_width == pytest.approx(np.exp(half) - 1, rel=1e-5)
