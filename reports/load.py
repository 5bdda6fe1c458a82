"""A result file as a table: every row read, every defect named."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .schema import AXES, CONTROL, KINDS, MEASURES, SCHEMA, STATUSES, case_id, contest_id, way

# The lines with which a runner begins.
BEGINS = ("run", "resume")


class ResultFileError(ValueError):
    """A file that cannot be read as a result file; the message is one line and says why."""


@dataclass(frozen=True)
class Run:
    """One run: its header, one table row for each measured case and pass, what is odd, its end.

    controls: rows of the same form that measure the machine.
    """

    path: Path
    header: dict[str, Any]
    rows: pd.DataFrame
    warnings: tuple[str, ...]
    end: dict[str, Any] = field(default_factory=dict)
    controls: pd.DataFrame = field(default_factory=lambda: _table([]))

    @property
    def name(self) -> str:
        """The run's identifier."""
        return str(self.header["run"])


def load(path: str | Path) -> Run:
    """Read a result file, plain or `.gz`; a last line that was cut is left out and reported.

    Raises `ResultFileError`: no such file, not a result file, unknown schema, a broken line that is
    not the last one.
    """
    path = Path(path)
    text = _text(path)
    lines, warnings = _lines(path, text)
    header = _header(path, lines)
    known = header.get("strategies", {})
    rows = _table([_row(line, known) for line in lines if line.get("kind") == "row"])
    controls = rows["operator"] == CONTROL
    # What the runner found odd: no core of its own, a machine that is not quite the same.
    warnings += [text for line in lines if line["kind"] in BEGINS for text in _warned(line)]
    ends = [line for line in lines if line.get("kind") == "end"]
    # A run that was gone on with ended more than once: its last line counts.
    if lines[-1].get("kind") != "end" or lines[-1].get("interrupted"):
        warnings.append("the run did not end: it was interrupted or is still going on")
    # Its rows are of several sessions, and a killed one left no time: nothing is said of a total.
    once = not any(line["kind"] == "resume" for line in lines)
    end = ends[-1] if ends and once else {}
    cases = rows[~controls].reset_index(drop=True)
    return Run(path, header, cases, tuple(warnings), end, rows[controls].reset_index(drop=True))


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """The whole lines of a result file as they are. Raises `ResultFileError` as `load`."""
    return _lines(Path(path), _text(Path(path)))[0]


def _warned(line: dict[str, Any]) -> list[str]:
    return [str(text) for text in line.get("warnings", [])]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        plain = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ResultFileError(f"cannot read {path}: {said}") from error
    return plain.decode("utf-8", errors="replace")


def _lines(path: Path, text: str) -> tuple[list[dict[str, Any]], list[str]]:
    found: list[dict[str, Any]] = []
    warnings: list[str] = []
    given = text.splitlines()
    for number, line in enumerate(given, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number < len(given):
                raise ResultFileError(f"{path}, line {number}: not a line of JSON") from error
            warnings.append(
                f"the last line (line {number}) was cut in the middle; the {len(found)} lines"
                " before it were read"
            )
            continue
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            raise ResultFileError(f"{path}, line {number}: not a line of a result file")
        found.append(value)
    return found, warnings


def _header(path: Path, lines: list[dict[str, Any]]) -> dict[str, Any]:
    if not lines or lines[0]["kind"] != "run":
        raise ResultFileError(f"{path} does not begin with a run line: it is no result file")
    schema = lines[0].get("schema")
    if schema != SCHEMA:
        raise ResultFileError(f"{path} has schema {schema!r}; this version reads {SCHEMA}")
    return lines[0]


def _row(line: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: line.get(name, absent) for name, absent in {**AXES, **MEASURES}.items()}
    if row["status"] not in STATUSES:
        row["status"], row["reason"] = "error", f"unknown status {row['status']!r}"
    row["id"], row["contest"], row["way"] = case_id(row), contest_id(row), way(row)
    # What a file does not describe is exact, as all strategies were.
    row["exact"] = known.get(f"{row['operator']}/{row['strategy']}", {}).get("exact", True)
    return row


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = [*AXES, *MEASURES, "id", "contest", "way", "exact"]
    return pd.DataFrame(rows, columns=columns)
