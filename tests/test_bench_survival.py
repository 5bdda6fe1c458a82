"""What a run survives by: locks, limits, signals, whole lines; what it will not go on with."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import command, python
from torch.utils._python_dispatch import TorchDispatchMode

from bench import scratch as scratch_module
from bench.case import Case
from bench.cores import claimed_cores
from bench.coverage import cells
from bench.environment import changed_since, surroundings
from bench.grid import blocks, cases
from bench.interrupt import Interrupted, stop_signals
from bench.last_words import LONGEST, last_words
from bench.ledger import Ledger
from bench.memory import bytes_of, default_limit
from bench.progress import Progress, remaining
from bench.record import ResultFile, ResultsError, lines
from bench.resume import Past, ResumeError, check, cut, past, selection
from bench.runner import Job, Request, RunnerError, run
from bench.scratch import scratch, user_folder
from bench.sizes import at_least
from bench.watch import Death
from bench.worker import share
from reports.schema import case_id
from strategies import Operator


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of these tests are nobody else's."""
    monkeypatch.setattr(scratch_module.tempfile, "tempdir", str(tmp_path))


# Cores


def test_two_runs_claim_two_cores_and_a_third_says_that_it_has_none() -> None:
    with claimed_cores() as first:
        assert first.cores == (max(os.sched_getaffinity(0)),)
        claims, warned = [claimed_cores() for _ in os.sched_getaffinity(0)], ""
        held = [claim.__enter__() for claim in claims]
        warned = held[-1].warning
        taken = {first.cores, *(claim.cores for claim in held[:-1])}
        assert len(taken) == len(os.sched_getaffinity(0))
        assert held[-1].cores == ()
        for claim in claims:
            claim.__exit__(None, None, None)
    assert warned == "not pinned: other runs hold every core, and disturb this one"


def test_a_run_claims_as_many_cores_as_threads_or_says_so() -> None:
    there = len(os.sched_getaffinity(0))
    with claimed_cores(there) as claim:
        assert (len(set(claim.cores)), claim.warning) == (there, "")
    with claimed_cores(there + 1) as claim:
        assert len(claim.cores) == there
        said = f"{there} of {there + 1} cores are free: cases with more threads are not pinned"
        assert claim.warning == said


def test_a_worker_takes_one_thread_count_and_as_many_cores() -> None:
    one, two, other = CASES[0], replace(CASES[0], threads=2), replace(CASES[1], threads=2)
    job = Job((), (), threads=2, pinned=(7, 5), limit_s=9.0)
    assert share(job, [two, one, other]) == (job, [two, other])
    assert share(job, [one, two]) == (replace(job, threads=1, pinned=(7,)), [one])
    assert share(replace(job, pinned=(7,)), [two])[0].pinned == ()


def test_a_claim_ends_with_its_process() -> None:
    text = "from bench.cores import claimed_cores as c; import os; c().__enter__(); os._exit(9)"
    python("-c", text, TMPDIR=str(user_folder().parent))
    with claimed_cores() as claim:
        assert claim.cores == (max(os.sched_getaffinity(0)),)


def test_where_no_lock_can_be_made_a_run_is_not_pinned(tmp_path: Path) -> None:
    (tmp_path / f"input-derivatives-{os.getuid()}").write_text("in the way")
    with claimed_cores() as claim:
        assert claim.cores == ()
        assert claim.warning.startswith("not pinned: cannot claim a core: ")


# Temporary folders


def test_a_run_has_a_folder_of_its_own_and_removes_those_of_the_dead() -> None:
    dead = user_folder() / "run-dead"
    (dead / "worker-1").mkdir(parents=True)
    with scratch() as one, scratch() as other:
        assert one != other
        assert one.is_dir()
        assert not dead.exists()
    assert list(user_folder().glob("run-*")) == []


def test_where_no_folder_can_be_made_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / f"input-derivatives-{os.getuid()}").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot make a temporary folder: "), scratch():
        pass


# Memory


@pytest.mark.parametrize(
    ("text", "amount"),
    [("123", 123), ("8 GiB", 8 << 30), ("8GiB", 8 << 30), ("1.5 kB", 1500), (" 2 MB ", 2000000)],
)
def test_memory_is_read_with_its_unit(text: str, amount: int) -> None:
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "much", "0", "-1", "8 gigs", "GiB"])
def test_other_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape('memory reads like "8 GiB" or 8000000000')):
        bytes_of(text)


def test_a_worker_may_take_most_of_the_memory() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < default_limit() <= 0.8 * total


# Global state


class Dispatch(TorchDispatchMode):
    """One that is never left."""


@pytest.mark.parametrize(
    ("name", "change", "back"),
    [
        (
            "forward-AD level",
            torch.autograd.forward_ad.enter_dual_level,
            torch.autograd.forward_ad.exit_dual_level,
        ),
        (
            "transform level",
            lambda: torch._C._functorch._vmap_increment_nesting(2, "error"),
            torch._C._functorch._vmap_decrement_nesting,
        ),
        (
            "default dtype",
            lambda: torch.set_default_dtype(torch.float64),
            lambda: torch.set_default_dtype(torch.float32),
        ),
        (
            "threads",
            lambda: torch.set_num_threads(torch.get_num_threads() + 1),
            lambda: torch.set_num_threads(torch.get_num_threads() - 1),
        ),
        (
            "grad mode",
            lambda: torch.set_grad_enabled(False),
            lambda: torch.set_grad_enabled(True),
        ),
        (
            "anomaly mode",
            lambda: torch.autograd.set_detect_anomaly(True),
            lambda: torch.autograd.set_detect_anomaly(False),
        ),
        (
            "matmul precision",
            lambda: torch.set_float32_matmul_precision("high"),
            lambda: torch.set_float32_matmul_precision("highest"),
        ),
        (
            "deterministic algorithms",
            lambda: torch.use_deterministic_algorithms(True),
            lambda: torch.use_deterministic_algorithms(False),
        ),
        (
            "default device",
            lambda: torch.set_default_device("meta"),
            lambda: torch.set_default_device(None),
        ),
        ("RNG", lambda: torch.rand(1), lambda: None),
        ("Python's RNG", random.random, lambda: None),
        ("NumPy's RNG", lambda: np.random.rand(1), lambda: None),  # noqa: NPY002
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_a_case_leaves_changed_is_named(
    name: str, change: Callable[[], Any], back: Callable[[], Any]
) -> None:
    before = surroundings()
    assert changed_since(before) == ""
    change()
    try:
        assert name in changed_since(before).split(", ")
    finally:
        back()


def test_a_dispatch_mode_left_behind_is_named() -> None:
    before = surroundings()
    with Dispatch():
        assert "dispatch modes" in changed_since(before)


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_however_often_it_comes(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        stop.check()
        for _ in range(3):
            os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            stop.check()
    assert signal.getsignal(number) is before


# The file


@pytest.fixture
def short_file() -> Iterator[int]:
    """Files may not grow beyond some bytes: as on a full disk, a part of a line still fits."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield size
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_does_not_fit_leaves_a_whole_file(tmp_path: Path, short_file: int) -> None:
    path = tmp_path / "run.jsonl"
    with ResultFile(path) as file:
        file.write({"kind": "run", "text": "x" * 600})
        with pytest.raises(ResultsError, match="; what it holds is whole") as raised:
            file.write({"kind": "row", "text": "y" * 600})
        file.write({"kind": "end"})
    assert os.strerror(errno.EFBIG) in str(raised.value)
    assert path.stat().st_size < short_file
    assert [line["kind"] for line in lines(path)] == ["run", "end"]


def test_a_full_disk_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """A real one, where this user may make one."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(small)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (small / "filler").write_bytes(b"x" * 4096)
        asked = ("--only", "vmap-jacrev", "--results", str(small))
        done = command("bench", "run", *asked, TMPDIR=str(tmp_path))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bench: cannot write ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_one_file_is_written_by_one_run(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with ResultFile(path):
        with pytest.raises(ResultsError, match="is being written by another run"):
            ResultFile(path, resume=path).__enter__()
        with pytest.raises(ResultsError, match="File exists"):
            ResultFile(path).__enter__()
    with pytest.raises(ResultsError, match="No such file"):
        ResultFile(tmp_path / "none", resume=path).__enter__()


# Going on

CASES = cases(blocks("smoke"), only=["jacobian/"])
HEADER = {
    **{"kind": "run", "schema": 1, "commit": "abc", "dirty": False, "contract": 1, "passes": 2},
    **{"cases": selection(CASES), "seeds": {"data": 0}, "command": ["python", "-m", "bench"]},
    **{"strategies": {}, "workloads": {"w": {"version": 1}}, "limit_s": 9.0},
    "memory_limit_bytes": 5,
    "environment": {
        **dict.fromkeys(["cpu", "cores", "gpu", "cuda", "python", "torch", "blas"], "a"),
        **dict.fromkeys(["capability", "threads", "os", "memory_bytes", "driver", "tf32"], "a"),
        **dict.fromkeys(["tf32_cudnn", "float32_matmul_precision", "gpu_limits"], "a"),
        "pinned": [1],
    },
}


def with_(**changed: Any) -> dict[str, Any]:
    return {**HEADER, **changed}


def of_machine(**changed: Any) -> dict[str, Any]:
    return with_(environment={**HEADER["environment"], **changed})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (with_(cases=selection(CASES[1:])), "holds other cases ("),
        (with_(passes=3), "was measured with passes 2, and now it is 3"),
        (with_(commit="def"), "was measured with commit abc, and now it is def"),
        (with_(contract=2), "was measured with contract 1, and now it is 2"),
        (of_machine(cpu="b"), "was measured with cpu a, and now it is b"),
        (of_machine(torch="b"), "was measured with torch a, and now it is b"),
        (with_(workloads={"w": {"version": 2}}), "holds version 1 of w, and now it is 2"),
    ],
    ids=["cases", "passes", "commit", "contract", "cpu", "torch", "workload"],
)
def test_rows_that_would_not_compare_are_not_added(now: dict[str, Any], said: str) -> None:
    with pytest.raises(ResumeError, match=re.escape(said)) as raised:
        check(Path("run.jsonl"), HEADER, now)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (HEADER, []),
        (of_machine(pinned=[0]), ["pinned was [1] and is [0]"]),
        (of_machine(os="b"), ["os was a and is b"]),
        (with_(limit_s=1.0), ["limit_s was 9.0 and is 1.0"]),
        (with_(strategies={"x": {}}), ["strategies differ"]),
        (with_(dirty=True), ["dirty was False and is True"]),
    ],
    ids=["nothing", "core", "os", "limit", "strategies", "dirty"],
)
def test_what_may_differ_is_noted(now: dict[str, Any], said: list[str]) -> None:
    assert check(Path("run.jsonl"), HEADER, now) == said


def written(path: Path, *found: dict[str, Any], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in (HEADER, *found)) + tail)
    return path


def begun(case: Case, number: int = 0) -> dict[str, Any]:
    return {"kind": "started", "id": case.id, "pass": number}


def row(case: Case, number: int = 0, status: str = "ok", reason: str = "") -> dict[str, Any]:
    return {"kind": "row", **case.axes, "pass": number, "status": status, "reason": reason}


END = {"kind": "end", "interrupted": True}
RESUME = {"kind": "resume"}


def test_a_half_written_line_is_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", begun(CASES[0]), row(CASES[0]), tail='{"kind":"row","op')
    held = past(path)
    assert held.done == {(CASES[0].id, 0): "ok"}
    cut(path)
    assert path.read_text().endswith("}\n")
    assert past(path) == held


@pytest.mark.parametrize(
    ("found", "starts"),
    [
        ([begun(CASES[0]), row(CASES[0])], 0),
        ([begun(CASES[0])], 1),
        ([begun(CASES[0]), RESUME, begun(CASES[0])], 2),
        ([begun(CASES[0]), END, RESUME, begun(CASES[0])], 1),
        ([begun(CASES[0]), begun(CASES[0])], 2),
        ([begun(CASES[0], 1)], 0),
        ([begun(CASES[0]), begun(CASES[1]), END], 0),
        ([begun(CASES[0]), RESUME, begun(CASES[1]), END], 1),
    ],
    ids=[
        *("row", "killed", "twice", "told-to-end", "worker-killed", "another-pass"),
        *("two-told-to-end", "killed-before-another-was-told"),
    ],
)
def test_beginnings_without_a_row_are_counted(
    tmp_path: Path, found: list[dict[str, Any]], starts: int
) -> None:
    assert past(written(tmp_path / "run.jsonl", *found)).starts[CASES[0].id, 0] == starts


@pytest.mark.parametrize("text", ["", "notes\n", '{"kind":"row"}\n', '{"kind":"run","schema":9}\n'])
def test_what_is_no_result_file_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text + "unfinished")
    with pytest.raises((ResumeError, ResultsError)) as raised:
        past(path)
    assert "\n" not in str(raised.value)
    assert path.read_text() == text + "unfinished"


# What gets a row without being measured


def ledger(path: Path, held: Past) -> Ledger:
    file = ResultFile(path)
    file.__enter__()
    return Ledger(file, Progress(9), held, limit_s=8.0)


def death(code: int, killed: Any = "", said: str = "no output") -> Death:
    return Death(code, said, killed, "id", 1)


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        (death(-9), ["", "crashed: the process was lost: killed by SIGKILL: no output"]),
        (death(-11), ["crashed: the process was lost: killed by SIGSEGV: no output"]),
        (death(-9, "case"), ["timeout: longer than 8 s"]),
        (
            death(-6, said="what(): std::bad_alloc"),
            ["oom: the process was lost: killed by SIGABRT"],
        ),
    ],
    ids=["twice", "at-once", "timeout", "memory"],
)
def test_how_a_worker_died_is_the_status(tmp_path: Path, how: Death, ends: list[str]) -> None:
    path = tmp_path / "run.jsonl"
    book = ledger(path, Past())
    for end in ends:
        book.started(CASES[0], begun(CASES[0]))
        book.lost(CASES[0], 0, how)
        last = lines(path)[-1]
        said = f"{last['status']}: {last['reason']}" if last["kind"] == "row" else ""
        assert said.startswith(end)
        assert bool(said) == bool(end)


def test_one_that_was_killed_twice_is_not_begun_again(tmp_path: Path) -> None:
    book = ledger(tmp_path / "run.jsonl", Past(starts={(CASES[0].id, 0): 2, (CASES[1].id, 0): 1}))
    assert book.settle(CASES[:3], 0) == CASES[1:3]
    assert [r["status"] for r in lines(tmp_path / "run.jsonl")] == ["crashed"]


def sized(strategy: str = "loop-grad", **changed: Any) -> Case:
    given = {"B": 4, "in_shape": (8,), "out_shape": (8,), "params": {"n": 8}, **changed}
    return Case(Operator.JACOBIAN, strategy, "mlp-square", **given)


@pytest.mark.parametrize(
    ("case", "larger"),
    [
        (sized(), True),
        (sized(B=8), True),
        (sized(in_shape=(9,), params={"n": 9}), True),
        (sized(B=2), False),
        (sized(B=8, in_shape=(7,), params={"n": 7}), False),
        (sized("vmap-jacrev"), False),
        (sized(dtype="float64"), False),
        (sized(chunk=2), False),
        (sized(params={"n": 8, "act": "tanh"}), False),
    ],
    ids=["same", "rows", "inputs", "fewer", "mixed", "strategy", "dtype", "chunk", "params"],
)
def test_which_cases_are_at_least_as_large(case: Case, larger: bool) -> None:
    assert at_least(case.axes, sized().axes) is larger


def test_sizes_above_one_that_timed_out_are_skipped(tmp_path: Path) -> None:
    slow = row(sized(), 0, "timeout", "longer than 8 s")
    book = ledger(tmp_path / "run.jsonl", Past(done={(sized().id, 0): "timeout"}, timeouts=(slow,)))
    small, large = sized(B=2), sized(B=16)
    assert book.settle([small, sized(), large], 0) == [small]
    (skipped,) = lines(tmp_path / "run.jsonl")
    assert (skipped["status"], skipped["B"]) == ("skipped", 16)
    assert skipped["reason"] == (
        "no smaller than one (B=4, n=8, m=8) that in pass 0 was longer than 8 s"
    )


def test_a_full_disk_under_a_worker_ends_the_run(tmp_path: Path) -> None:
    book = ledger(tmp_path / "run.jsonl", Past())
    full = row(CASES[0], 0, "error", "OSError: [Errno 28] No space left on device")
    with pytest.raises(ResultsError, match="a worker cannot write its temporary files"):
        book.row(CASES[0], full)
    assert lines(tmp_path / "run.jsonl") == []


# A worker that does not come to its first case


def test_a_worker_that_hangs_at_its_start_is_an_error(tmp_path: Path) -> None:
    way = tmp_path / "way.py"
    way.write_text("import time; print('waiting for a licence', flush=True); time.sleep(1000)")
    job = Job((str(way),), (), threads=1, pinned=(), limit_s=60.0, start_s=15.0)
    begin = time.monotonic()
    with pytest.raises(RunnerError, match="did not come to a case: waiting for a licence"):
        run(Request(CASES[:1], "smoke", 1, "cpu", tmp_path / "results", job))
    assert time.monotonic() - begin < 60
    (path,) = (tmp_path / "results").iterdir()
    assert [line["kind"] for line in lines(path)] == ["run", "end"]


# Several workers at once


# Long after every worker has begun.
STOPS_THE_FIRST = """
import os, pathlib, time
taken = pathlib.Path(__file__).with_name("taken")
try:
    taken.touch(exist_ok=False)
    time.sleep(1000)
except FileExistsError:
    print("no licence left", flush=True)
    os._exit(3)
"""


def test_two_workers_share_the_cases_of_a_run(tmp_path: Path) -> None:
    job = Job((), (), threads=1, pinned=(), limit_s=60.0, tests="coverage_cells.py")
    asked = cells(["probe-mlp", "jacobian/"], ["eager"])
    outcome = run(Request(asked, "coverage", 1, "cpu", tmp_path, job, workers=2))
    found = [line for line in lines(outcome.path) if line["kind"] == "row"]
    assert sorted(map(case_id, found)) == sorted(case.id for case in asked)
    # The probe is no chain of layers, and its Jacobian is dense: some strategies ask for these.
    said = ("no chain of affine", "nothing is saved", "f gathers no input twice")
    refused = [line for line in found if line["status"] == "unsupported"]
    assert all(any(part in line["reason"] for part in said) for line in refused)
    assert outcome.statuses["ok"] + len(refused) == len(asked)


def test_a_worker_that_cannot_start_ends_the_others(tmp_path: Path) -> None:
    way = tmp_path / "way.py"
    way.write_text(STOPS_THE_FIRST)
    job = Job((str(way),), (), threads=1, pinned=(), limit_s=60.0)
    begin = time.monotonic()
    with pytest.raises(RunnerError, match="exited with code 3: no licence left"):
        run(Request(CASES, "smoke", 1, "cpu", tmp_path / "results", job, workers=2))
    assert time.monotonic() - begin < 60


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no output"),
        ("first\nlast\n\n", "last"),
        ("x" * 9999, "x" * LONGEST),
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1:\n"
            '  File "/a/ways.py", line 7 in evaluate\n  File "/b.py", line 1 in <module>\n\n'
            "Extension modules: numpy (total: 1)",
            "Segmentation fault in ways.py, line 7, evaluate",
        ),
    ],
    ids=["nothing", "line", "long", "fatal"],
)
def test_last_words(text: str, words: str) -> None:
    assert last_words(text) == words


@pytest.mark.parametrize(("seconds", "said"), [(7, "7 s"), (200, "3 min"), (9000, "2.5 h")])
def test_what_is_left_of_the_time(seconds: float, said: str) -> None:
    assert remaining(seconds) == said


def test_progress_counts_by_status(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("bench.progress.EVERY_S", -1.0)
    with Progress(4, done=["ok"]) as progress:
        progress.advance("a", "ok")
        progress.advance("b", "timeout")
        progress.advance("c", "skipped")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "measuring: 2 of 4, 2 ok, 0 s left"
    assert said[1] == "timeout: b"
    assert said[-1] == "measuring: 4 of 4, 2 ok, 1 skipped, 1 timeout, 0 s left"
