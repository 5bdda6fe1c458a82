"""`python -m bench pair BASE [HEAD]`: what the command does once torch is there."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path

from reports.comparison import Judgement, exit_code
from reports.load import ResultFileError
from reports.signflip import TooFewPairsError
from reports.verdict_files import as_json, junit, markdown, text
from reports.waivers import WaiverFileError, read_waivers, waive

from . import instructions
from .arms import ArmError, Asked, arm
from .checkouts import CheckoutError
from .cores import claimed_cores
from .memory import default_limit
from .pair import Pair, PairError, compare
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
        code = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arms-")))
        claim = stack.enter_context(claimed_cores(1))
        if claim.warning:
            print(f"bench: {claim.warning}", file=sys.stderr)
        pair = _pair(given, code, claim.cores)
        if given.instructions:
            judgement, stopped = instructions.compare(pair, code), False
        else:
            judgement, stopped = compare(pair, pairs=given.pairs)
    if stopped:
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


def _pair(given: argparse.Namespace, code: Path, cores: tuple[int, ...]) -> Pair:
    chosen = given.grid or ("instructions" if given.instructions else "smoke")
    options = [f"--grid={chosen}", f"--dtype={given.dtype}", f"--device={given.device}"]
    options += [f"--only={part}" for part in given.only]
    threads = given.threads or ((1,) if given.instructions else ())
    options += [f"--threads={','.join(map(str, threads))}"] if threads else []
    asked = Asked(Path.cwd(), given.strategies, given.workload, options)
    base = arm("base", given.base, asked, code, given.base_python or sys.executable)
    head = arm("head", given.head, asked, code, sys.executable)
    memory = None if given.device == "cuda" else given.memory or default_limit()
    inject = tuple(given.inject)
    job = Job((), (), 1, cores, given.limit, memory_bytes=memory, inject=inject)
    grid = "own" if given.workload else chosen
    pair = Pair((base, head), _folder(given), job, grid, given.device)
    for text_ in given.inject:
        name, _, ratio = text_.rpartition("=")
        if name not in pair.known or not _above_one(ratio):
            raise PairError(f"--inject {text_}: it is ID=RATIO, of a case here, such as ID=1.10")
    return pair


def _above_one(ratio: str) -> bool:
    try:
        return float(ratio) > 1
    except ValueError:
        return False


def _folder(given: argparse.Namespace) -> Path:
    """Where the files go: the comparison that is gone on with, or a new one's."""
    if given.resume:
        if not Path(given.resume).is_dir():
            raise PairError(f"{given.resume} is no folder of a comparison: nothing to go on with")
        return Path(given.resume)
    return Path(given.results) / f"pair-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _again(folder: Path) -> str:
    said = ["python", "-m", "bench", *sys.argv[1:]]
    return shlex.join(said if "--resume" in said else [*said, "--resume", str(folder)])


def _written(folder: Path, judgement: Judgement, given: argparse.Namespace) -> None:
    title = f"{given.base} → {given.head or 'working tree'}"
    (folder / "verdicts.json").write_text(as_json(judgement, title, strict=given.strict))
    (folder / "verdicts.xml").write_text(junit(judgement, title))
    (folder / "verdicts.md").write_text(markdown(judgement, title))
