"""`python -m bench pair BASE [HEAD]`: what the command does once torch is there."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from math import inf
from pathlib import Path

from reports.pairs import ResultFileError
from reports.verdict_files import as_json, junit, markdown, text
from reports.verdicts import Judgement, TooFewPairsError, exit_code
from reports.waivers import WaiverFileError, read_waivers, waive

from . import instructions
from .arms import ArmError, Asked, arms
from .checkouts import CheckoutError
from .cores import claimed_cores
from .memory import default_limit
from .pair import Pair, PairError, compare
from .record import ResultsError
from .scratch import scratch
from .valgrind import InstructionsError, require
from .worker import Job

USAGE_ERRORS = (
    ArmError,
    CheckoutError,
    InstructionsError,
    PairError,
    ResultFileError,
    TooFewPairsError,
    WaiverFileError,
)


def pair_command(given: argparse.Namespace) -> int:
    """Measure both arms, print the verdicts, write them; the exit code says whether it failed."""
    if given.instructions:
        _countable(given)
    waivers = read_waivers(given.waivers) if given.waivers else ()
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
        judgement = (
            instructions.compare(ready, folder)
            if given.instructions
            else compare(ready, pairs=given.pairs)
        )
    if judgement is None:
        print(f"bench: interrupted; go on with: {_again(pair.folder)}", file=sys.stderr)
        return 130
    judgement = waive(judgement, waivers, date.today())
    _written(pair.folder, judgement, given)
    print(text(judgement))
    print(pair.folder / "verdicts.json")
    return exit_code(judgement, strict=given.strict)


def _countable(given: argparse.Namespace) -> None:
    require(given.device)
    for option, value in (("--inject", given.inject), ("--resume", given.resume)):
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
    for text_ in given.inject:
        name, _, ratio = text_.rpartition("=")
        if name not in known or not _above_one(ratio):
            raise PairError(f"--inject {text_}: it is ID=RATIO, of a case of head, such as ID=1.10")
    return Pair((base, head), folder, job, grid, given.device)


def _above_one(ratio: str) -> bool:
    try:
        return 1 < float(ratio) < inf
    except ValueError:
        return False


def _folder(given: argparse.Namespace) -> Path:
    """Where the files go: the comparison that is gone on with, or a new one's."""
    if given.resume:
        if not any(Path(given.resume).glob("screen-*.jsonl")):
            raise PairError(f"{given.resume} is no folder of a comparison: nothing to go on with")
        return Path(given.resume)
    return Path(given.results) / f"pair-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"


def _again(folder: Path) -> str:
    said = ["python", "-m", "bench", *sys.argv[1:]]
    return shlex.join(said if "--resume" in said else [*said, "--resume", str(folder)])


def _written(folder: Path, judgement: Judgement, given: argparse.Namespace) -> None:
    title = f"{given.base} → {given.head or 'working tree'}"
    title += f", slowed on purpose: {', '.join(given.inject)}" if given.inject else ""
    try:
        (folder / "verdicts.json").write_text(as_json(judgement, title, strict=given.strict))
        (folder / "verdicts.xml").write_text(junit(judgement, title), encoding="utf-8")
        (folder / "verdicts.md").write_text(markdown(judgement, title), encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot write into {folder}: {error.strerror}") from error
