"""A run: K passes over the cases in watched processes, one writer, one result file."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from reports.schema import FAULTS
from strategies import CONTRACT, STRATEGIES, strategies_for

from .case import SEED, Case
from .environment import commit, environment
from .progress import Progress
from .record import ResultFile, Row, finished, header
from .worker import Death, Job, messages
from .workloads import find_workload


class RunnerError(RuntimeError):
    """Workers end before they reach a case; the message is what the last one said."""


@dataclass(frozen=True)
class Request:
    """What `run` is asked for: the cases, how often, and where the file goes.

    resume: a result file of the same cases, which is gone on with.
    """

    cases: Sequence[Case]
    grid: str
    passes: int
    device: str
    results: Path
    job: Job
    resume: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished run: its file and how many rows have each status."""

    path: Path
    statuses: dict[str, int]

    @property
    def exit_code(self) -> int:
        """1 where a row is wrong, error or crashed: those are faults, the others results."""
        return int(any(self.statuses.get(status) for status in FAULTS))


def run(request: Request) -> Outcome:
    """Measure every case once in each pass and write a row for each, whatever happens to it."""
    started = datetime.now(UTC)
    revision, dirty = commit()
    name = f"{started:%Y%m%dT%H%M%S%fZ}-{(revision or 'unknown')[:8]}"
    path = request.resume or request.results / f"{name}.jsonl"
    done = finished(path) if request.resume else {}
    begun, statuses = time.monotonic(), dict(Counter(done.values()))
    with (
        ResultFile(path) as file,
        tempfile.TemporaryDirectory(prefix="references-") as references,
        Progress(len(request.cases) * request.passes - len(done)) as progress,
    ):
        if request.resume:
            file.write({"kind": "resume", "started": f"{started:%Y-%m-%dT%H:%M:%SZ}"})
        else:
            file.write(_header(request, name, started, revision, dirty))
        asked = replace(request, job=replace(request.job, references=Path(references)))
        try:
            for number in range(request.passes):
                left = [c for c in _shuffled(request.cases, number) if (c.id, number) not in done]
                _pass(asked, number, left, file, progress, statuses)
        finally:
            file.write(
                {
                    "kind": "end",
                    "ended": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                    "rows": sum(statuses.values()),
                    "wall_s": time.monotonic() - begun,
                }
            )
    return Outcome(path, statuses)


def _header(
    request: Request, name: str, started: datetime, revision: str | None, dirty: bool
) -> Row:
    job = request.job
    return header(
        run=name,
        started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        command=["python", "-m", "bench", *sys.argv[1:]],
        commit=revision,
        dirty=dirty,
        environment=environment(request.device, job.threads, list(job.pinned)),
        seeds={"data": SEED, "order": SEED},
        grid=request.grid,
        passes=request.passes,
        strategies=_strategies({case.operator for case in request.cases}),
        workloads=_workloads({case.workload for case in request.cases}),
        limits={},
        contract=CONTRACT,
    )


def _strategies(operators: Iterable) -> dict[str, Row]:
    return {
        f"{s.operator}/{s.name}": {
            "operator": str(s.operator),
            "name": s.name,
            "mode": s.mode,
            "sweep": s.sweep,
            "exact": s.exact,
            "summary": s.summary,
            "needs": sorted(s.needs),
        }
        for operator in sorted(operators)
        for s in strategies_for(operator)
    }


def _workloads(names: Iterable[str]) -> dict[str, Row]:
    found = {name: find_workload(name) for name in sorted(names)}
    return {name: {"text": w.text, "version": w.version} for name, w in found.items()}


def _pass(
    request: Request,
    number: int,
    cases: Sequence[Case],
    file: ResultFile,
    progress: Progress,
    statuses: dict[str, int],
) -> None:
    """Every case once, in this order; a worker that ends is followed by another."""
    left = {case.id: case for case in cases}
    while left:
        before, death, current = len(left), None, None
        for message in messages(request.job, number, list(left.values())):
            if isinstance(message, Death):
                death = message
            elif message["kind"] == "started":
                current = left[message["id"]]
                file.write(message)
            elif current is not None:
                _finish(message, current, left, file, progress, statuses)
                current = None
        assert death is not None
        if current is not None:
            row = _row_of_the_dead(current, death, number, request)
            _finish(row, current, left, file, progress, statuses)
        elif len(left) == before:
            raise RunnerError(f"a worker ended before its first case: {death.reason}")


def _shuffled(cases: Sequence[Case], number: int) -> list[Case]:
    order = list(cases)
    random.Random(f"{SEED}/{number}").shuffle(order)
    return order


def _finish(
    row: Row,
    case: Case,
    left: dict[str, Case],
    file: ResultFile,
    progress: Progress,
    statuses: dict[str, int],
) -> None:
    file.write(row)
    left.pop(case.id)
    statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    progress.advance(case.id, row["status"])


def _row_of_the_dead(case: Case, death: Death, number: int, request: Request) -> Row:
    status = "timeout" if death.timed_out else "crashed"
    limit = f"longer than {request.job.limit_s:g} s"
    reason = limit if death.timed_out else f"the process was lost: {death.reason}"
    return {"kind": "row", **case.axes, "pass": number, "status": status, "reason": reason}


__all__ = ["STRATEGIES", "Job", "Outcome", "Request", "RunnerError", "run"]
