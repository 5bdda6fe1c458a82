"""The expected counters: a committed file for each torch and device, and what differs from it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from .plugin import FAILED
from .record import Row

# Case id -> its counters.
Counters = Mapping[str, Mapping[str, int]]

# In the repository that is measured, ours or a user's.
FOLDER = Path("tests/counters")
RELEASE = torch.__version__.partition("+")[0]
_NOTHING = "–"
# In every case's id, and said in words only where they are others.
_USUAL = ("float32", "cpu", "cuda")


class ExpectedError(LookupError):
    """There are no expected counters to compare with, or none that can be read or written."""


def file_of(given: argparse.Namespace) -> Path:
    """The file that a command line is about; `ExpectedError` where it would be a wrong one."""
    own = [f"--{name}" for name in ("workload", "strategies") if getattr(given, name)]
    if own and not given.counters:
        raise ExpectedError(f"{' and '.join(own)}: name a file of your own with --counters FILE")
    if given.only and not given.check:
        raise ExpectedError("a file holds every case of a grid: leave --only, or add --check")
    default = FOLDER / f"torch-{RELEASE}-{given.device}.json"
    return Path(given.counters) if given.counters else default


def read(path: Path) -> Counters:
    """The expected counters; `ExpectedError` says which other files there are."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(value, int) for own in found.values() for value in own.values()):
            raise TypeError("a counter is not a whole number")
    except FileNotFoundError:
        raise ExpectedError(_missing(path)) from None
    except OSError as error:
        raise ExpectedError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ExpectedError(f"{path} holds no counters by case: {error}") from error
    return dict(found)


def _missing(path: Path) -> str:
    there = sorted(other.name for other in path.parent.glob("torch-*.json"))
    others = f"; {path.parent} has {', '.join(there)}" if there else ""
    how = f"`python -m bench counters --counters {path}`"
    wrote = "`make counters`" if path.parent == FOLDER else how
    return f"no expected counters for torch {RELEASE} at {path}{others}; {wrote} writes them"


def write(path: Path, found: Counters) -> None:
    """A case a line, in the order of the ids, so that a change is a diff of its lines."""
    lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    except OSError as error:
        raise ExpectedError(f"cannot write {path}: {error.strerror}") from error


def chosen(expected: Counters, only: Sequence[str]) -> Counters:
    """The cases whose id holds every part."""
    return {name: own for name, own in expected.items() if all(part in name for part in only)}


def differences(expected: Counters, rows: Mapping[str, Row]) -> list[str]:
    """A line for each case that is not as expected: another counter, more or less, new, gone.

    rows: of every case that was asked for, by id, with a status and, where ok, its counters.
    """
    return [line for name in sorted({*expected, *rows}) for line in _of_case(name, expected, rows)]


def _of_case(name: str, expected: Counters, rows: Mapping[str, Row]) -> Iterator[str]:
    row = rows.get(name)
    if row is None:
        yield f"{words(name)}: expected, and no such case any more"
    elif row["status"] != "ok":
        if name in expected or row["status"] in FAILED:
            yield f"{words(name)}: {row['status']}: {row['reason']}"
    elif name not in expected:
        yield f"{words(name)}: new, not among the expected"
    elif changed := list(_changes(expected[name], row["counters"])):
        yield f"{words(name)}: {', '.join(changed)}"


def _changes(old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[str]:
    for counter in {**new, **old}:
        before, after = old.get(counter), new.get(counter)
        if before != after:
            yield f"{counter} {_number(before)} → {_number(after)}"


def _number(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"


def words(name: str) -> str:
    """A case's id for reading: `jacobian vmap-jacrev mlp-square n=8 B=4`."""
    return " ".join(part for part in name.split("/") if part not in _USUAL)


def ok(rows: Mapping[str, Row]) -> Counters:
    """The counters of the rows that have any."""
    return {name: row["counters"] for name, row in rows.items() if row["status"] == "ok"}
