"""A result file made small, to be kept beside the code: the same rows in fewer bytes.

A run writes its lines as they come, in the random order of each pass. Rows of an operator on one
problem share its axes, the times of f and of its floor: next to each other they take less. What
says that a case began is of use to `--resume` alone, and a field that has its default reads the
same where it is absent.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from .load import ResultFileError, load, read_lines
from .schema import AXES, MEASURES

_DEFAULTS = {**AXES, **MEASURES}
# Whose rows stand together, then in the order of the passes.
_PROBLEM = ("device", "threads", "operator", "workload", "params", "B", "dtype", "pass", "strategy")


def packed(path: str | Path) -> bytes:
    """The file as `.jsonl.gz`, the same bytes each time. Raises `ResultFileError` as `load`, and of
    a run that did not end."""
    load(path)
    lines = read_lines(path)
    if lines[-1]["kind"] != "end" or lines[-1].get("interrupted"):
        raise ResultFileError(f"{path}: the run did not end; go on with it before it is kept")
    rows = sorted((line for line in lines if line["kind"] == "row"), key=_place)
    # The order counts of those that begin and end a session, and of nothing else.
    head = [line for line in lines if line["kind"] in ("run", "resume")]
    end = [line for line in lines if line["kind"] == "end"]
    text = "".join(
        json.dumps(line, separators=(",", ":")) + "\n"
        for line in [*head, *map(_without_defaults, rows), *end[-1:]]
    )
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _place(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(json.dumps(row.get(name, _DEFAULTS[name])) for name in _PROBLEM)


def _without_defaults(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}
