"""A run: K passes over the cases in watched processes, one writer, one result file."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from reports.schema import FAULTS
from strategies import STRATEGIES

from .case import SEED, Timed
from .header import run_line
from .interrupt import Interrupted, Stop, stop_signals
from .ledger import Ledger
from .progress import Progress
from .record import ResultFile, ResultsError, Row
from .resume import Past, check, cut, past
from .scratch import scratch
from .watch import Death, UnendingWorker
from .worker import Job, messages, share

# The system may kill a worker while it starts, when memory is short; not again and again.
BARREN = 3


class RunnerError(RuntimeError):
    """Workers end before they reach a case; the message is what the last one said."""


@dataclass(frozen=True)
class Request:
    """What `run` is asked for: the cases, how often, and where the file goes.

    resume: a result file of the same cases, which is gone on with. warnings: what is odd about the
    run from its start. workers: how many at once; what is timed takes one, since two on one
    machine disturb each other. name: of the file, instead of the run's own. line: what the run line
    says in place of what this process would, where the cases run on other code than its own.
    """

    cases: Sequence[Timed]
    grid: str
    passes: int
    device: str
    results: Path
    job: Job
    resume: Path | None = None
    warnings: tuple[str, ...] = ()
    workers: int = 1
    name: str = ""
    line: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A run that ended: its file, how many rows have each status, whether it was told to end."""

    path: Path
    statuses: dict[str, int]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """1 where a row is wrong, error or crashed: those are faults, the others results."""
        return 130 if self.interrupted else int(any(map(self.statuses.get, FAULTS)))


def run(request: Request) -> Outcome:
    """Measure every case once in each pass and write a row for each, whatever happens to it."""
    (outcome,) = run_in_turn([request], lambda number: [0])
    return outcome


def run_in_turn(
    requests: Sequence[Request], order: Callable[[int], Sequence[int]]
) -> list[Outcome]:
    """Measure several requests of as many passes, each into its own file: of pass k each one's, in
    the order that `order(k)` gives, then of pass k + 1."""
    begun, total = time.monotonic(), sum(len(r.cases) * r.passes for r in requests)
    with ExitStack() as stack:
        stop, folder = stack.enter_context(stop_signals()), stack.enter_context(scratch())
        opened = [_opened(stack, request) for request in requests]
        done = [status for _, held in opened for status in held.done.values()]
        progress = stack.enter_context(Progress(total, done=done))
        arms = [
            _Arm(
                replace(request, job=replace(request.job, scratch=_own(folder, k))),
                Ledger(file, progress, held, request.job.limit_s),
                file,
            )
            for k, (request, (file, held)) in enumerate(zip(requests, opened, strict=True))
        ]
        end = _ended(arms, order, stop)
        for arm in arms:
            arm.file.write(_end_line(arm.ledger, begun) | end)
    if "error" in end:
        raise RunnerError(end["error"])
    return [Outcome(arm.file.path, dict(arm.ledger.statuses), bool(end)) for arm in arms]


@dataclass(frozen=True)
class _Arm:
    """A request while it is measured."""

    request: Request
    ledger: Ledger
    file: ResultFile


def _own(folder: Path, k: int) -> Path:
    """A folder for each request: workloads of the same name need not be the same."""
    path = folder / str(k)
    path.mkdir()
    return path


def _end_line(ledger: Ledger, begun: float) -> Row:
    return {
        "kind": "end",
        "ended": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "rows": sum(ledger.statuses.values()),
        "wall_s": time.monotonic() - begun,
    }


def _opened(stack: ExitStack, request: Request) -> tuple[ResultFile, Past]:
    """Begin the file, or go on with it; what it holds."""
    line = run_line(request)
    path = request.resume or request.results / f"{request.name or line['run']}.jsonl"
    file = stack.enter_context(ResultFile(path, request.resume))
    if request.resume is None:
        file.write(line)
        return file, Past()
    held = past(file.path)
    differing = [*request.warnings, *check(file.path, held.header, line)]
    cut(file.path)
    again = {"kind": "resume", "started": line["started"], "command": line["command"]}
    file.write({**again, "pinned": line["environment"]["pinned"], "warnings": differing})
    for text in differing:
        print(f"bench: {text}", file=sys.stderr)
    return file, held


def _ended(arms: Sequence[_Arm], order: Callable[[int], Sequence[int]], stop: Stop) -> Row:
    """Measure; what the end lines say of an end before the last case."""
    try:
        for number in range(max(arm.request.passes for arm in arms)):
            for arm in (arms[k] for k in order(number)):
                _pass(arm.request, number, arm.ledger, stop)
    except Interrupted:
        return {"interrupted": True}
    except (RunnerError, ResultsError, UnendingWorker) as error:
        return {"interrupted": True, "error": str(error)}
    return {}


def _pass(request: Request, number: int, ledger: Ledger, stop: Stop) -> None:
    """Every case once, in this pass's order; each worker takes a part of them."""
    cases, workers = shuffled(request.cases, number), request.workers
    parts = [part for k in range(workers) if (part := cases[k::workers])]

    def measure(part: Sequence[Timed]) -> None:
        try:
            _part(request.job, number, part, ledger, stop)
        except BaseException:
            # Nobody would hear of it before the other workers are done with theirs.
            stop.ask()
            raise

    with ThreadPoolExecutor(len(parts)) as pool:
        futures = [pool.submit(measure, part) for part in parts]
    errors = [error for future in futures if (error := future.exception())]
    # Those that were asked to stop because of another one say less.
    for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
        raise error


def _part(job: Job, number: int, cases: Sequence[Timed], ledger: Ledger, stop: Stop) -> None:
    """These cases, one at a time; a worker that ends is followed by another."""
    barren = 0
    while left := ledger.settle(cases, number):
        own, taken = share(job, left)
        death = _worker(own, number, taken, ledger, stop)
        barren = 0 if death.begun else barren + 1
        if barren == BARREN or (barren and not death.by_system):
            raise RunnerError(f"a worker ended before its first case: {death.reason}")


def _worker(job: Job, number: int, cases: Sequence[Timed], ledger: Ledger, stop: Stop) -> Death:
    """What one worker measures; how it ended."""
    known = {case.id: case for case in cases}
    current = cases[0]
    # Closed, and the worker with it, also where the disk is full.
    with closing(messages(job, number, cases, stop)) as sent:
        for message in sent:
            if isinstance(message, Death):
                if message.case is not None:
                    ledger.lost(current, number, message)
                return message
            if message["kind"] == "started":
                current = known[message["id"]]
                ledger.started(current, message)
            else:
                ledger.row(current, message)
    raise AssertionError("a worker that ends says so")


def shuffled(cases: Sequence[Timed], number: int) -> list[Timed]:
    """The cases in the order of a pass."""
    order = list(cases)
    random.Random(f"{SEED}/{number}").shuffle(order)
    return order


__all__ = ["STRATEGIES", "Job", "Outcome", "Request", "RunnerError", "run", "shuffled"]
