"""Workflows, of this repository and those that the documentation hands out: they parse, and what
they call is there."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import ROOT

from bench.__main__ import parser as bench_parser
from reports.__main__ import parser as reports_parser

FOLDER = ROOT / ".github"
WORKFLOWS = sorted(FOLDER.glob("workflows/*.yml"))
ACTIONS = sorted(FOLDER.glob("actions/*/action.yml"))
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARSERS = {"bench": bench_parser, "reports": reports_parser}


def texts() -> Iterator[Any]:
    for path in (*WORKFLOWS, *ACTIONS):
        yield pytest.param(path.read_text(encoding="utf-8"), id=path.parent.name + "/" + path.name)
    for page in sorted((ROOT / "docs").glob("*.md")):
        for k, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            yield pytest.param(block, id=f"{page.name}-{k}")


on_texts = pytest.mark.parametrize("text", [*texts()])


def steps(text: str) -> list[dict[str, Any]]:
    """The steps of a workflow's jobs, or of a composite action."""
    whole = yaml.safe_load(text)
    jobs = whole["jobs"].values() if "jobs" in whole else [whole["runs"]]
    return [step for job in jobs for step in job["steps"]]


def scripts(text: str) -> list[str]:
    return [step["run"] for step in steps(text) if "run" in step]


def calls(script: str) -> Iterator[list[str]]:
    """Commands as words: of a line what stands between separators, outside of quotes."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();&|<>")
        lexer.whitespace_split = True
        call: list[str] = []
        for word in lexer:
            if set(word) <= set("();&|<>"):
                yield call
                call = []
            else:
                call.append(word)
        yield call


def unknown(script: str) -> list[str]:
    """What a script calls that is not there: targets of make, commands and options of ours."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    found = []
    for call in calls(script):
        if call[:1] == ["make"]:
            found += [w for w in call[1:] if "=" not in w and w not in targets]
        for package, parser in PARSERS.items():
            if ["-m", package] == call[1:3] and not parses(parser(), call[3:]):
                found.append(" ".join(call))
        if call[:1] == ["bash"] and not (ROOT / call[1]).is_file():
            found.append(call[1])
    return found


def parses(parser: argparse.ArgumentParser, arguments: list[str]) -> bool:
    try:
        parser.parse_args(arguments)
    except SystemExit:
        return False
    return True


@on_texts
def test_it_parses_and_has_steps(text: str) -> None:
    whole = yaml.safe_load(text)
    # YAML 1.1 reads the key `on` as true.
    assert whole["runs"]["using"] == "composite" if "runs" in whole else whole[True]
    assert all(("run" in step) != ("uses" in step) for step in steps(text))


@on_texts
def test_what_it_calls_is_there(text: str) -> None:
    assert [name for script in scripts(text) for name in unknown(script)] == []
    own = [s["uses"] for s in steps(text) if s.get("uses", "").startswith("./")]
    assert [name for name in own if not (ROOT / name / "action.yml").is_file()] == []


@on_texts
def test_its_scripts_are_bash_and_take_names_from_the_environment(text: str) -> None:
    """An expression in a script would run whatever a branch is called."""
    for script in scripts(text):
        done = subprocess.run(["bash", "-n"], input=script, text=True, check=False)
        assert done.returncode == 0
        assert "${{" not in script


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("make regress nothing GRID=smoke", ["nothing"]),
        ("a && make nothing", ["nothing"]),
        (
            "x=$(.venv/bin/python -m bench rum --grid a) || b",
            [".venv/bin/python -m bench rum --grid a"],
        ),
        ("python -m reports history", ["python -m reports history"]),
        ("python -m bench \\\n  pair main --fast", ["python -m bench pair main --fast"]),
        ("bash .ci/none", [".ci/none"]),
        ("make test\npython -m bench pair main\nbash .ci/run", []),
    ],
)
def test_what_is_not_there_is_seen(script: str, said: list[str]) -> None:
    assert unknown(script) == said


def test_what_each_workflow_is_for() -> None:
    """The commands by which a pull request is judged and a night is stored."""
    called = {
        path.name: " ".join(
            " ".join(call) for script in scripts(path.read_text()) for call in calls(script)
        )
        for path in WORKFLOWS
    }
    assert "make regress" in called["pull-request.yml"]
    assert "pair $BASE --instructions" in called["pull-request.yml"]
    assert "pair $BASE --grid smoke --screen-only" in called["pull-request.yml"]
    assert "pair $BASE --grid smoke --resume results/times/pair-*" in called["pull-request.yml"]
    assert "run --grid default" in called["nightly.yml"]
    assert "reports history" in called["nightly.yml"]


def test_the_confirmation_is_a_job_of_its_own_that_goes_on_with_the_screen() -> None:
    jobs = yaml.safe_load((FOLDER / "workflows/pull-request.yml").read_text())["jobs"]
    assert jobs["confirm"]["needs"] == "screen"
    assert jobs["screen"]["outputs"].keys() == {"suspected"}
    assert "needs.screen.outputs.suspected != '0'" in jobs["confirm"]["if"]
    left = [s["with"]["name"] for s in jobs["screen"]["steps"] if "upload" in s.get("uses", "")]
    taken = [s["with"]["name"] for s in jobs["confirm"]["steps"] if "download" in s.get("uses", "")]
    assert left == taken == ["screen"]


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(folder), *own, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def store(clone: Path, run: Path, folder: Path) -> int:
    command = ["bash", str(FOLDER / "store-run"), str(run), str(folder)]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        command, cwd=clone, env=outer, capture_output=True, check=False
    ).returncode


def test_a_run_is_stored_on_a_branch_of_its_own(tmp_path: Path) -> None:
    """Two nights, each in a fresh shallow clone, as a runner has it."""
    origin, source = tmp_path / "origin", tmp_path / "source"
    subprocess.run(["git", "init", "-q", "-b", "main", str(source)], check=True)
    (source / "code.py").write_text("1\n")
    git(source, "add", ".")
    git(source, "commit", "-qm", "Code")
    subprocess.run(["git", "clone", "-q", "--bare", str(source), str(origin)], check=True)
    for night in ("one", "two"):
        clone, run = tmp_path / night, tmp_path / f"{night}.jsonl"
        run.write_text(f"{night}\n")
        url = f"file://{origin}"
        subprocess.run(["git", "clone", "-q", "--depth", "1", url, str(clone)], check=True)
        assert store(clone, run, tmp_path / f"{night}-benchmarks") == 0
        assert git(clone, "status", "--porcelain") == ""
    assert git(origin, "ls-tree", "--name-only", "benchmarks").split() == [
        "one.jsonl.gz",
        "two.jsonl.gz",
    ]
    assert git(origin, "log", "--format=%s", "benchmarks").splitlines() == ["Run two", "Run one"]
    assert git(origin, "ls-tree", "--name-only", "main").split() == ["code.py"]
    assert gzip.decompress((tmp_path / "two-benchmarks/one.jsonl.gz").read_bytes()) == b"one\n"
    git(tmp_path / "two", "remote", "set-url", "origin", str(tmp_path / "gone"))
    assert store(tmp_path / "two", tmp_path / "one.jsonl", tmp_path / "three") not in (0, 1, 2)
    assert not (tmp_path / "three").exists()
