"""`python -m bench run`: what the command does once torch is there."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from .asked import grid, selected
from .case import Case, Timed
from .controls import controls
from .cores import claimed_cores
from .memory import default_limit
from .runner import Job, Outcome, Request, run


def run_command(given: argparse.Namespace) -> int:
    """Measure, write the result file, print its path."""
    return told(measured(given, selected(given, choosers=True), grid(given)))


def measured(given: argparse.Namespace, found: Sequence[Case], name: str) -> Outcome:
    """Measure these cases and the controls beside them; name: of their grid."""
    counts = sorted({case.threads for case in found})
    with claimed_cores(counts[-1]) as claim:
        warnings = (claim.warning,) if claim.warning else ()
        for text in warnings:
            print(f"bench: {text}", file=sys.stderr)
        job = Job(
            strategies=tuple(str(Path(path).resolve()) for path in given.strategies),
            workloads=tuple(map(_resolved, given.workload)),
            threads=counts[-1],
            pinned=claim.cores,
            limit_s=given.limit,
            memory_bytes=_memory(given),
        )
        where = (Path(given.results), job, resumed(given), warnings)
        timed: list[Timed] = [*found, *(c for t in counts for c in controls(given.device, t))]
        return run(Request(timed, name, given.passes, given.device, *where))


def _memory(given: argparse.Namespace) -> int | None:
    # CUDA maps far more addresses than it uses: there is nothing that could be limited.
    return None if given.device == "cuda" else given.memory or default_limit()


def _resolved(spec: str) -> str:
    path, _, function = spec.rpartition(":")
    return f"{Path(path).resolve()}:{function}"


def resumed(given: argparse.Namespace) -> Path | None:
    """The file that is gone on with."""
    return Path(given.resume) if given.resume else None


def told(outcome: Outcome) -> int:
    """Print the path of a whole file, or how to go on with one that is not; the exit code."""
    if outcome.interrupted:
        rows = sum(outcome.statuses.values())
        print(
            f"bench: interrupted after {rows} rows; go on with: {_again(outcome)}", file=sys.stderr
        )
    else:
        print(outcome.path)
    return outcome.exit_code


def _again(outcome: Outcome) -> str:
    said = ["python", "-m", "bench", *sys.argv[1:]]
    return shlex.join(said if "--resume" in said else [*said, "--resume", str(outcome.path)])
