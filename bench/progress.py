"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar

EVERY_S = 15.0
# Of a case that was skipped, the one that timed out was named.
UNNAMED = ("ok", "unsupported", "skipped")


class Progress:
    """How many of the cases are done, with which status, and what is left of the time."""

    def __init__(self, total: int, doing: str = "measuring", done: Iterable[str] = ()) -> None:
        self._console = Console(stderr=True)
        self._counts = Counter(done)
        self._total, self._doing = total, doing
        self._before = self._counts.total()
        self._begun = self._said = time.monotonic()
        self._bar = Bar(
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            doing, total=total, completed=self._before, counts=self._counted(), left=""
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, case: str, status: str) -> None:
        """One case is done; a fault is named at once, since it is what one waits for."""
        self._counts[status] += 1
        if status not in UNNAMED:
            self._console.print(f"{status}: {case}", markup=False, highlight=False)
        left = f"{remaining(self._left_s())} left"
        self._bar.update(self._task, advance=1, counts=self._counted(), left=left)
        if not self._console.is_terminal and time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            said = f"{self._doing}: {self._counts.total()} of {self._total}"
            print(", ".join([said, self._counted(), left]), file=sys.stderr)

    def _counted(self) -> str:
        return ", ".join(f"{self._counts[status]} {status}" for status in sorted(self._counts))

    def _left_s(self) -> float:
        """As long for each of the others as for each so far, in this session."""
        done = self._counts.total()
        each = (time.monotonic() - self._begun) / max(1, done - self._before)
        return each * (self._total - done)


def remaining(seconds: float) -> str:
    """A duration as one would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
