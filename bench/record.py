"""Rows and the result file: what failed is a row too, and only one process writes."""

from __future__ import annotations

import fcntl
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strategies import Unsupported, out_of_memory

from .case import Case
from .controls import Control

Row = dict[str, Any]

# What a case says may be a megabyte.
LONGEST = 500
WARNINGS = 20


class ResultsError(OSError):
    """The result file cannot be created, locked or written."""


def first_line(error: BaseException) -> str:
    """The type of an exception and the first line of its message, as much as a table can hold."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST] if lines else type(error).__name__


def shortened(value: Any) -> Any:
    """A line's numbers to six significant digits: no clock is finer, and files stay small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    return [shortened(part) for part in value] if isinstance(value, list) else value


@contextmanager
def recording(case: Case | Control) -> Iterator[Row]:
    """A row of the case that stays whatever its body raises; the exception goes on.

    Leaves `status` and `reason`; a body that ends without setting one was ok.
    """
    row: Row = {"kind": "row", **case.axes, "status": "", "reason": "", "warnings": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield row
        except BaseException as error:
            # A body that set its status and left by pytest's skip or fail gave its reason.
            if not row["status"]:
                row["status"], row["reason"] = _said(error)
            raise
        finally:
            row["status"] = row["status"] or "ok"
            said = {str(w.message).partition("\n")[0][:LONGEST] for w in caught}
            row["warnings"] = sorted(said)[:WARNINGS]


def _said(error: BaseException) -> tuple[str, str]:
    """Status and reason of what a case raised."""
    if isinstance(error, Unsupported):
        return "unsupported", str(error)
    return "oom" if out_of_memory(error) else "error", first_line(error)


@contextmanager
def spending(row: Row, on: str) -> Iterator[None]:
    """Add the seconds of the body to the row's `spent_s` under that name."""
    start = time.perf_counter()
    try:
        yield
    finally:
        spent = row.setdefault("spent_s", {})
        spent[on] = spent.get(on, 0.0) + time.perf_counter() - start


class ResultFile:
    """The append-only result file of one run; every line is whole once `write` returns.

    resume: go on with the file that is there; otherwise it must not be there.
    """

    def __init__(self, path: Path, resume: Path | None = None) -> None:
        self.path = path
        self._how = os.O_RDWR | os.O_APPEND | (0 if resume else os.O_CREAT | os.O_EXCL)
        self._fd = -1

    def __enter__(self) -> ResultFile:
        try:
            if self._how & os.O_CREAT:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, self._how, 0o666)
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise ResultsError(f"{self.path} is being written by another run") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def write(self, line: Row) -> None:
        """Append one line, or nothing of it: raises `ResultsError` where the disk is full."""
        whole = memoryview((json.dumps(line, separators=(",", ":")) + "\n").encode())
        before = os.fstat(self._fd).st_size
        try:
            while whole:
                whole = whole[os.write(self._fd, whole) :]
        except OSError as error:
            os.ftruncate(self._fd, before)
            said = f"cannot write {self.path}: {error.strerror}; what it holds is whole"
            raise ResultsError(said) from error


def lines(path: Path) -> list[Row]:
    """The whole lines of a result file; `ResultsError` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ResultsError(f"cannot read {path}: {error}") from error
