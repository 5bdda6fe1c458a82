"""What the scripts of this folder share: tables of Markdown in a page, calls timed in turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from math import ceil, inf
from pathlib import Path

from reports.markdown import MarkersError, between_markers

# Of a burst, long enough for the clock; so many calls at most.
BURST_S, MOST_CALLS = 2e-3, 1000
LEAST_BLOCKS = 5


def table_row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def study(
    name: str,
    make: Callable[[], str],
    into: Path | None,
    *,
    interrupted: str,
    stops: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
    errors: tuple[type[Exception], ...],
) -> int:
    """Print the tables that `make` gives, and write them between a page's markers of that name; the
    exit code. stops: what is raised where it is told to end."""
    try:
        text = make()
        if into:
            page = into.read_text(encoding="utf-8")
            into.write_text(between_markers(page, text, str(into), name), encoding="utf-8")
        print(text, end="")
    except stops:
        print(f"{name}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except (*errors, MarkersError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0


def seconds_in_turn(
    calls: Sequence[Callable[[], object]], blocks: int, seconds: float = inf
) -> list[list[float]]:
    """CPU seconds a call, of short bursts of each in turn: whoever shares the machine stays out of
    them. seconds: fewer blocks where they would take longer than about that."""
    bursts, a_block = [], 0.0
    for call in calls:
        call()
        start = time.process_time()
        call()
        took = max(time.process_time() - start, 1e-7)
        bursts.append(max(1, min(MOST_CALLS, ceil(BURST_S / took))))
        a_block += bursts[-1] * took
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(max(LEAST_BLOCKS, int(min(blocks, seconds / a_block)))):
        for call, burst, into in zip(calls, bursts, found, strict=True):
            start = time.process_time()
            for _ in range(burst):
                call()
            into.append((time.process_time() - start) / burst)
    return found
