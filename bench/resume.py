"""Going on with a result file: what it holds, what is cut of it, whether this command may."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.schema import MACHINE, SCHEMA, case_id

from .case import Timed
from .record import ResultsError, Row, lines

Key = tuple[str, int]

# Rows of one file are compared with each other: these must be the same for all of them.
SAME = ("passes", "commit", "contract", "seeds")
# These may differ; the resume line says so.
NOTED = ("dirty", "strategies", "limit_s", "memory_limit_bytes")
NOTED_OF_MACHINE = (
    *("os", "memory_bytes", "driver", "gpu_limits", "pinned"),
    *("tf32", "tf32_cudnn", "float32_matmul_precision"),
)


class ResumeError(ValueError):
    """A result file that this command cannot go on with; the message says what differs."""


@dataclass(frozen=True)
class Past:
    """What a result file holds.

    done: the status of every case and pass with a row. starts: how often each of the others was
    begun by a runner or a worker that was then killed. timeouts: the rows that took too long.
    """

    header: Row = field(default_factory=dict)
    done: dict[Key, str] = field(default_factory=dict)
    starts: Counter[Key] = field(default_factory=Counter)
    timeouts: tuple[Row, ...] = ()


def past(path: Path) -> Past:
    """Read a result file; what follows its last whole line is left out."""
    found = lines(path)
    if not found or found[0].get("kind") != "run" or found[0].get("schema") != SCHEMA:
        raise ResumeError(f"{path} is no result file of schema {SCHEMA}: nothing to go on with")
    rows = [line for line in found if line["kind"] == "row"]
    done = {_key(row): str(row["status"]) for row in rows}
    starts = Counter({k: times for k, times in _begun(found).items() if k not in done})
    timeouts = tuple(row for row in rows if row["status"] == "timeout")
    return Past(found[0], done, starts, timeouts)


def _key(row: Row) -> Key:
    return case_id(row), int(row["pass"])


def _begun(found: Sequence[Row]) -> Counter[Key]:
    """How often each case was begun; not the times when a runner was told to end in it, which was
    not its doing."""
    starts, flying = Counter[Key](), set[Key]()
    for line in found:
        if line["kind"] == "started":
            flying.add(key := (line["id"], int(line["pass"])))
            starts[key] += 1
        elif line["kind"] == "row":
            flying.discard(_key(line))
        else:
            if line["kind"] == "end":
                starts.subtract(flying)
            flying.clear()
    return starts


def cut(path: Path) -> None:
    """Drop what follows the last whole line: a runner was killed while it wrote it."""
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def selection(cases: Sequence[Timed]) -> Row:
    """What the run line keeps of the cases, to know them again."""
    axes = sorted(json.dumps(case.axes, sort_keys=True, default=str) for case in cases)
    digest = hashlib.sha256("\n".join(axes).encode()).hexdigest()[:16]
    return {"count": len(cases), "digest": digest}


def check(path: Path, then: Row, now: Row) -> list[str]:
    """What differs and may, in words; `ResumeError` where rows of both would not compare."""
    if then.get("cases") != now["cases"]:
        count, command = (then.get("cases") or {}).get("count"), " ".join(then.get("command", []))
        ours = now["cases"]["count"]
        raise ResumeError(
            f"{path} holds other cases ({count}, not these {ours}); it is of: {command}"
        )
    for name, was, is_ in _pairs(then, now, SAME, MACHINE):
        raise ResumeError(f"{path} was measured with {name} {was}, and now it is {is_}")
    _same_versions(path, then, now)
    return _differing(then, now)


def _same_versions(path: Path, then: Row, now: Row) -> None:
    for name, workload in now["workloads"].items():
        was = then.get("workloads", {}).get(name, {}).get("version")
        if was != workload["version"]:
            version = workload["version"]
            raise ResumeError(f"{path} holds version {was} of {name}, and now it is {version}")


def _differing(then: Row, now: Row) -> list[str]:
    long = ("strategies",)
    found = []
    for name, was, is_ in _pairs(then, now, NOTED, NOTED_OF_MACHINE):
        found.append(f"{name} differ" if name in long else f"{name} was {was} and is {is_}")
    if now["dirty"] and then.get("dirty"):
        found.append("files differ from the commit, perhaps otherwise than before")
    return found


def _pairs(
    then: Row, now: Row, names: Sequence[str], of_machine: Sequence[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Names whose values differ, with both."""
    machine, here = then.get("environment", {}), now["environment"]
    for name in names:
        if then.get(name) != now[name]:
            yield name, then.get(name), now[name]
    for name in of_machine:
        if machine.get(name) != here[name]:
            yield name, machine.get(name), here[name]


__all__ = ["Key", "Past", "ResultsError", "ResumeError", "check", "cut", "past", "selection"]
