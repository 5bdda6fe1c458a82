"""The table of `make limits`: its lines, their clock, the command that prints them, their page.

A script has parts by their titles, each of which gives lines as they are measured, and ends with
`sys.exit(command(PARTS, __doc__))`. So `docs/limits.py` prints the parts of several scripts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from studies import seconds_in_turn, table_row

from bench.environment import cpu_model
from reports.markdown import MarkersError, between_markers

# At most, where the calls are short.
BLOCKS = 400
SECONDS = 20.0
MARKER = "limits"
NOTHING = "–"
PEERS = ("jax", "folx")

Call = Callable[[], object]


@dataclass(frozen=True)
class Line:
    """A line of the table.

    bar: what the figure is to reach; strategy, peer: ours and what it is compared with, and what a
    call of either took; jax: its figure, where it can do the work and is there.
    """

    work: str
    bar: str
    figure: str
    strategy: str
    peer: str
    jax: str = NOTHING

    def __str__(self) -> str:
        # What a refusal says is one cell, whatever it holds.
        return table_row([" ".join(cell.split()).replace("|", "/") for cell in astuple(self)])


HEAD = Line("work", "bar", "figure", "strategy", "peer", "jax")
RULE = Line(*["---"] * 6)

# About so many seconds to the lines.
Part = Callable[[float], Iterable[Line]]


def lines_in(text: str) -> list[Line]:
    """The lines that were printed in a text."""
    rows = [row[2:-2].split(" | ") for row in text.splitlines() if row.startswith("| ")]
    return [line for row in rows if (line := Line(*row)) not in (HEAD, RULE)]


def seconds_of(calls: Mapping[str, Call], seconds: float) -> dict[str, float]:
    """Median CPU seconds of a call of each, all called in turn for about so long."""
    found = seconds_in_turn(list(calls.values()), BLOCKS, seconds)
    return {name: statistics.median(times) for name, times in zip(calls, found, strict=True)}


def taking(name: str, seconds: float) -> str:
    """`closed-form 5.1 ms`"""
    return f"{name} {1e3 * seconds:.3g} ms"


def at_least(
    work: str, bar: float, took: Mapping[str, float], name: str, peers: Iterable[str]
) -> Line:
    """The line of what is to be so many times as fast as the fastest of its peers."""
    peer = min(peers, key=took.__getitem__)
    ours, theirs = taking(name, took[name]), taking(peer, took[peer])
    return Line(work, f"≥ {bar}×", f"{took[peer] / took[name]:.2f}×", ours, theirs)


def at_most(
    work: str,
    bar: float,
    took: Mapping[str, float],
    name: str,
    peers: Iterable[str],
    unit: str = "×",
) -> Line:
    """The line of what is to take so many times as long as the fastest of its peers at most."""
    peer = min(peers, key=took.__getitem__)
    ours, theirs = taking(name, took[name]), taking(peer, took[peer])
    return Line(work, f"≤ {bar}{unit}", f"{took[name] / took[peer]:.2f}{unit}", ours, theirs)


def source() -> str:
    """Where the figures come from: the line below the table."""
    there = [f"{name} {found}" for name in PEERS if (found := installed(name))]
    where = ", ".join([cpu_model(), f"torch {torch.__version__}", *there])
    return f"Medians of CPU seconds, one pinned thread: {where}."


def installed(package: str) -> str | None:
    """Its version, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def one_thread() -> None:
    """One thread, pinned to a core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def attempted(title: str, part: Part, seconds: float) -> Iterator[Line]:
    """The lines of a part; what it fails of is the last one, and keeps no other part away."""
    try:
        yield from part(seconds)
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        yield Line(title, NOTHING, f"failed: {type(error).__name__}: {said}", NOTHING, NOTHING)


def failed(lines: Iterable[Line]) -> bool:
    return any(line.figure.startswith("failed: ") for line in lines)


def opened(page: Path, partial: bool) -> list[Line]:
    """The lines between the markers of a page that a run leaves there.

    partial: a run of some of the works. Raises MarkersError where the page has no markers, or lines
    of another machine than those that would come beside them.
    """
    text = page.read_text(encoding="utf-8")
    between_markers(text, "", str(page), MARKER)
    text = text.partition(f"<!-- {MARKER}")[2].partition(f"<!-- /{MARKER} -->")[0]
    lines = lines_in(text)
    if source() in text or not lines:
        return lines
    if partial:
        raise MarkersError(f"{page} has lines of another machine or release: measure all works")
    return []


def written(page: Path, lines: Iterable[Line]) -> None:
    """Put lines between the markers of a page."""
    table = "\n".join([*map(str, [HEAD, RULE, *lines]), "", source(), ""])
    text = between_markers(page.read_text(encoding="utf-8"), table, str(page), MARKER)
    page.write_text(text, encoding="utf-8")


def arranged(titles: Iterable[str], old: Iterable[Line], new: Sequence[Line]) -> list[Line]:
    """Lines of a page and new ones in the order of the works; where a work has both, the new."""
    measured = {line.work for line in new}
    lines = [*(line for line in old if line.work not in measured), *new]
    return [line for title in titles for line in lines if line.work == title]


def command(parts: Mapping[str, Part], doc: str | None, arguments: Sequence[str] | None) -> int:
    """Print the lines of the parts as they are measured; the exit code: 1 where one failed."""
    given = _parsed(doc, arguments)
    one_thread()
    try:
        old = opened(given.into, bool(given.only)) if given.into else []
    except (OSError, MarkersError) as error:
        print(f"limits: {error}", file=sys.stderr)
        return 2
    print(HEAD, RULE, sep="\n", flush=True)
    new: list[Line] = []
    for title, part in parts.items():
        if not all(wanted in title for wanted in given.only):
            continue
        for line in attempted(title, part, given.seconds):
            new.append(line)
            print(line, flush=True)
        if given.into:
            written(given.into, arranged(parts, old, new))
    return int(failed(new))


def _parsed(doc: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="part of a work's title")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about so long a work")
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="write between its markers")
    return parser.parse_args(arguments)
