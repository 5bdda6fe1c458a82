"""The arithmetic of the study of estimators, on planted times; which arm is where, and when."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import rows, write

from reports.load import load

ROOT = Path(__file__).parent.parent
# Between passes the arms go up and down together by this, in logarithms, and apart by that.
TOGETHER = np.array([0.3, -0.1, 0.2, -0.4, 0.0])
APART = np.array([0.01, -0.02, 0.03, 0.00, -0.02])


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("estimators", ROOT / "docs/estimators.py")
    assert spec
    assert spec.loader
    # A dataclass looks its module up by name.
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frame(**columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis(index="pass")


def test_what_both_arms_share_is_not_in_their_difference(study: ModuleType) -> None:
    a = frame(quiet=TOGETHER, loud=TOGETHER + 5 * APART, middle=TOGETHER + 2 * APART)
    b = frame(quiet=TOGETHER - APART, loud=TOGETHER, middle=TOGETHER)
    typical, worst, alone, worst_alone = study.spread(a, b)
    sd = np.std(APART, ddof=1)
    assert typical == pytest.approx(2 * sd)
    assert worst == pytest.approx(5 * sd)
    each = [np.sqrt((a[c].var() + b[c].var()) / 2) for c in a]
    assert (alone, worst_alone) == pytest.approx((np.median(each), max(each)))
    assert alone > 5 * typical


def test_only_what_both_arms_have_is_compared(study: ModuleType) -> None:
    """One arm is a pass ahead, where the study was interrupted, and one lacks a case."""
    a = frame(x=np.array([1.0, 2.0, 4.0]), y=np.array([1.0, 1.0, 1.0]))
    b = frame(x=np.array([1.0, 1.0]))
    assert study.spread(a, b) == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 0.5, 0.5])
    with pytest.raises(study.StudyError, match="two passes of the same case"):
        study.spread(a, b.loc[:0])


def planted(folder: Path, pairing: str, arm: str, logs: np.ndarray) -> None:
    """A file whose rounds are t, 2t, 3t, 4t and 9t by the wall clock, and all one by the other."""
    lines = rows(lambda s, n: 1.0, strategies=["s"], passes=len(logs), noise=0)
    for line, log in zip(lines, logs, strict=True):
        line["wall_s"] = [float(np.exp(log)) * k for k in (9, 1, 2, 4, 3)]
        line["cpu_s"] = [1.0] * 5
    # The slowest round of a pass is the median's business, not the minimum's.
    lines[0]["wall_s"][1:4] = [9 * value for value in lines[0]["wall_s"][1:4]]
    lines[0]["wall_s"][4] = lines[0]["wall_s"][4] / 3
    write(folder / f"{pairing}-{arm}.jsonl", lines)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for pairing in ("in-turn", "at-once"):
        planted(tmp_path, pairing, "a", TOGETHER + APART)
        planted(tmp_path, pairing, "b", TOGETHER)
    return tmp_path


def cells(text: str) -> dict[tuple[str, ...], list[str]]:
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {tuple(line[:3]): line[3:] for line in lines[2:]}


def test_the_table_has_every_pairing_clock_and_estimator(study: ModuleType, kept: Path) -> None:
    found = cells(study.table(kept))
    assert len(found) == 2 * 2 * 3
    percent = f"{100 * np.std(APART, ddof=1):.1f} %"
    for (_, clock, _), line in found.items():
        assert line[:2] == ([percent] * 2 if clock == "wall" else ["0.0 %"] * 2)
    assert "1 cases, 5 passes an arm" in study.table(kept)


def test_estimators_are_told_apart(study: ModuleType, kept: Path) -> None:
    """In the first pass most rounds are nine times as long, and the shortest is as it was."""
    found = cells(study.table(kept))
    alone = {name: float(found["in turn", "wall", name][2].split()[0]) for name in study.ESTIMATORS}
    shared = TOGETHER + APART
    by_hand = np.sqrt((np.var(shared, ddof=1) + np.var(TOGETHER, ddof=1)) / 2)
    assert alone["minimum"] == pytest.approx(100 * by_hand, abs=0.06)
    assert alone["median"] > 2 * alone["minimum"]


@dataclass
class Watched:
    """A study whose arms say where and when they were measured."""

    cores: tuple[int, int] = (7, 3)
    begun: list[int] = field(default_factory=list)

    def rows(self, number: int, core: int) -> list[tuple[int, int]]:
        self.begun.append(core)
        return [(len(self.begun), core)]


def test_in_turn_is_a_b_b_a_on_one_core(study: ModuleType) -> None:
    watched = Watched()
    order = [study.in_turn(watched, number) for number in range(3)]
    assert [(a[0][0], b[0][0]) for a, b in order] == [(1, 2), (4, 3), (5, 6)]
    assert set(watched.begun) == {7}


def test_at_once_swaps_cores_every_pass(study: ModuleType) -> None:
    found = [study.at_once(Watched(), number) for number in range(3)]
    assert [(a[0][1], b[0][1]) for a, b in found] == [(7, 3), (3, 7), (7, 3)]


def test_the_listed_cases_are_in_the_default_grid(study: ModuleType) -> None:
    assert [case.id for case in study.chosen([])] == list(study.IDS)


def test_a_case_that_failed_ends_the_study(
    study: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = study.chosen([])[0]
    sent = {"kind": "row", **case.axes, "status": "wrong", "reason": "off"}
    death = study.Death(0, "", "", None, 1)
    monkeypatch.setattr(study, "messages", lambda *_: iter([{"kind": "started"}, sent, death]))
    job = study.Job((), (), 1, (), 9.0)
    made = study.Study(job, [case], (0, 1), SimpleNamespace())
    with pytest.raises(study.StudyError, match=f"{case.id} is wrong: off"):
        made.rows(0, 1)
    monkeypatch.setattr(study, "messages", lambda *_: iter([death]))
    with pytest.raises(study.StudyError, match="ended before its last case"):
        made.rows(0, 1)


def test_the_table_goes_between_the_markers(
    study: ModuleType, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = kept / "page.md"
    page.write_text((ROOT / "docs/method.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["estimators", "--from", str(kept), "--into", str(page)])
    assert study.main() == 0
    said = capsys.readouterr().out
    assert said == study.table(kept)
    assert said in page.read_text(encoding="utf-8")


def test_one_pass_is_refused_before_anything_is_measured(study: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(study.StudyError, match="at least two passes are needed, not 1"):
        study.measure(tmp_path, study.chosen([]), 1)
    assert list(tmp_path.iterdir()) == []


def test_without_two_cores_nothing_is_measured(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = nullcontext(SimpleNamespace(cores=(3,)))
    monkeypatch.setattr(study, "claimed_cores", lambda count: one)
    with pytest.raises(study.StudyError, match=r"two cores are needed .*, not \(3,\)"):
        study.measure(tmp_path, study.chosen([]), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="two cores are needed"
)
def test_the_study_measures_both_arms_in_every_pass(tmp_path: Path) -> None:
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            *(sys.executable, "docs/estimators.py", "--results", str(tmp_path / "kept")),
            *("--passes", "2", "--only", "seed-sum"),
        ],
        cwd=ROOT,
        # Another run's claim of a core is not in this folder.
        env={**outer, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "kept").iterdir())
    assert [f.stem for f in files] == ["at-once-a", "at-once-b", "in-turn-a", "in-turn-b"]
    for file in files:
        found = load(file)
        assert (found.rows["pass"].tolist(), found.warnings) == ([0, 1], ())
    assert len(cells(done.stdout)) == 12
    assert "1 cases, 2 passes an arm" in done.stdout


def test_a_folder_without_files_is_one_line(
    study: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["estimators", "--from", str(tmp_path)])
    assert study.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("estimators: cannot read ")
    assert said.count("\n") == 1
