"""Two commits compared by instructions: both arms at once under callgrind, a process each.

Instructions do not depend on what else the machine does: no passes in turn, one stage. The reports
judge; docs/regression-tracking.md is their reason.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.schema import COUNTED, stage_file

from .arms import Arm, Listed
from .callgrind import DumpError, parse
from .counting import CALLS, WARMUP_CALLS
from .header import run_line
from .pair import Pair, PairError, comparable
from .progress import Progress
from .record import ResultFile, Row, lines
from .runner import Request
from .valgrind import InstructionsError
from .worker import Job, environment_for

# What inductor compiles and CUDA captures would be counted while it is made, for minutes.
EXECUTIONS = ("eager", "traced")
# Under callgrind the import of torch takes a minute, two where the core is shared.
START_S = 900.0
# What torch imports at the first use of a transform takes a minute too: a case has more time here.
SLOWER = 10
POLL_S = 0.5
# Of a function's instructions a smaller part of its case is left out of the file.
LEAST_PART = 1e-3


@dataclass(frozen=True)
class Counting:
    """The process of an arm: the cases that it counts, the folder of its files."""

    arm: Arm
    cases: Sequence[Listed]
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def rows(self) -> list[Row]:
        """The lines it has written so far: one to say that it is ready, then one a case."""
        path = self.folder / "rows"
        return lines(path) if path.exists() else []


def countable(arm: Arm) -> list[Listed]:
    """The cases of an arm that run eagerly or traced on one thread."""
    found = [case for case in arm.cases if case.axes["execution"] in EXECUTIONS]
    return [case for case in found if case.threads == 1]


def count(pair: Pair, scratch: Path) -> None:
    """Count both arms into the comparison's folder. scratch: a folder for dumps.

    Raises `PairError`, `InstructionsError`.
    """
    comparable(pair)
    chosen = [countable(arm) for arm in pair.arms]
    if not {case.id for case in chosen[0]} & {case.id for case in chosen[1]}:
        raise PairError(f"no case in common is {' or '.join(EXECUTIONS)}: nothing to count")
    total = sum(map(len, chosen))
    print(f"pair: {total} counts under callgrind, after two imports of torch", file=sys.stderr)
    with _started(pair, chosen, scratch) as counting:
        _await_imports(counting)
        with Progress(total, "counting") as progress:
            ends = _watched(counting, SLOWER * pair.job.limit_s, progress)
    for each, end in zip(counting, ends, strict=True):
        _write(pair, each, end)


@contextmanager
def _started(
    pair: Pair, chosen: Sequence[Sequence[Listed]], scratch: Path
) -> Iterator[list[Counting]]:
    found: list[Counting] = []
    try:
        for arm, cases in zip(pair.arms, chosen, strict=True):
            found.append(_start(arm, cases, scratch / f"{arm.name}-dumps"))
        yield found
    finally:
        for each in found:
            each.process.kill()
            each.process.wait()


def _start(arm: Arm, cases: Sequence[Listed], folder: Path) -> Counting:
    folder.mkdir()
    (folder / "cases.json").write_text(json.dumps([case.axes for case in cases]))
    job = Job((), (), 1, (), START_S, source=arm.source, path=arm.path, python=arm.python)
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command(arm, folder),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment_for(job),
            cwd=folder,
            start_new_session=True,
        )
    return Counting(arm, cases, folder, process)


def command(arm: Arm, folder: Path) -> list[str]:
    """The process of an arm: no random addresses, nothing counted until a case asks for it."""
    files = [f"--strategies={path}" for path in arm.strategies]
    files += [f"--workload={spec}" for spec in arm.workloads]
    return [
        *("setarch", platform.machine(), "-R"),
        *("valgrind", "--tool=callgrind", "--collect-atstart=no"),
        f"--callgrind-out-file={folder / 'dump'}",
        *(arm.python, "-m", "bench.counting", str(os.getpid()), str(arm.source or "")),
        *(str(folder / "cases.json"), str(folder / "rows"), *files),
    ]


def _await_imports(counting: Sequence[Counting]) -> None:
    """Wait until both arms are ready to count."""
    begun = time.monotonic()
    while any(not each.rows and each.process.poll() is None for each in counting):
        if time.monotonic() - begun > START_S:
            raise InstructionsError(f"torch is not imported after {START_S:.0f} s under callgrind")
        time.sleep(POLL_S)
    for each in counting:
        if not each.rows:
            raise InstructionsError(f"{each.arm.name} cannot be counted: {_last_words(each)}")


def _watched(counting: Sequence[Counting], limit_s: float, progress: Progress) -> list[str]:
    """Wait for both arms; of each how it ended, empty where it counted all its cases."""
    seen = [1 for _ in counting]
    newest = [time.monotonic() for _ in counting]
    ends: list[str | None] = [None for _ in counting]
    while None in ends:
        time.sleep(POLL_S)
        for k, each in enumerate(counting):
            code = each.process.poll()
            rows = each.rows
            for row in rows[seen[k] :]:
                progress.advance(f"{each.arm.name}: {Listed(row).id}", row["status"])
            if len(rows) > seen[k]:
                seen[k], newest[k] = len(rows), time.monotonic()
            waited = time.monotonic() - newest[k]
            ends[k] = _end(code, waited, limit_s, ends[k])
            if ends[k] == "timeout":
                each.process.kill()
    return [end or "" for end in ends]


def _end(code: int | None, waited_s: float, limit_s: float, before: str | None) -> str | None:
    if before is not None:
        return before
    if code is None:
        return "timeout" if waited_s > limit_s else None
    return "crashed" if code else ""


def _write(pair: Pair, each: Counting, end: str) -> None:
    """The result file of an arm: a row of each case."""
    ready, *rows = each.rows
    header = run_line(_request(pair, each)) | {"kind": "run"}
    header["environment"] = header["environment"] | {"capability": ready["capability"]}
    with ResultFile(pair.folder / stage_file(COUNTED, each.arm.name)) as file:
        file.write(header)
        number = 0
        for row in rows:
            dumps = [each.folder / f"dump.{number + k + 1}" for k in range(row.pop("dumps"))]
            number += len(dumps)
            file.write(counted(row, dumps))
        for line in _lost(each.cases[len(rows) :], end):
            file.write(line)
        file.write({"kind": "end"})


def _request(pair: Pair, each: Counting) -> Request:
    line = {"pair": {"id": pair.folder.name, "arm": each.arm.name, "stage": COUNTED}}
    where = (pair.grid, 1, pair.device, pair.folder, pair.job)
    return Request(list(each.cases), *where, line=each.arm.line | line)


def _last_words(each: Counting) -> str:
    said = (each.folder / "said").read_text(errors="replace").splitlines()
    own = [line for line in said if line.strip() and not line.startswith("==")]
    return own[-1] if own else f"exit code {each.process.returncode}"


def counted(row: Row, dumps: Sequence[Path]) -> Row:
    """A row with the instructions of a call in each round, one dump each."""
    try:
        read = [parse(path.read_text(errors="replace")) for path in dumps]
    except (OSError, DumpError) as error:
        return row | {"pass": 0, "status": "error", "reason": f"callgrind: {error}"}
    if not read:
        return row | {"pass": 0}
    least = min(read, key=lambda dump: dump.total)
    return row | {
        "pass": 0,
        "warmup": WARMUP_CALLS,
        "loops": CALLS,
        "instructions": [dump.total // CALLS for dump in read],
        "functions": _large(least.functions, least.total),
    }


def _large(functions: Mapping[str, int], total: int) -> dict[str, int]:
    kept = {name: cost for name, cost in functions.items() if cost >= LEAST_PART * total}
    return {name: cost // CALLS for name, cost in sorted(kept.items(), key=lambda i: -i[1])}


def _lost(cases: Sequence[Listed], end: str) -> list[Row]:
    """Rows of the cases that the process did not come to: the first one ended it."""
    last = f"{cases[0].id} ended the process: {end or 'crashed'}" if cases else ""
    return [
        {"kind": "row", **case.axes, "pass": 0, "status": status, "reason": reason}
        for k, case in enumerate(cases)
        for status, reason in [("skipped", last) if k else (end or "crashed", "under callgrind")]
    ]
