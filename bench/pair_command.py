"""`python -m bench pair BASE [HEAD]`: what the command does once torch is there."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from reports.schema import STAGES
from reports.verdicts import TooFewPairsError

from . import instructions, judge
from .arms import ArmError, Asked, arms
from .checkouts import CheckoutError
from .cores import claimed_cores
from .judge import JudgeError
from .memory import default_limit
from .pair import Pair, PairError, compare
from .scratch import scratch
from .valgrind import InstructionsError, require
from .worker import Job

USAGE_ERRORS = (
    ArmError,
    CheckoutError,
    InstructionsError,
    JudgeError,
    PairError,
    TooFewPairsError,
)


def pair_command(given: argparse.Namespace) -> int:
    """Measure both arms, have them judged; the exit code says whether something failed."""
    if given.instructions:
        _countable(given)
    if given.waivers:
        judge.check_waivers(given.waivers)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        pair = _pair(given, folder)
        threads = max((case.threads for arm in pair.arms for case in arm.cases), default=1)
        claim = stack.enter_context(claimed_cores(threads))
        if claim.warning:
            print(f"bench: {claim.warning}", file=sys.stderr)
        job = replace(pair.job, threads=threads, pinned=claim.cores)
        warnings = (claim.warning,) if claim.warning else ()
        ready = replace(pair, job=job, warnings=warnings)
        if given.instructions:
            instructions.count(ready, folder)
        elif not compare(ready, pairs=given.pairs, confirm=not given.screen_only):
            print(f"bench: interrupted; go on with: {_again(pair.folder)}", file=sys.stderr)
            return 130
    return judge.verdicts(pair.folder, _title(given), given.waivers, strict=given.strict)


def _countable(given: argparse.Namespace) -> None:
    require(given.device)
    of_times = {
        "--inject": given.inject,
        "--resume": given.resume,
        "--screen-only": given.screen_only,
    }
    for option, value in of_times.items():
        if value:
            raise PairError(f"{option} goes with times, not with --instructions")
    if set(given.threads) - {1}:
        raise PairError("--instructions counts one thread: leave --threads")


def _pair(given: argparse.Namespace, code: Path) -> Pair:
    folder = _folder(given)
    chosen = given.grid or ("instructions" if given.instructions else "smoke")
    options = [f"--grid={chosen}", f"--dtype={given.dtype}", f"--device={given.device}"]
    options += [f"--only={part}" for part in given.only]
    threads = given.threads or ((1,) if given.instructions else ())
    options += [f"--threads={','.join(map(str, threads))}"] if threads else []
    asked = Asked(Path.cwd(), given.strategies, given.workload, options)
    before = ("base", given.base, given.base_python or sys.executable)
    base, head = arms(asked, code, before, ("head", given.head, sys.executable))
    memory = None if given.device == "cuda" else given.memory or default_limit()
    job = Job((), (), 1, (), given.limit, memory_bytes=memory, inject=tuple(given.inject))
    grid = "own" if given.workload else chosen
    known = {case.id for case in head.cases}
    for text in given.inject:
        name, _, ratio = text.rpartition("=")
        if name not in known or not _above_one(ratio):
            raise PairError(f"--inject {text}: it is ID=RATIO, of a case of head, such as ID=1.10")
    return Pair((base, head), folder, job, grid, given.device)


def _above_one(ratio: str) -> bool:
    try:
        return 1 < float(ratio) < inf
    except ValueError:
        return False


def _folder(given: argparse.Namespace) -> Path:
    """Where the files go: the comparison that is gone on with, or a new one's."""
    if given.resume:
        if not any(Path(given.resume).glob(f"{STAGES[0]}-*.jsonl")):
            raise PairError(f"{given.resume} is no folder of a comparison: nothing to go on with")
        return Path(given.resume)
    return Path(given.results) / f"pair-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"


def _again(folder: Path) -> str:
    said = ["python", "-m", "bench", *sys.argv[1:]]
    return shlex.join(said if "--resume" in said else [*said, "--resume", str(folder)])


def _title(given: argparse.Namespace) -> str:
    title = f"{given.base} → {given.head or 'working tree'}"
    return title + (f", slowed on purpose: {', '.join(given.inject)}" if given.inject else "")
