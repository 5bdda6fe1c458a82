"""The trials of comparisons: what is slowed by how much, what their tables say, and the real ones.

The real ones take an hour and are kept in results/, by commit: a second run goes on with the first.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from made_comparisons import made
from processes import ROOT, surroundings

from reports.verdict_files import as_json
from reports.verdicts import judge

MINUTES = 60


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec
    assert spec.loader
    # A dataclass looks its module up by name.
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trials() -> ModuleType:
    return script("trials")


@pytest.fixture(scope="module")
def instructions() -> ModuleType:
    return script("instruction_trials")


def plant(folder: Path, name: str, ratios: dict[str, float], injected: str = "") -> None:
    """A trial that was made: a comparison of planted ratios."""
    at = folder / name / "pair-x"
    at.mkdir(parents=True)
    (at / "verdicts.json").write_text(as_json(judge(made(ratios, others=19))))
    (at.parent / "trial.json").write_text(json.dumps({"injected": injected, "seconds": 61.0}))


@pytest.fixture
def kept(tmp_path: Path, trials: ModuleType) -> Path:
    for name in trials.UNCHANGED:
        plant(tmp_path, name, {"a": 1.0})
    plant(tmp_path, "slowed-0", {"a": 1.3}, "a=1.300")
    plant(tmp_path, "slowed-1", {"a": 1.0}, "a=1.300")
    plant(tmp_path, "busy-head", {"a": 1.0, "gemm": 1.4})
    return tmp_path


def test_half_again_of_what_can_be_seen_is_injected(kept: Path, trials: ModuleType) -> None:
    limits = trials.mdes([trials.read(kept, name) for name in trials.UNCHANGED])
    chosen = [trials.injection(kept, name).rpartition("=") for name in trials.SLOWED]
    assert len({case for case, _, _ in chosen}) == 10
    case, _, ratio = chosen[0]
    assert float(ratio) == pytest.approx(1 + 1.5 * (limits[case][0] - 1), abs=1e-3)
    assert trials.injection(kept, "unchanged-0") == ""


def test_the_tables_say_what_was_found(kept: Path, trials: ModuleType) -> None:
    text = trials.table(kept)
    assert "Unchanged code: 10 runs, 0 contaminated; verdicts: 200 same." in text
    assert re.search(r"^\| `a` \| 1\.300× \| slower \| 1\.(29|30)\d× \|$", text, re.MULTILINE)
    assert "| `a` | 1.300× | same | " in text
    assert "1 of 2 found; of the other cases 0 called." in text
    assert "busy, head: 1 run, 1 contaminated; verdicts: 20 unclear." in text
    assert "Longest run: 1 min 1 s." in text


def test_a_trial_that_is_there_is_not_made_again(
    kept: Path, trials: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "measured", lambda *_: pytest.fail("measured again"))
    trials.run(kept, "unchanged-3")


def test_an_interrupted_trial_is_gone_on_with(
    tmp_path: Path, trials: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unchanged-0/pair-x").mkdir(parents=True)
    (tmp_path / "unchanged-0/pair-x/screen-base.jsonl").write_text("")
    asked: list[Any] = []
    monkeypatch.setattr(trials, "measured", lambda command, *_: asked.extend(command) or 0)
    trials.run(tmp_path, "unchanged-0")
    assert asked[-2:] == ["--resume", str(tmp_path / "unchanged-0/pair-x")]
    made_ = json.loads((tmp_path / "unchanged-0/trial.json").read_text())
    assert made_ == {"injected": "", "seconds": None}


def test_hogs_compute_while_they_are_switched_on(trials: ModuleType) -> None:
    count = lambda: sum(b"while True: pass" in line for line in trials.command_lines())  # noqa: E731
    before = count()
    with trials.hogs() as switch:
        switch(True)
        switch(True)
        # A process that was just begun is not yet called what it will be.
        deadline = time.monotonic() + 5
        while count() - before != len(os.sched_getaffinity(0)):
            assert time.monotonic() < deadline
    assert count() == before


def test_an_empty_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("trials", "instruction_trials"):
        monkeypatch.setattr(sys, "argv", [name, "table", str(tmp_path)])
        assert script(name).main() == 2
        assert capsys.readouterr().err.count("\n") == 1


# Real ones


def study(name: str, limit_s: float) -> Path:
    """The folder of a study of this commit, made whole."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = ROOT / "results" / f"{name}-{commit}"
    done = subprocess.run(
        [sys.executable, f"docs/{name}.py", "run", str(folder)],
        cwd=ROOT,
        env=surroundings(PYTHONPATH=str(ROOT)),
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0
    return folder


@pytest.mark.slow
def test_real_comparisons_neither_cry_wolf_nor_sleep(trials: ModuleType) -> None:
    folder = study("trials", 75 * MINUTES)
    print(trials.table(folder))
    unchanged = [trials.read(folder, name) for name in trials.UNCHANGED]
    assert [case for trial in unchanged for case in trial.called("slower", "faster")] == []
    assert sum(trial.verdicts["contaminated"] for trial in unchanged) <= 1
    slowed = [trials.read(folder, name) for name in trials.SLOWED]
    assert sum(map(trials.detected, slowed)) >= 9
    for name in trials.BUSY:
        assert trials.read(folder, name).called("slower", "faster") == []
    known = [trial.seconds for trial in (*unchanged, *slowed) if trial.seconds is not None]
    assert max(known) <= 3 * MINUTES


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_real_counts_of_instructions_are_still_and_see_three_percent(
    instructions: ModuleType,
) -> None:
    folder = study("instruction_trials", 60 * MINUTES)
    print(instructions.table(folder))
    six = instructions.processes(folder)
    assert len(six) == 6
    assert len(six[0]) >= 20
    assert list(instructions.flagged(folder)) == []
    assert max(found.jitter for process in six for found in process.values()) <= 0.005
    assert all(instructions.found(folder, name).named for name in instructions.PLANTED)
    assert max(int(path.read_text()) for path in folder.glob("*/seconds")) <= 8 * MINUTES
