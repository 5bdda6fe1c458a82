"""The two arms of a comparison: the same cases by the code of two commits.

`bench` and the workloads of the suite are those of this checkout in both arms. Of an arm's own
commit are `strategies`, where the repository is this suite's, the files of strategies and workloads
that the repository holds, and the modules of the repository that these import.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reports.schema import case_id

from .checkouts import Checkout, checkout, repository
from .worker import Job, environment_for

FACTS_S = 300.0
SUITE = "input-derivatives"


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
    """One arm: where its code is, its cases, and what its run line says.

    source: the folder that `strategies` must come from. path: where its files import from.
    """

    name: str
    source: Path | None
    path: tuple[str, ...]
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


def arms(asked: Asked, folder: Path, *sides: tuple[str, str | None, str]) -> list[Arm]:
    """Put the commit of each side into a folder, and ask its code for its cases.

    sides: a name, a revision (None is the working tree) and the python it runs on. Raises
    `CheckoutError`, `ArmError`.
    """
    top = repository(asked.at)
    pythons = [_python(python) for _, _, python in sides]
    held = [checkout(top, revision, folder / name) for name, revision, _ in sides]
    for spec in (*asked.strategies, *(spec.rpartition(":")[0] for spec in asked.workloads)):
        if not any(_there(spec, asked.at, top, one).is_file() for one in held):
            raise ArmError(
                f"{spec} is in neither commit: it is not there, ignored by git or of a submodule"
            )
    names = [name for name, _, _ in sides]
    # Each is a process that imports torch.
    with ThreadPoolExecutor() as threads:
        return list(threads.map(partial(_arm, asked, top), names, held, pythons))


def _python(given: str) -> str:
    """The interpreter by a path that holds in every folder; not resolved, since an environment is
    known by the name of its link."""
    found = shutil.which(given)
    if found is None:
        raise ArmError(f"no python {given} to run on")
    return str(Path(found).absolute())


def _arm(asked: Asked, top: Path, name: str, held: Checkout, python: str) -> Arm:
    source = _linked(name, held)
    # Without those that the arm lacks: their cases are new or removed.
    strategies = tuple(
        str(file)
        for spec in asked.strategies
        if (file := _there(spec, asked.at, top, held)).is_file()
    )
    workloads = tuple(
        f"{file}:{spec.rpartition(':')[2]}"
        for spec in asked.workloads
        if (file := _there(spec.rpartition(":")[0], asked.at, top, held)).is_file()
    )
    if asked.workloads and not workloads:
        raise ArmError(f"{name} has none of {', '.join(asked.workloads)}: nothing to compare")
    options = [*asked.options, *(f"--strategies={path}" for path in strategies)]
    options += [f"--workload={spec}" for spec in workloads]
    path = _path(top, held)
    job = Job((), (), 1, (), FACTS_S, source=source, path=path, python=python)
    found = _facts(name, job, [str(top), str(held.folder), *options])
    line = {**found["line"], "commit": held.revision, "dirty": held.dirty}
    cases = tuple(Listed(axes) for axes in found["cases"])
    return Arm(name, source, path, strategies, workloads, python, cases, line)


def _linked(name: str, held: Checkout) -> Path | None:
    """A folder with the commit's `strategies` alone: were the whole on the path, `bench` came with
    it. None where the repository is another one than this suite's."""
    try:
        whole = tomllib.loads((held.folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if whole.get("project", {}).get("name") != SUITE:
        return None
    code = held.folder / "strategies"
    if not code.is_dir():
        raise ArmError(f"{name} has no folder `strategies`: nothing to compare")
    folder = held.folder.with_suffix(".code")
    folder.mkdir()
    (folder / "strategies").symlink_to(code)
    return folder


def _there(path: str, at: Path, top: Path, held: Checkout) -> Path:
    """A file of the repository as the arm holds it; another as it is."""
    whole = (at / path).resolve()
    return held.folder / whole.relative_to(top) if whole.is_relative_to(top) else whole


def _path(top: Path, held: Checkout) -> tuple[str, ...]:
    """The folders of the repository that Python imports from here, as the arm holds them."""
    inside = [whole for entry in sys.path if (whole := Path(entry).resolve()).is_relative_to(top)]
    return tuple(str(held.folder / whole.relative_to(top)) for whole in dict.fromkeys(inside))


def _facts(name: str, job: Job, arguments: Sequence[str]) -> dict[str, Any]:
    command = [job.python, "-m", "bench.facts", str(job.source or ""), *arguments]
    with tempfile.TemporaryDirectory(prefix="facts-") as elsewhere:
        try:
            done = subprocess.run(
                command,
                cwd=elsewhere,
                env=environment_for(job),
                capture_output=True,
                text=True,
                timeout=FACTS_S,
                check=False,
            )
        except OSError as error:
            raise ArmError(f"{name} cannot be measured: {job.python}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise ArmError(f"{name} does not name its cases within {FACTS_S:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ArmError(f"{name} cannot be measured: {said[-1]}")
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError) as error:
        raise ArmError(f"{name} ends its process while it is imported") from error
