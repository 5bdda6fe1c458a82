"""Asks the reports what a comparison's files say: a process of their own, which reads the files.

The reader owns the meaning of the files; what measures knows no more than where it put them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .environment import ROOT


class JudgeError(RuntimeError):
    """Files that cannot be judged; the message is the one line that the reports said."""


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m reports …`: this suite's, whatever the folder it is run from holds."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-P", "-m", "reports", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def suspects(folder: Path) -> set[str]:
    """The ids of the cases that the screen suspects."""
    return set(_said(ask("suspects", str(folder))).splitlines())


def verdicts(folder: Path, title: str, waivers: str | None, *, strict: bool) -> int:
    """Have the verdicts printed and written into the folder; the exit code of the comparison."""
    options = ["--waivers", waivers] if waivers else []
    options += ["--strict"] if strict else []
    done = ask("verdicts", str(folder), "--title", title, *options)
    print(_said(done), end="")
    return done.returncode


def check_waivers(path: str) -> None:
    """Raise `JudgeError` where a file of waivers cannot be read: before hours are measured."""
    _said(ask("waivers", path))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    # A comparison of nothing is 2 as well, and says so on stdout.
    if done.returncode not in (0, 1, 3) and not done.stdout:
        lines = done.stderr.strip().splitlines() or [f"reports ended with {done.returncode}"]
        raise JudgeError(lines[-1].removeprefix("reports: "))
    return done.stdout
