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
from typing import Any, TextIO

from reports.schema import SCHEMA, case_id
from strategies import Unsupported, out_of_memory

from .case import Case

Row = dict[str, Any]


class ResultsError(OSError):
    """The result file cannot be created, locked or written."""


def first_line(error: BaseException) -> str:
    """The type of an exception and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def shortened(value: Any) -> Any:
    """A line's numbers to six significant digits: no clock is finer, and files stay small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    return [shortened(part) for part in value] if isinstance(value, list) else value


@contextmanager
def recording(case: Case) -> Iterator[Row]:
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
            row["warnings"] = sorted({str(w.message).partition("\n")[0] for w in caught})


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
    """The append-only result file of one run; every line is whole once `write` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __enter__(self) -> ResultFile:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: Row) -> None:
        """Append one line; raises `ResultsError` where the disk is full."""
        assert self._file is not None
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}") from error


def lines(path: Path) -> list[Row]:
    """The whole lines of a result file; `ResultsError` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def finished(path: Path) -> dict[tuple[str, int], str]:
    """The status of every (case id, pass) that a result file has; a half-written line is cut."""
    found = {
        (case_id(line), line["pass"]): line["status"]
        for line in lines(path)
        if line["kind"] == "row"
    }
    whole = path.read_bytes()
    os.truncate(path, whole.rfind(b"\n") + 1)
    return found


def header(**fields: Any) -> Row:
    """The first line of a result file."""
    return {"kind": "run", "schema": SCHEMA, **fields}
