"""The commands by which another team puts its own code under the gates: as the page has them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import ROOT, surroundings

PAGE = (ROOT / "docs/regression-tracking.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Your own strategies and networks under the same gate")[2]
BLOCK = re.compile(r"(?:^`([\w./]+)`[^\n]*\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT_S = 15 * 60
MARK = "command "


@dataclass(frozen=True)
class Step:
    """A command of the page, with the lines that it is said to print, or a file to write."""

    command: str
    prints: tuple[str, ...] = ()


def steps(text: str) -> Iterator[Step]:
    """What a reader does, in the order of the page; a block with a name before it is a file."""
    for name, kind, body in BLOCK.findall(text):
        if kind == "console":
            for command in body.removeprefix("$ ").split("\n$ "):
                first, *printed = command.rstrip("\n").split("\n")
                yield Step(first, tuple(printed))
        elif kind == "python":
            yield Step(f"printf %s {shlex.quote(body)} > {name}")


def test_every_file_has_its_name_and_every_command_is_found() -> None:
    commands = [step.command for step in steps(SECTION)]
    assert [c.rpartition(" > ")[2] for c in commands if c.startswith("printf %s")] == [
        "ways.py",
        "net.py",
    ]
    assert sum("python -m bench" in command for command in commands) == 6
    assert SECTION.count("\n$ ") == len(commands) - 2


@pytest.mark.slow
def test_another_team_is_under_the_gate_within_a_quarter_of_an_hour(tmp_path: Path) -> None:
    subprocess.run(
        ["git", "clone", "-q", str(ROOT), str(tmp_path / "input-derivatives")], check=True
    )
    found = list(steps(SECTION))
    script = "".join(
        f"echo '{MARK}{k}'\n{step.command} || exit 9\n" for k, step in enumerate(found)
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    who = {
        f"GIT_{role}_{what}": "a@b.example"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=surroundings(PATH=path, TMPDIR=str(tmp_path), PYTHONPATH="", **who),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    print(f"{time.monotonic() - start:.0f} s")
    said = re.split(rf"^{MARK}\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert done.returncode == 0, (found[len(said) - 1].command, done.stderr[-2000:])
    for step, text in zip(found, said, strict=True):
        assert set(step.prints) <= set(text.splitlines()), (step.command, text, done.stderr[-2000:])
