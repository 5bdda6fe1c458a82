"""One worker process: started over a list of cases, watched through its pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .case import Case
from .environment import ROOT
from .record import Row

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told.

    tests: the file of this package that it runs over the cases. after_wrong: whether a worker may
    go on after a wrong answer ("go-on") or is replaced ("stop").
    """

    references: Path
    strategies: tuple[str, ...]
    workloads: tuple[str, ...]
    threads: int
    pinned: tuple[int, ...]
    limit_s: float
    tests: str = "test_time.py"
    after_wrong: str = "stop"


@dataclass(frozen=True)
class Death:
    """How a worker ended: its exit code (negative: the signal), what it said last, and whether
    it was killed for taking longer than the limit."""

    code: int
    said: str
    timed_out: bool

    @property
    def reason(self) -> str:
        """The end in words."""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exited with code {self.code}: {self.said}"


def environment_for(job: Job) -> dict[str, str]:
    """The worker's environment: this checkout first, so many threads, a fixed hash seed."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # A user's own pytest, its options or its parallel workers, must not reach the measurement.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **outer,
        **{name: str(job.threads) for name in THREADS},
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
    }


def command(job: Job, number: int, cases: Path, fd: int) -> list[str]:
    """The worker as a command: pytest with the plugin over one file of cases."""
    files = [f"--strategies={path}" for path in job.strategies]
    files += [f"--workload={spec}" for spec in job.workloads]
    return [
        *(sys.executable, "-m", "pytest", str(HERE / job.tests), "-q", "-p", "no:cacheprovider"),
        *("--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "--tb=no", "-W", "default"),
        *(f"--cases={cases}", f"--rows-fd={fd}", f"--pass={number}"),
        *(f"--references={job.references}", f"--after-wrong={job.after_wrong}", *files),
    ]


def messages(job: Job, number: int, cases: Sequence[Case]) -> Iterator[Row | Death]:
    """What a worker over these cases sends, line by line, and at last how it ended."""
    with tempfile.TemporaryDirectory(prefix="worker-") as folder:
        listed = Path(folder, "cases.json")
        listed.write_text(json.dumps([case.axes for case in cases]))
        output = Path(folder, "output")
        reader, writer = os.pipe()
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command(job, number, listed, writer),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                env=environment_for(job),
                cwd=folder,
            )
        os.close(writer)
        _pin(process.pid, job.pinned)
        try:
            timed_out = yield from _lines(reader, job.limit_s)
            if timed_out:
                process.kill()
            yield Death(process.wait(), _last_words(output), timed_out)
        finally:
            os.close(reader)
            if process.poll() is None:
                process.kill()
                process.wait()


def _pin(pid: int, cores: tuple[int, ...]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)


def _lines(reader: int, limit_s: float) -> Generator[Row, None, bool]:
    """Whole lines as they come; returns True where none came for longer than the limit."""
    pending = b""
    deadline = time.monotonic() + limit_s
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return True
        received = os.read(reader, 1 << 16)
        if not received:
            return False
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            deadline = time.monotonic() + limit_s
            yield json.loads(line)


def _last_words(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
