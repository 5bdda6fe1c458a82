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

from bench import instructions, valgrind
from bench.__main__ import main
from bench.arms import Arm, Listed
from bench.counting import CALLS
from bench.grid import blocks, cases
from bench.instructions import countable, counted
from bench.valgrind import InstructionsError, require
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
    arm = Arm("base", None, (), (), (), sys.executable, tuple(map(Listed, given)), {})
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
    monkeypatch.setattr(valgrind.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch._C, "_valgrind_supported_platform", toggles)
    with pytest.raises(InstructionsError, match="without callgrind's toggles"):
        require("cpu")


@pytest.mark.parametrize(
    "options",
    [["--inject", "a=1.1"], ["--resume", "somewhere"], ["--threads", "2"]],
    ids=lambda options: options[0],
)
def test_options_of_times_are_refused(options: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr(valgrind.shutil, "which", lambda name: name)
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


def test_what_a_process_did_not_come_to_is_said() -> None:
    crashed, skipped = instructions._lost([Listed(case.axes) for case in CHOSEN[:2]], "crashed")
    assert (crashed["status"], skipped["status"]) == ("crashed", "skipped")
    assert CHOSEN[0].id in skipped["reason"]


@pytest.mark.parametrize(
    ("code", "waited_s", "end"),
    [(None, 1.0, None), (None, 61.0, "timeout"), (0, 61.0, ""), (-11, 1.0, "crashed")],
)
def test_how_a_process_ended(code: int | None, waited_s: float, end: str | None) -> None:
    assert instructions._end(code, waited_s, 60.0, None) == end
    assert instructions._end(code, waited_s, 60.0, "timeout") == "timeout"


VALGRIND = """#!/bin/sh
for word; do case $word in --callgrind-out-file=*) out=${word#*=};; esac; done
for number in 1 2 3 4 5 6; do cp DUMP $out.$number; done
case $out in *head-dumps*) sed -i 's/^0 300$/0 400/;s/1030/1130/' $out.[123];; esac
while case $1 in --*) true;; *) false;; esac; do shift; done
exec "$@"
"""


OWN = '''
"""A file of the repository: without one there would be nothing that could differ."""
from strategies import Operator, strategy

@strategy(Operator.GRADIENT, mode="reverse", sweep="one-pass")
def own(f, inputs, options):
    """Is not selected."""
'''


@pytest.fixture
def planted(tmp_path: Path, monkeypatch) -> Path:
    """A repository with a strategy; a valgrind that leaves dumps, of head three larger ones."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (
        ("valgrind", VALGRIND.replace("DUMP", str(DUMP))),
        ("setarch", '#!/bin/sh\nshift 2\nexec "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    repository = tmp_path / "repository"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(repository)]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "own.py").write_text(OWN)
    subprocess.run([*git, "add", "own.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "First"], check=True)
    monkeypatch.chdir(repository)
    return repository


def test_planted_counts_become_verdicts_and_files(planted: Path, capsys) -> None:
    only = ["--only", "gradient/autograd-grad/", "--strategies", "own.py"]
    assert main(["pair", "HEAD", "HEAD", "--instructions", *only]) == 1
    folder = Path(capsys.readouterr().out.splitlines()[-1]).parent
    slower, same = json.loads((folder / "verdicts.json").read_text())["cases"]
    assert (slower["word"], same["word"]) == ("slower", "same")
    assert slower["ratio"] == (1130 // CALLS) / (1030 // CALLS)
    assert "what moved: interpreter +9.8 %" in slower["reason"]
    written = {path.name for path in folder.iterdir()}
    arms = {f"instructions-{name}.jsonl" for name in ("base", "head")}
    assert written == arms | {f"verdicts.{form}" for form in ("json", "md", "xml")}


def test_an_arm_that_cannot_import_is_one_line_and_2(planted: Path, capsys) -> None:
    program = planted.parent / "programs" / "valgrind"
    program.write_text("#!/bin/sh\necho ==1== noise >&2; echo no torch here >&2; exit 1\n")
    only = ["--only", "gradient/autograd-grad/", "--strategies", "own.py"]
    assert main(["pair", "HEAD", "HEAD", "--instructions", *only]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "bench: base cannot be counted: no torch here"


def plant(path: Path) -> None:
    """Put one operation more on v into one strategy: some 3 % of its instructions."""
    plain = "return Orders(y, pull(y, x, v, create_graph=options.create_graph))"
    text = path.read_text(encoding="utf-8")
    assert text.count(plain) == 1
    path.write_text(
        text.replace(plain, plain.replace("x, v,", "x, v.add(1e-9),")), encoding="utf-8"
    )


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_planted_slowdown_is_found_and_nothing_else(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    plant(clone / "strategies" / "loops.py")
    subprocess.run([*git, "commit", "-qam", "Slower"], check=True)
    only = ["--only", "vjp/", "--only", "mlp-square", "--results", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "pair", "HEAD~1", "HEAD", "--instructions", *only],
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
    assert all(case["case"].startswith("vjp/autograd-grad/") for case in slower)
    named = [case["reason"].partition(";")[0].split(", ") for case in slower]
    assert all(len(functions) == 3 for functions in named)
    assert all(abs(case["ratio"] - 1) < 0.01 for case in found if case not in slower)
