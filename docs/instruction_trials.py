"""Prints the tables of docs/regression-tracking.md, "Instructions, tried": unchanged and planted.

python docs/instruction_trials.py run FOLDER [--into docs/regression-tracking.md]
python docs/instruction_trials.py table FOLDER [--into docs/regression-tracking.md]

Three comparisons of unchanged code by `python -m bench pair HEAD HEAD --instructions` are six
processes, and each is compared with each other one. Then work of three percent is added to one
strategy at a time, in a clone: for two of them operations of torch, for two lines of Python. What
is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from studies import study, table_row

from bench.callgrind import parse
from bench.environment import ROOT
from reports.instructions import RULES, Counts, counts, judge
from reports.load import load
from reports.schema import ARMS, COUNTED, stage_file

UNCHANGED = ("unchanged-0", "unchanged-1", "unchanged-2")
EXTRA = 0.03
# Operator and strategy, and a statement that does nothing but work, `x` being the first input.
PLANTED = {
    "jacobian/loop-grad": "x.neg()",
    "hvp/double-backward": "x.neg()",
    "jacobian/vmap-jacfwd": "pass",
    "laplacian/nested-jvp": "pass",
}
TIMES = 1000
UNIT = """
import torch
x = torch.ones(4, 8)
def work():
    for _ in range({times}):
        {statement}
work()
torch._C._valgrind_toggle()
work()
torch._C._valgrind_toggle_and_dump_stats()
"""
# The strategy as it is, and behind it work for nothing.
WRAPPED = """
from dataclasses import replace as _replace
from .registry import STRATEGIES as _S
_key = next(key for key in _S if (str(key[0]), key[1]) == ({operator!r}, {name!r}))
_kept = _S[_key]
def _prepare(f, inputs, options):
    evaluate = _kept.prepare(f, inputs, options)
    def more(x, *args):
        for _ in range({times}):
            {statement}
        return evaluate(x, *args)
    return more
_S[_key] = _replace(_kept, prepare=_prepare)
"""


class TrialError(RuntimeError):
    """What keeps a trial from being made or read, in one line."""


@dataclass(frozen=True)
class Found:
    """A planted slow-down: its strategy, and the verdicts on its cases and on the others."""

    name: str
    statement: str
    own: list[dict[str, Any]]
    others: list[dict[str, Any]]

    @property
    def named(self) -> bool:
        """Whether its eager cases are called slower with three functions, and no other case is."""
        eager = [case for case in self.own if "execution=" not in case["case"]]
        reasons = [case["reason"].partition(";")[0] for case in eager if case["word"] == "slower"]
        alone = all(case["word"] == "same" for case in self.others)
        return alone and len(reasons) == len(eager) > 0 and all(r.count(",") == 2 for r in reasons)


def run(folder: Path) -> None:
    """Make what is not there."""
    for name in UNCHANGED:
        _pair(ROOT, folder / name, "HEAD", "HEAD")
    for name, statement in PLANTED.items():
        at = folder / name.replace("/", "-")
        if not list(at.glob("pair-*/verdicts.json")):
            with tempfile.TemporaryDirectory(prefix="planted-") as clone:
                _plant(Path(clone) / "clone", name, times(folder, name, statement), statement)
                # Of the operator alone: the other cases are those of unchanged code above.
                only = f"--only={name.partition('/')[0]}/"
                _pair(Path(clone) / "clone", at, "HEAD", only)


def _pair(repository: Path, at: Path, *arguments: str) -> None:
    if list(at.glob("pair-*/verdicts.json")):
        return
    print(f"instruction trials: {at.name}", file=sys.stderr)
    start = time.monotonic()
    command = [sys.executable, "-m", "bench", "pair", *arguments, "--instructions"]
    done = subprocess.run(
        [*command, "--results", str(at.absolute())],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise TrialError(f"{at.name} ended with {done.returncode}")
    (at / "seconds").write_text(f"{time.monotonic() - start:.0f}\n")


def _plant(clone: Path, name: str, count: int, statement: str) -> None:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    operator, _, strategy = name.partition("/")
    added = WRAPPED.format(operator=operator, name=strategy, times=count, statement=statement)
    with (clone / "strategies" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(added)


def times(folder: Path, name: str, statement: str) -> int:
    """How often the statement is three percent of the strategy's first eager case."""
    known = counts(load(_files(folder, UNCHANGED[0])[0]))
    case = next(found for case, found in known.items() if case.startswith(f"{name}/"))
    return max(1, round(EXTRA * case.least / unit(statement)))


def unit(statement: str) -> float:
    """Instructions of a statement in a loop."""
    with tempfile.TemporaryDirectory(prefix="unit-") as folder:
        subprocess.run(
            [
                *("valgrind", "-q", "--tool=callgrind", "--collect-atstart=no"),
                *(f"--callgrind-out-file={folder}/dump", sys.executable, "-c"),
                UNIT.format(times=TIMES, statement=statement),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
        )
        return parse(Path(folder, "dump.1").read_text(errors="replace")).total / TIMES


def _files(folder: Path, name: str) -> list[Path]:
    found = [path for path in (folder / name).glob("pair-*") if (path / "verdicts.json").exists()]
    if not found:
        raise TrialError(f"{folder / name} holds no whole trial")
    return [found[0] / stage_file(COUNTED, arm) for arm in ARMS]


def processes(folder: Path) -> list[dict[str, Counts]]:
    """The counts of the six processes of unchanged code."""
    return [counts(load(path)) for name in UNCHANGED for path in _files(folder, name)]


def flagged(folder: Path) -> Iterator[tuple[str, str]]:
    """A case and its verdict wherever two of the six processes are not called the same."""
    runs = [load(path) for name in UNCHANGED for path in _files(folder, name)]
    for base, head in combinations(runs, 2):
        for verdict in judge(base, head).verdicts:
            if verdict.word != "same":
                yield verdict.case, verdict.word


def found(folder: Path, name: str) -> Found:
    """What the comparison with planted work says."""
    path = _files(folder, name.replace("/", "-"))[0].parent / "verdicts.json"
    cases = json.loads(path.read_text())["cases"]
    own = [case for case in cases if case["case"].startswith(f"{name}/")]
    return Found(name, PLANTED[name], own, [case for case in cases if case not in own])


def table(folder: Path) -> str:
    """The Markdown of all trials."""
    six = processes(folder)
    lines = [table_row(("case", "instructions", "jitter, worst", "apart, worst"))]
    lines.append(table_row(("---", "---:", "---:", "---:")))
    for case in six[0]:
        least = [process[case].least for process in six]
        jitter = max(process[case].jitter for process in six)
        numbers = (f"{min(least):,}", percent(jitter), percent(max(least) / min(least) - 1))
        lines.append(table_row((f"`{case}`", *numbers)))
    calls = list(flagged(folder))
    pairs = len(list(combinations(six, 2)))
    lines += ["", f"{len(six)} processes of unchanged code, {pairs} comparisons of {len(six[0])}"]
    lines[-1] += f" cases: {len(calls)} called something else than the same at {RULES.least:.0%}."
    lines += ["", *planted_lines(folder), "", f"Longest run: {longest(folder)}.", ""]
    return "\n".join(lines)


def planted_lines(folder: Path) -> list[str]:
    """A line for each planted slow-down, with what the verdict names."""
    lines = [table_row(("3 % of work in", "added", "ratio", "what moved", "other cases, worst"))]
    lines.append(table_row(("---", "---", "---:", "---", "---:")))
    for each in (found(folder, name) for name in PLANTED):
        eager = next(case for case in each.own if "execution=" not in case["case"])
        moved = eager["reason"].partition(";")[0].removeprefix("what moved: ")
        worst = max(abs(case["ratio"] - 1) for case in each.others)
        numbers = (f"{eager['ratio']:.3f}×, {eager['word']}", moved, percent(worst))
        lines.append(table_row((f"`{each.name}`", f"`{each.statement}`", *numbers)))
    return lines


def longest(folder: Path) -> str:
    seconds = max(int(path.read_text()) for path in folder.glob("*/seconds"))
    return f"{seconds // 60} min {seconds % 60} s"


def percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="write between its markers")
    return parser.parse_args()


def main() -> int:
    given = parsed()

    def make() -> str:
        if given.what == "run":
            run(given.folder)
        return table(given.folder)

    again = "the same command goes on"
    return study("instructions", make, given.into, interrupted=again, errors=(TrialError,))


if __name__ == "__main__":
    sys.exit(main())
