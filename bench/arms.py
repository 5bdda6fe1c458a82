"""The two arms of a comparison: the same cases by the code of two commits.

`bench` and the workloads of the suite are those of this checkout in both arms. Of an arm's own
commit are `strategies`, where the repository holds them, and the files of strategies and workloads
that the repository holds.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.schema import case_id

from .checkouts import Checkout, checkout, repository
from .worker import Job, environment_for

FACTS_S = 300.0


class ArmError(RuntimeError):
    """An arm whose code cannot be asked for its cases; the message is one line and says why."""


@dataclass(frozen=True)
class Listed:
    """A case by its axes alone: another commit may know operators that this one does not."""

    axes: dict[str, Any]

    @property
    def id(self) -> str:
        """The printable name."""
        return case_id(self.axes)

    @property
    def threads(self) -> int:
        """Torch's threads."""
        return int(self.axes["threads"])


@dataclass(frozen=True)
class Arm:
    """One arm: where its code is, its cases, and what its run line says."""

    name: str
    source: Path | None
    strategies: tuple[str, ...]
    workloads: tuple[str, ...]
    python: str
    cases: tuple[Listed, ...]
    line: dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What both arms are asked for, in the folder `at`: the user's files of strategies and
    workloads, and `options` that select cases, as `python -m bench list` takes them."""

    at: Path
    strategies: Sequence[str]
    workloads: Sequence[str]
    options: Sequence[str]


def arm(name: str, revision: str | None, asked: Asked, folder: Path, python: str) -> Arm:
    """Put the arm's commit into a folder, and ask its code for its cases.

    revision: None is the working tree. Raises `CheckoutError`, `ArmError`.
    """
    top = repository(asked.at)
    held = checkout(top, revision, folder / name)
    # Of the commit itself `strategies` alone: were its folder on the path, `bench` came with it.
    source = _linked(folder / f"{name}-code", held)
    strategies = _of_arm(asked.strategies, asked.at, top, held)
    workloads = _of_arm(asked.workloads, asked.at, top, held)
    if asked.workloads and not workloads:
        raise ArmError(f"{name} has none of {', '.join(asked.workloads)}: nothing to compare")
    options = [*asked.options, *(f"--strategies={path}" for path in strategies)]
    options += [f"--workload={spec}" for spec in workloads]
    found = _facts(name, source, options, python)
    line = {**found["line"], "commit": held.revision, "dirty": held.dirty}
    cases = tuple(Listed(axes) for axes in found["cases"])
    return Arm(name, source, strategies, workloads, python, cases, line)


def _linked(folder: Path, held: Checkout) -> Path | None:
    code = held.folder / "strategies"
    if not (code / "unsafe_ops.json").is_file():
        return None
    folder.mkdir()
    (folder / "strategies").symlink_to(code)
    return folder


def _of_arm(specs: Sequence[str], at: Path, top: Path, held: Checkout) -> tuple[str, ...]:
    """Files of the repository as the arm holds them, without those that it lacks; others as is."""
    found = []
    for spec in specs:
        path, colon, function = spec.partition(":")
        whole = (at / path).resolve()
        inside = whole.is_relative_to(top)
        there = held.folder / whole.relative_to(top) if inside else whole
        if there.is_file() or not inside:
            found.append(f"{there}{colon}{function}")
    return tuple(found)


def _facts(name: str, source: Path | None, options: Sequence[str], python: str) -> dict[str, Any]:
    job = Job((), (), 1, (), FACTS_S, source=source, python=python)
    command = [python, "-m", "bench.facts", str(source or ""), *options]
    with tempfile.TemporaryDirectory(prefix="facts-") as elsewhere:
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env=environment_for(job),
            capture_output=True,
            text=True,
            timeout=FACTS_S,
            check=False,
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ArmError(f"{name} cannot be measured: {said[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
