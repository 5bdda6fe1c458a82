"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

EVERY_S = 15.0


class Progress:
    """How many of the cases are done, how many failed, and what is left of the time."""

    def __init__(self, total: int, doing: str = "measuring") -> None:
        self._console = Console(stderr=True)
        self._total, self._doing, self._done, self._faults = total, doing, 0, 0
        self._begun = self._said = time.monotonic()
        self._bar = Bar(
            TextColumn(doing),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[faults]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(doing, total=total, faults="")

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
        self._done += 1
        if status not in ("ok", "unsupported"):
            self._faults += 1
            self._console.print(f"{status}: {case}", markup=False, highlight=False)
        faults = f"{self._faults} failed" if self._faults else ""
        self._bar.update(self._task, advance=1, faults=faults)
        if not self._console.is_terminal and time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            said = f"{self._doing}: {self._done} of {self._total}"
            print(", ".join(filter(None, [said, faults])), file=sys.stderr)
