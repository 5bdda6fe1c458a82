"""Prints the tables of docs/regression-tracking.md, "Tried": real comparisons of unchanged code.

python docs/trials.py run FOLDER [--only NAME …] [--into docs/regression-tracking.md]
python docs/trials.py table FOLDER [--into docs/regression-tracking.md]

Every trial is `python -m bench pair HEAD HEAD` over the grid `trials`, in a folder of its own. Ten
compare unchanged code. In ten more one case is slowed on purpose, each time another one, by 1.5
times the MDE that the first ten printed for it. In the last two something else computes on every
core during half of the run: from the middle of the screen on, or whenever a pass of head is
measured, which is the half that does most harm. Trials that are there already are not made again,
and one that was interrupted is gone on with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from studies import study, table_row

from reports.schema import STAGES, stage_file

UNCHANGED = tuple(f"unchanged-{k}" for k in range(10))
SLOWED = tuple(f"slowed-{k}" for k in range(10))
GRID = "trials"
PAIRS = 8
# Slowed by this many times what a comparison says it can see, a case is to be found.
STRENGTH = 1.5
POLL_S = 0.2
# Tied to its core, or the system would put all of them where nothing is measured.
HOG = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
while True: pass
"""

Running = Callable[[Path], bool]


class TrialError(RuntimeError):
    """What keeps a trial from being made or read, in one line."""


@dataclass(frozen=True)
class Trial:
    """A comparison that was made: what it says, what was slowed on purpose, how long it took (None
    where it was interrupted in between)."""

    name: str
    verdicts: dict[str, Any]
    injected: str
    seconds: float | None

    @property
    def cases(self) -> dict[str, dict[str, Any]]:
        """The verdict on each case by its id."""
        return {verdict["case"]: verdict for verdict in self.verdicts["cases"]}

    def called(self, *words: str) -> list[str]:
        """The cases with one of these verdicts."""
        return [case for case, verdict in self.cases.items() if verdict["word"] in words]


def from_the_middle(folder: Path) -> bool:
    """Whether half of the screen is measured."""
    file = folder / stage_file(STAGES[0], "head")
    return file.exists() and f'"pass":{PAIRS // 2}' in file.read_text(encoding="utf-8")


def during_head(_: Path) -> bool:
    """Whether a worker with the code of head is at work."""
    return any(b"bench.guard" in line and b"head.code" in line for line in command_lines())


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            # It ended since its folder was listed.
            continue


BUSY: dict[str, Running] = {"busy-second-half": from_the_middle, "busy-head": during_head}
NAMES = (*UNCHANGED, *SLOWED, *BUSY)


@contextmanager
def hogs() -> Iterator[Callable[[bool], None]]:
    """A switch for processes that compute for nobody, one on each core."""
    mine = [str(core) for core in sorted(os.sched_getaffinity(0))]
    running: list[subprocess.Popen[bytes]] = []

    def switch(wanted: bool) -> None:
        if wanted and not running:
            running.extend(subprocess.Popen([sys.executable, "-c", HOG, core]) for core in mine)
        elif not wanted:
            while running:
                hog = running.pop()
                hog.kill()
                hog.wait()

    try:
        yield switch
    finally:
        switch(False)


def run(folder: Path, name: str) -> None:
    """Make a trial where it is not there."""
    at = folder / name
    if (at / "trial.json").exists():
        return
    injected = injection(folder, name)
    begun = [path for path in at.glob("pair-*") if (path / stage_file(STAGES[0], "base")).exists()]
    again = ["--resume", str(begun[0])] if begun else []
    command = [sys.executable, "-m", "bench", "pair", "HEAD", "HEAD", "--grid", GRID]
    command += ["--pairs", str(PAIRS), "--results", str(at), *again]
    command += ["--inject", injected] if injected else []
    print(f"trials: {name} {injected}", file=sys.stderr)
    start = time.monotonic()
    code = measured(command, at, BUSY.get(name))
    if code not in (0, 1, 3):
        raise TrialError(f"{name} ended with {code}: {' '.join(command)}")
    seconds = None if begun else round(time.monotonic() - start, 1)
    (at / "trial.json").write_text(json.dumps({"injected": injected, "seconds": seconds}) + "\n")


def measured(command: Sequence[str], at: Path, busy: Running | None) -> int:
    """The comparison's exit code; meanwhile every core is kept busy when it is time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with hogs() as switch:
            while busy and process.poll() is None:
                made = next(at.glob("pair-*"), None)
                switch(made is not None and busy(made))
                time.sleep(POLL_S)
            return process.wait()
    finally:
        # Told to end, a comparison keeps what it has: the next run goes on with it.
        process.terminate()
        process.wait()


def injection(folder: Path, name: str) -> str:
    """What is slowed in a trial, as `--inject` takes it; empty for none."""
    if name not in SLOWED:
        return ""
    limits = mdes([read(folder, unchanged) for unchanged in UNCHANGED])
    # Every other case, so that all kinds of them have their turn.
    case = list(limits)[SLOWED.index(name) * len(limits) // len(SLOWED)]
    return f"{case}={1 + STRENGTH * (median(limits[case]) - 1):.3f}"


def mdes(trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Of every case, in the order of their names, the MDEs that the comparisons printed."""
    names = sorted({case for trial in trials for case in trial.cases})
    return {name: [trial.cases[name]["mde"] for trial in trials] for name in names}


def read(folder: Path, name: str) -> Trial:
    """A trial that was made."""
    try:
        made = json.loads((folder / name / "trial.json").read_text())
        (path,) = (folder / name).glob("pair-*/verdicts.json")
        return Trial(name, json.loads(path.read_text()), made["injected"], made["seconds"])
    except (OSError, ValueError) as error:
        raise TrialError(f"{folder / name} holds no whole trial") from error


def table(folder: Path) -> str:
    """The Markdown of all trials that are there."""
    there = [read(folder, name) for name in NAMES if (folder / name / "trial.json").exists()]
    unchanged = [trial for trial in there if trial.name in UNCHANGED]
    slowed = [trial for trial in there if trial.name in SLOWED]
    busy = [trial for trial in there if trial.name in BUSY]
    if not unchanged:
        raise TrialError(f"{folder} holds no trial of unchanged code")
    parts = [limits(unchanged), summary("Unchanged code", unchanged)]
    parts += [found(slowed)] if slowed else []
    parts += [summary(trial.name.replace("-", ", ", 1), [trial]) for trial in busy]
    return "\n".join([*parts, f"Longest run: {longest(there)}.", ""])


def limits(trials: Sequence[Trial]) -> str:
    lines = [
        table_row(("case", "MDE, typical run", "worst run")),
        table_row(("---", "---:", "---:")),
    ]
    for case, ratios in mdes(trials).items():
        lines.append(table_row((f"`{case}`", percent(median(ratios)), percent(max(ratios)))))
    return "\n".join([*lines, ""])


def summary(what: str, trials: Sequence[Trial]) -> str:
    """`Unchanged code: 10 runs, 0 contaminated; 200 verdicts: 195 same, 5 unclear.`"""
    counts: dict[str, int] = {}
    for trial in trials:
        for word, count in trial.verdicts["counts"].items():
            counts[word] = counts.get(word, 0) + count
    said = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    contaminated = sum(trial.verdicts["contaminated"] for trial in trials)
    runs = "1 run" if len(trials) == 1 else f"{len(trials)} runs"
    return f"{what}: {runs}, {contaminated} contaminated; verdicts: {said}.\n"


def found(trials: Sequence[Trial]) -> str:
    """A line for every slowed case, then how many were found and who else was called."""
    lines = [
        table_row(("slowed case", "by", "verdict", "ratio")),
        table_row(("---", "---:", "---", "---:")),
    ]
    others = []
    for trial in trials:
        case, _, ratio = trial.injected.rpartition("=")
        verdict = trial.cases[case]
        measured = f"{verdict['ratio']:.3f}×"
        lines.append(table_row((f"`{case}`", f"{float(ratio):.3f}×", verdict["word"], measured)))
        others += [name for name in trial.called("slower", "faster") if name != case]
    hits = sum(detected(trial) for trial in trials)
    said = f"{hits} of {len(trials)} found; of the other cases {len(others)} called."
    return "\n".join([*lines, "", said, ""])


def detected(trial: Trial) -> bool:
    """Whether the case that was slowed is called slower."""
    return trial.injected.rpartition("=")[0] in trial.called("slower")


def longest(trials: Sequence[Trial]) -> str:
    seconds = max((trial.seconds for trial in trials if trial.seconds is not None), default=0)
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def percent(ratio: float) -> str:
    return f"+{100 * (ratio - 1):.1f} %"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", default=[])
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="write between its markers")
    return parser.parse_args()


def main() -> int:
    given = parsed()

    def make() -> str:
        if given.what == "run":
            for name in given.only or NAMES:
                run(given.folder, name)
        return table(given.folder)

    again = "the same command goes on"
    return study("trials", make, given.into, interrupted=again, errors=(TrialError,))


if __name__ == "__main__":
    sys.exit(main())
