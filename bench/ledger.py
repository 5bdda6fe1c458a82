"""The result file while it is written: what has a row, what was begun, what takes too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from threading import RLock

from .case import Timed
from .progress import Progress
from .record import ResultFile, ResultsError, Row
from .resume import Past
from .sizes import at_least
from .watch import Death

# The first time the runner or the machine may be to blame.
BEGINNINGS = 2
DISK_FULL = "No space left on device"
MEMORY = ("bad_alloc", "MemoryError", "allocate memory", "out of memory")


class Ledger:
    """Writes every line about cases, and knows what the file then holds; one thread at a time."""

    def __init__(self, file: ResultFile, progress: Progress, past: Past, limit_s: float) -> None:
        self._file, self._progress, self._limit_s = file, progress, limit_s
        self._done, self._starts = set(past.done), Counter(past.starts)
        self._timeouts = list(past.timeouts)
        self.statuses = Counter(past.done.values())
        self._turn = RLock()

    def settle(self, cases: Sequence[Timed], number: int) -> list[Timed]:
        """The cases to be measured in this pass; those that are not to be get their row."""
        with self._turn:
            left = [case for case in cases if (case.id, number) not in self._done]
            for case in left:
                if self._starts[case.id, number] >= BEGINNINGS:
                    reason = "its process was killed, or its runner was, every time it was begun"
                    self._without(case, number, "crashed", reason)
                elif reason := self._too_large(case):
                    self._without(case, number, "skipped", reason)
            return [case for case in left if (case.id, number) not in self._done]

    def started(self, case: Timed, line: Row) -> None:
        """A worker has begun a case."""
        with self._turn:
            self._file.write(line)
            self._starts[case.id, line["pass"]] += 1

    def row(self, case: Timed, row: Row) -> None:
        """A case's row."""
        with self._turn:
            # Were it a row, then so were every other case from here on.
            if DISK_FULL in row["reason"]:
                raise ResultsError(f"a worker cannot write its temporary files: {row['reason']}")
            self._file.write(row)
            self._done.add((case.id, row["pass"]))
            if row["status"] == "timeout":
                self._timeouts.append(row)
            self.statuses[row["status"]] += 1
            self._progress.advance(case.id, row["status"])

    def lost(self, case: Timed, number: int, death: Death) -> None:
        """A worker died in this case, or was killed in it."""
        with self._turn:
            if death.by_system and self._starts[case.id, number] < BEGINNINGS:
                return
            if death.killed == "case":
                self._without(case, number, "timeout", f"longer than {self._limit_s:g} s")
                return
            status = "oom" if any(text in death.said for text in MEMORY) else "crashed"
            self._without(case, number, status, f"the process was lost: {death.reason}")

    def _without(self, case: Timed, number: int, status: str, reason: str) -> None:
        row = {"kind": "row", **case.axes, "pass": number, "status": status, "reason": reason}
        self.row(case, row)

    def _too_large(self, case: Timed) -> str:
        for row in self._timeouts:
            if at_least(case.axes, row):
                size = f"B={row['B']}, n={row['n']}, m={row['m']}"
                return (
                    f"no smaller than one ({size}) that in pass {row['pass']} was {row['reason']}"
                )
        return ""
