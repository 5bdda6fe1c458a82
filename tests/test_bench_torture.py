"""A run survives what its cases do, and whatever is killed; nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import random
import shlex
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from torture import started, written

from bench.controls import SIZES
from reports.load import load
from reports.schema import case_id

Lines = list[dict[str, Any]]


def read(path: Path) -> Lines:
    """The whole lines of a file that may be in the writing."""
    text = path.read_bytes()
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


ORDINARY = [*(f"fine-{k}" for k in range(4)), "fine-shouts"]
BAD = {
    "bad-segfault": ("crashed", "the process was lost: killed by SIGSEGV: Segmentation fault in "),
    "bad-exits": ("crashed", "the process was lost: exited with code 7: goodbye"),
    "bad-loops": ("timeout", "longer than 8 s"),
    "bad-stuck": ("timeout", "longer than 8 s"),
    "bad-allocates": ("oom", "can't allocate memory: you tried to allocate 536870912000 bytes"),
    "bad-creeps": ("oom", "can't allocate memory"),
    "bad-raises": ("error", "ArithmeticError: mine is broken"),
    "bad-wrong": ("wrong", "relative error 1.0e-02 against the reference"),
    "bad-nan": ("wrong", "not finite"),
    "bad-level": ("error", "changed global forward-AD level"),
    "bad-threads": ("error", "changed global threads"),
    "bad-random": ("error", "changed global RNG"),
    "bad-dtype": ("error", "changed global default dtype"),
    "bad-babbles": ("crashed", "it wrote into the runner's pipe"),
}


# What every pass measures beside the cases.
CONTROLS = [f"{name}-{size}" for name, size in SIZES]


def name_of(row: dict[str, Any]) -> str:
    control = row["operator"] == "control"
    return f"{row['strategy']}-{row['n']}" if control else row["strategy"].removeprefix("my-")


# One test, so that where tests run beside each other the run is made once.
def test_each_case_has_its_status_and_ordinary_ones_are_unharmed(tmp_path: Path) -> None:
    process = started(tmp_path, *written(tmp_path), "--passes", "1", "--only", "jacobian/my-")
    out, said = process.communicate(timeout=900)
    lines = read(Path(out.strip()))
    rows = {name_of(r): r for r in lines if r["kind"] == "row"}
    fine = [*ORDINARY, *CONTROLS]
    expected = {**dict.fromkeys(fine, "ok"), **{name: s for name, (s, _) in BAD.items()}}
    assert {name: row["status"] for name, row in rows.items()} == expected, rows
    assert {n: rows[n]["reason"] for n, (_, s) in BAD.items() if s not in rows[n]["reason"]} == {}
    assert {name for name, row in rows.items() if row.get("wall_s")} == set(fine)
    kinds = Counter(line["kind"] for line in lines)
    assert kinds == {"run": 1, "started": len(expected), "row": len(expected), "end": 1}
    assert lines[0]["memory_limit_bytes"] == 2 << 30
    assert process.returncode == 1
    assert "oooo" not in said


class Killed:
    """One result file, written by runners that are ended from outside, one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self._asked = [*written(folder), "--passes", "2", "--only", "jacobian/my-fine"]
        self._runner = started(folder, *self._asked)

    @property
    def path(self) -> Path | None:
        return next((self._folder / "results").glob("*.jsonl"), None)

    def lines(self) -> Lines:
        return read(self.path) if self.path else []

    def after(self, how: str) -> None:
        """End the runner or its worker a moment after some more lines; go on as its user would."""
        # Before its first line a runner is not yet one that could be interrupted cleanly.
        least = how == "interrupt"
        self._wait(len(self.lines()) + self._random.randrange(least, 8))
        time.sleep(self._random.uniform(0, 1))
        whole = self.lines()
        print(f"{how} after {len(whole)} lines, {'ended' if self._ended() else 'running'}")
        getattr(self, how)()
        assert self.lines()[: len(whole)] == whole

    def runner(self) -> None:
        workers = self._workers()
        self._runner.kill()
        self._runner.communicate()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive, "a worker survived its runner"
        self._again()

    def worker(self) -> None:
        while not (workers := self._workers()) and not self._ended():
            time.sleep(0.02)
        for worker in workers:
            worker.kill()

    def interrupt(self) -> None:
        """Twice, as people do."""
        workers = self._workers()
        self._runner.send_signal(signal.SIGINT)
        self._runner.send_signal(signal.SIGINT)
        _, said = self._runner.communicate(timeout=60)
        assert self._runner.returncode == 130
        assert not psutil.wait_procs(workers, timeout=10)[1]
        assert self.lines()[-1]["interrupted"]
        assert "did not end" in load(self.path).warnings[-1]
        told = said.rpartition("go on with: ")[2].strip()
        assert shlex.split(told)[4:] == [*self._asked, "--resume", str(self.path)]
        self._again()

    def done(self) -> Lines:
        out, said = self._runner.communicate(timeout=300)
        assert self._runner.returncode in (0, 1), said
        assert out.strip() == str(self.path)
        return self.lines()

    def _workers(self) -> list[psutil.Process]:
        try:
            found = psutil.Process(self._runner.pid).children(recursive=True)
            # A runner that starts asks git for its commit: that is no worker.
            return [child for child in found if "bench.guard" in child.cmdline()]
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return []

    def _ended(self) -> bool:
        return self._runner.poll() is not None

    def _wait(self, count: int) -> None:
        while len(self.lines()) < count and not self._ended():
            time.sleep(0.02)

    def _again(self) -> None:
        # A runner that was killed before its first line left nothing to go on with.
        known = ["--resume", str(self.path)] if self.lines() else []
        if self.path and not known:
            self.path.unlink()
        self._runner = started(self._folder, *self._asked, *known)


EXPECTED = {(name, number) for name in (*ORDINARY, *CONTROLS) for number in (0, 1)}


def endings(seed: int) -> list[str]:
    """Runners and workers, in some order; for the first seed also a user who wants to stop."""
    found = ["runner", "worker", random.Random(seed).choice(["runner", "worker"])]
    random.Random(seed).shuffle(found)
    return ["interrupt", *found] if not seed else found


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 7))]
)
def test_killed_at_random_moments_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    killed = Killed(tmp_path, seed)
    for how in endings(seed):
        killed.after(how)
    lines = killed.done()
    rows = [line for line in lines if line["kind"] == "row"]
    assert Counter((name_of(r), r["pass"]) for r in rows) == dict.fromkeys(EXPECTED, 1)
    begun = Counter((line["id"], line["pass"]) for line in lines if line["kind"] == "started")
    ids = [case_id(row) for row in rows]
    # One that was killed twice is called crashed, by the rule; no other is.
    twice = [r["status"] for r, i in zip(rows, ids, strict=True) if begun[i, r["pass"]] > 1]
    assert {r["status"] for r in rows} <= {"ok", *twice}
    assert not [text for text in load(killed.path).warnings if "did not end" in text]
    assert not list(tmp_path.glob("input-derivatives-*/run-*"))
