"""One worker process: started over a list of cases, watched through its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .case import Timed
from .cores import for_threads
from .environment import ROOT
from .interrupt import Stop
from .last_words import Tail
from .record import ResultsError, Row
from .watch import Death, Limits, Watch, end

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
# How long a worker may take to import torch and the strategies.
START_S = 300.0


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told.

    threads: the most of any case; a worker has those of its own cases. pinned: the cores that the
    run holds; a worker has one for each thread, or none where there are fewer. tests: the file of
    this package that it runs over the cases. after_wrong: whether a worker may go on after a wrong
    answer ("go-on") or is replaced ("stop"). memory_bytes: what it may map beyond torch. scratch:
    the run's own folder. source: the folder that `strategies` must come from, path the folders that
    a user's files import from, and python what it runs on, where these are not what the runner
    itself has. inject: cases that are made slower, `ID=1.10`, to see whether that is found.
    """

    strategies: tuple[str, ...]
    workloads: tuple[str, ...]
    threads: int
    pinned: tuple[int, ...]
    limit_s: float
    tests: str = "test_time.py"
    after_wrong: str = "stop"
    memory_bytes: int | None = None
    start_s: float = START_S
    scratch: Path = Path()
    source: Path | None = None
    path: tuple[str, ...] = ()
    python: str = sys.executable
    inject: tuple[str, ...] = ()


def share(job: Job, cases: Sequence[Timed]) -> tuple[Job, list[Timed]]:
    """What one worker can take: all cases of the first one's thread count, which libraries read
    once, when they are loaded."""
    threads = cases[0].threads
    own = replace(job, threads=threads, pinned=for_threads(job.pinned, threads))
    return own, [case for case in cases if case.threads == threads]


def environment_for(job: Job) -> dict[str, str]:
    """The worker's environment: this checkout first, so many threads, a fixed hash seed."""
    first = [str(job.source)] if job.source else []
    path = [*first, str(ROOT), *job.path, *filter(None, [os.environ.get("PYTHONPATH")])]
    # A user's own pytest, its options or its parallel workers, must not reach the measurement.
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **outer,
        **{name: str(job.threads) for name in THREADS},
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONHASHSEED": "0",
        # Of the plugins that happen to be installed, some take a second to import.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Last words in a buffer die with the process.
        "PYTHONUNBUFFERED": "1",
    }


def command(job: Job, number: int, cases: Path, fd: int) -> list[str]:
    """The worker as a command: the guard, then pytest with the plugin over one file of cases."""
    files = [f"--strategies={path}" for path in job.strategies]
    files += [f"--workload={spec}" for spec in job.workloads]
    files += [f"--inject={text}" for text in job.inject]
    files += [f"--memory-bytes={job.memory_bytes}"] if job.memory_bytes else []
    cores = ",".join(map(str, job.pinned))
    return [
        *(job.python, "-m", "bench.guard", str(os.getpid()), cores, str(job.source or "")),
        *(str(HERE / job.tests), "-q", "-p", "pytest_benchmark.plugin", "-s"),
        *("-p", "no:cacheprovider"),
        # No settings: an installed package has no file of them, and a user's is not for this.
        *("--rootdir", str(ROOT), "-c", os.devnull, "--tb=no", "-W", "default"),
        *(f"--cases={cases}", f"--rows-fd={fd}", f"--pass={number}"),
        *(f"--references={job.scratch / 'references'}", f"--after-wrong={job.after_wrong}"),
        *files,
    ]


def messages(job: Job, number: int, cases: Sequence[Timed], stop: Stop) -> Generator[Row | Death]:
    """What a worker over these cases sends, line by line, and at last how it ended.

    A `row` always follows the `started` of its case. Raises `Interrupted` where the run is to stop.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=job.scratch))
        listed = folder / "cases.json"
        listed.write_text(json.dumps([case.axes for case in cases]))
        process, rows, output = _start(job, number, listed)
    except OSError as error:
        raise ResultsError(f"cannot start a worker: {error}") from error
    limits, known = Limits(job.start_s, job.limit_s), {case.id for case in cases}
    watch = Watch(process, rows, Tail(output), limits, stop, known)
    try:
        yield from watch.messages()
    finally:
        # Also where nobody listens any more: an interrupted run, a full disk.
        end(process)
        os.close(rows)
        os.close(output)


def _start(job: Job, number: int, listed: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    rows, rows_end = os.pipe()
    output, output_end = os.pipe()
    try:
        # A session of its own: Ctrl-C is the runner's to hear, and its children end with it.
        process = subprocess.Popen(
            command(job, number, listed, rows_end),
            stdin=subprocess.DEVNULL,
            stdout=output_end,
            stderr=output_end,
            pass_fds=[rows_end],
            env=environment_for(job),
            cwd=listed.parent,
            start_new_session=True,
        )
    finally:
        os.close(rows_end)
        os.close(output_end)
    return process, rows, output
