"""Watching a worker: what it sends, what it says, how long it has been silent, how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from .interrupt import Stop
from .last_words import Tail
from .record import Row

# How long a worker may take to end after its last case.
LEAVE_S = 10.0
# How often it is asked whether it still lives: a child of its own may hold its pipes open.
POLL_S = 1.0
LONGEST_LINE = 1 << 24
# What every row says.
ROW = {"status", "reason", "pass"}

# What the runner waits for, in the order in which a worker comes to it.
Phase = Literal["start", "case", "end"]


class UnendingWorker(RuntimeError):
    """The system does not end a worker that was killed."""


@dataclass(frozen=True)
class Limits:
    """How long a worker may be silent: before its first case, and in a case."""

    start_s: float
    case_s: float


@dataclass(frozen=True)
class Death:
    """How a worker ended.

    code: its exit code (negative: the signal). said: its last words. killed: what it was doing
    when the runner killed it, or "babble" where it sent what is no message; "" where it died by
    itself. case: the case it was in. begun: how many cases it had begun.
    """

    code: int
    said: str
    killed: Phase | Literal["babble", ""]
    case: str | None
    begun: int

    @property
    def by_system(self) -> bool:
        """Whether somebody else killed it: the system out of memory, or a person."""
        return self.code == -signal.SIGKILL and not self.killed

    @property
    def reason(self) -> str:
        """The end in words."""
        ends = {
            "start": "it did not come to a case",
            "case": "it took too long",
            "end": "it closed the runner's pipe",
            "babble": "it wrote into the runner's pipe",
        }
        code = f"exited with code {self.code}"
        by = f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else code
        return f"{ends.get(self.killed, by)}: {self.said}"


class Watch:
    """One worker while it lives: what it sends, what it says, how long it has been silent."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        rows: int,
        tail: Tail,
        limits: Limits,
        stop: Stop,
        known: set[str],
    ) -> None:
        self._process, self._rows, self._tail = process, rows, tail
        self._limits, self._stop, self._known = limits, stop, known
        self._open = [rows, tail.fd]
        self._pending = b""
        self._case: str | None = None
        self._begun = 0
        self._now("start")

    def messages(self) -> Iterator[Row | Death]:
        """Rows as they come, and the end."""
        killed = yield from self._until_it_ends()
        code = end(self._process)
        yield Death(code, self._tail.words(), killed, self._case, self._begun)

    def _now(self, phase: Phase) -> None:
        limits = {"start": self._limits.start_s, "case": self._limits.case_s, "end": LEAVE_S}
        self._phase: Phase = phase
        self._deadline = time.monotonic() + limits[phase]

    def _until_it_ends(self) -> Generator[Row, None, Phase | Literal["babble", ""]]:
        while True:
            # In this order: what it sent before it died is then seen.
            dead = self._dead()
            ready = self._wait(0.0 if dead else POLL_S)
            self._stop.check()
            if self._tail.fd in ready and not self._tail.read():
                self._open.remove(self._tail.fd)
            if self._rows in ready:
                for line in self._received():
                    if not (message := self._understood(line)):
                        return "babble"
                    if message["kind"] != "leaving":
                        yield message
            elif dead:
                return ""
            elif time.monotonic() > self._deadline:
                return self._phase

    def _wait(self, at_most: float) -> list[int]:
        left = max(0.0, self._deadline - time.monotonic())
        # With both pipes closed it is about to be gone.
        soon = at_most if self._open else 0.01
        ready, _, _ = select.select([*self._open, self._stop.fd], [], [], min(left, soon))
        return ready

    def _dead(self) -> bool:
        # Not reaped here: its number must stay taken until its group is killed.
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None

    def _received(self) -> list[bytes]:
        received = os.read(self._rows, 1 << 16)
        if not received:
            self._open.remove(self._rows)
            self._now("end")
            return []
        *lines, self._pending = (self._pending + received).split(b"\n")
        return lines if len(self._pending) < LONGEST_LINE else [b"endless"]

    def _understood(self, line: bytes) -> Row | None:
        """The message of a line, in its place; None where it is no message or out of turn."""
        try:
            message = json.loads(line)
            kind = message["kind"]
        except (ValueError, TypeError, KeyError):
            return None
        if kind == "started" and self._case is None and message.get("id") in self._known:
            self._case, self._begun = message["id"], self._begun + 1
        elif kind == "row" and self._case is not None and message.keys() >= ROW:
            self._case = None
        elif kind != "leaving":
            return None
        self._now("end" if kind == "leaving" else "case")
        return dict(message)


def end(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of a worker, its children too; its exit code."""
    if process.returncode is None:
        # Before it is reaped: until then nobody else can have its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        raise UnendingWorker(f"worker {process.pid} was killed and does not end") from None
