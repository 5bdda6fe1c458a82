"""Counting instructions: what is chosen, what is refused, rows of dumps; the real run is slow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import instructions
from bench.__main__ import main
from bench.arms import Arm, Listed
from bench.counting import CALLS
from bench.grid import blocks, cases
from bench.instructions import InstructionsError, countable, counted, require
from strategies import Operator, find

ROOT = Path(__file__).parent.parent
DUMP = ROOT / "tests" / "data" / "callgrind.out"
CHOSEN = cases(blocks("instructions"))


def test_choice_is_of_every_operator_eager_and_traced() -> None:
    found = {(case.operator, case.execution) for case in CHOSEN}
    assert found == {(op, way) for op in Operator for way in ("eager", "traced")}
    assert len(CHOSEN) >= 20


def test_choice_is_of_every_mode_of_the_smoke_grid() -> None:
    smoke = cases(blocks("smoke"))
    modes = {find(case.operator, case.strategy).mode for case in smoke}
    assert {find(case.operator, case.strategy).mode for case in CHOSEN} == modes


def test_eager_choice_is_part_of_the_smoke_grid() -> None:
    smoke = {case.id for case in cases(blocks("smoke"))}
    assert {case.id for case in CHOSEN if case.execution == "eager"} <= smoke


def test_compiled_and_threaded_cases_are_not_counted() -> None:
    axes = CHOSEN[0].axes
    given = [axes, axes | {"execution": "compile"}, axes | {"threads": 2}]
    arm = Arm("base", None, (), (), sys.executable, tuple(map(Listed, given)), {})
    assert [case.axes for case in countable(arm)] == [axes]


def test_without_valgrind_one_line_and_2(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["pair", "HEAD", "--instructions"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "bench: --instructions needs valgrind, which is not here: apt-get install valgrind"
    )


def test_another_device_is_refused(capsys) -> None:
    assert main(["pair", "HEAD", "--instructions", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "bench: --instructions counts on the CPU, not on cuda\n"


@pytest.mark.parametrize("toggles", [None, lambda: False])
def test_a_torch_without_toggles_is_refused(toggles, monkeypatch) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch._C, "_valgrind_supported_platform", toggles)
    with pytest.raises(InstructionsError, match="without callgrind's toggles"):
        require("cpu")


@pytest.mark.parametrize(
    "options",
    [["--inject", "a=1.1"], ["--resume", "somewhere"], ["--threads", "2"]],
    ids=lambda options: options[0],
)
def test_options_of_times_are_refused(options: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda name: name)
    assert main(["pair", "HEAD", "--instructions", *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert options[0] in line


def test_a_row_has_the_instructions_of_a_call_in_each_round() -> None:
    row = counted({"status": "ok"}, [DUMP, DUMP])
    assert row["instructions"] == [1030 // CALLS] * 2
    assert row["functions"]["libc.so.6 (no name)"] == 400 // CALLS
    assert list(row["functions"].values()) == sorted(row["functions"].values(), reverse=True)


def test_a_dump_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert counted({"status": "ok"}, [tmp_path / "gone"])["status"] == "error"


def test_a_refusal_stays_one() -> None:
    row = {"status": "unsupported", "reason": "no"}
    assert counted(row, []) == row | {"pass": 0}


def plant(path: Path) -> None:
    """Put one operation more on the input into one strategy: some 3 % of its instructions."""
    plain = "return lambda x, v, *args: Orders(*push_dual(f, x, v, args))"
    text = path.read_text(encoding="utf-8")
    assert text.count(plain) == 1
    path.write_text(text.replace(plain, plain.replace("f, x,", "f, 1.0 * x,")), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_planted_slowdown_is_found_and_nothing_else(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    plant(clone / "strategies" / "forward.py")
    subprocess.run([*git, "commit", "-qam", "Slower"], check=True)
    done = subprocess.run(
        [*(sys.executable, "-m", "bench", "pair", "HEAD~1", "HEAD", "--instructions")]
        + [*("--only", "jvp/d", "--only", "mlp-square", "--results", str(tmp_path / "out"))],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(Path(done.stdout.splitlines()[-1]).read_text())["cases"]
    slower = [case for case in found if case["word"] == "slower"]
    assert slower
    assert all(case["case"].startswith("jvp/dual-jvp/") for case in slower)
    named = [case["reason"].partition(";")[0].split(", ") for case in slower]
    assert all(len(functions) == 3 for functions in named)
    assert all(abs(case["ratio"] - 1) < 0.005 for case in found if case not in slower)
