"""What the commands do once torch is there."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from strategies import (
    Plan,
    StrategyFileError,
    UnknownStrategy,
    load_installed,
    load_strategies,
)

from . import coverage, expected, pair_command
from .advise import CannotAdvise, advise_command
from .asked import NoDevice, selected
from .case import Case, subject
from .check_estimates import check_plan
from .cores import cores
from .counted import counted_rows
from .grid import NothingSelected, UnknownGrid
from .memory import default_limit
from .progress import Progress
from .record import ResultsError, Row, lines, recording
from .resume import ResumeError
from .run_command import resumed, run_command, told
from .runner import Job, Request, RunnerError, run
from .workloads import UnknownWorkload, WorkloadError

# Where the output goes to a file, ids are kept whole.
WIDE = 250
# Of a row's errors those that `check` prints, and their heads.
ERRORS = {
    "relative": "error",
    "elementwise": "worst entry",
    "tolerance": "tolerance",
    "bound": "reference's own",
}


USAGE_ERRORS = (
    CannotAdvise,
    NoDevice,
    NothingSelected,
    ResultsError,
    ResumeError,
    RunnerError,
    StrategyFileError,
    UnknownGrid,
    UnknownStrategy,
    UnknownWorkload,
    WorkloadError,
    coverage.PartialCoverage,
    expected.ExpectedError,
    *pair_command.USAGE_ERRORS,
)


def list_command(given: argparse.Namespace) -> int:
    """Print the ids, one a line."""
    for case in selected(given, choosers=True):
        print(case.id)
    return 0


def check_command(given: argparse.Namespace) -> int:
    """Check every case against its reference and print how many digits agree."""
    found = selected(given, choosers=True)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="references-") as references,
        Progress(len(found), "checking") as progress,
    ):
        for case in found:
            rows.append(_checked(case, Path(references)))
            progress.advance(case.id, rows[-1]["status"])
    table = Table("case", "status", "digits", *ERRORS.values(), "reason", box=None)
    for case, row in zip(found, rows, strict=True):
        error = row.get("error") or {}
        table.add_row(
            case.id,
            row["status"],
            f"{error['digits']:.1f}" if error else "",
            *(_small(error.get(name)) for name in ERRORS),
            row["reason"],
        )
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)
    counts = Counter(row["status"] for row in rows)
    console.print(", ".join(f"{counts[s]} {s}" for s in sorted(counts)), highlight=False)
    return int(any(counts[status] for status in ("wrong", "error")))


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def _checked(case: Case, references: Path) -> Row:
    try:
        with recording(case) as row:
            made = subject(case)
            plan = made.prepare()
            if not isinstance(plan, Plan):
                row["status"], row["reason"] = "unsupported", plan.reason
                return row
            made = made.taken(plan.strategy)
            result = plan(*made.inputs)
            assert isinstance(result, torch.Tensor)
            row.update(check_plan(made, plan, result, references).fields)
    except Exception:
        # The row holds what was raised; the other cases are still to be checked.
        return row
    return row


def coverage_command(given: argparse.Namespace) -> int:
    """Fill the matrix, print what is wrong, write the table where asked; 1 where it lacks one."""
    if given.write and (given.only or given.execution):
        raise coverage.PartialCoverage("--write takes every cell: leave --only and --execution")
    load_installed()
    for path in given.strategies:
        load_strategies(path)
    workers = given.workers or cores()
    job = Job(
        strategies=tuple(str(Path(path).resolve()) for path in given.strategies),
        workloads=(),
        threads=1,
        pinned=(),
        limit_s=given.limit,
        memory_bytes=default_limit() // workers,
        tests="coverage_cells.py",
        after_wrong="go-on",
    )
    asked = coverage.cells(given.only, given.execution or coverage.EXECUTIONS_ASKED)
    if not asked:
        raise NothingSelected(f"no cell matches {' and '.join(map(repr, given.only))}")
    where = (Path(given.results), job, resumed(given))
    outcome = run(Request(asked, "coverage", 1, "cpu", *where, workers=workers))
    if outcome.interrupted:
        return told(outcome)
    rows = [line for line in lines(outcome.path) if line["kind"] == "row"]
    counts = Counter(row["status"] for row in rows)
    print(", ".join(f"{counts[s]} {s}" for s in sorted(counts)), file=sys.stderr)
    if not (given.only or given.execution):
        _laid_to_operations(rows, given.write)
    missing = coverage.new_errors(rows)
    for text in missing:
        print(f"WRONG and not in the table: {text}", file=sys.stderr)
    print(outcome.path)
    return int(bool(missing))


def _laid_to_operations(rows: list[Row], write: bool) -> None:
    # Only of every cell: in a part, an operation is easily in no probe that went right.
    found = coverage.findings(rows)
    if write:
        coverage.write(found)
    for op, names in sorted(found.wrong.items()):
        print(f"WRONG through {op}: {len(names)} strategies", file=sys.stderr)


def counters_command(given: argparse.Namespace) -> int:
    """Count every case; write the file, or with --check print what differs from it."""
    path = expected.file_of(given)
    # Before what takes a minute.
    known = expected.read(path) if given.check else {}
    rows = counted_rows(selected(given))
    if not given.check:
        expected.write(path, expected.ok(rows))
        print(path)
        return int(any(row["status"] in expected.FAILED for row in rows.values()))
    found = expected.differences(expected.chosen(known, given.only), rows)
    for line in found:
        print(line)
    said = f"{len(expected.ok(rows)):,} cases counted; differences from {path}: {len(found):,}"
    print(said, file=sys.stderr)
    return int(bool(found))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run_command,
    "list": list_command,
    "check": check_command,
    "coverage": coverage_command,
    "counters": counters_command,
    "pair": pair_command.pair_command,
    "advise": advise_command,
}
