"""9. Failures: what has no time, why, and how to see it again."""

from __future__ import annotations

import shlex
from itertools import pairwise

from ..answer import Answer
from ..blocks import Block, Cell, Prose, Section, Sheet
from ..load import Run


def section(found: Answer) -> Section:
    """Faults first, then what was refused."""
    table = failures(found)
    blocks: tuple[Block, ...] = (Prose("None: every case has a time."),)
    if table.rows:
        lead = (
            "A refusal (**unsupported**) is a result: the strategy said why it cannot answer. The"
            " others are faults, and a fault has no time anywhere."
        )
        blocks = (Prose(lead), table)
    return Section("failures", "Failures", "Failures and refusals", blocks)


def failures(found: Answer) -> Sheet:
    """Every case that is not ok; those of a problem that say the same share a line."""
    there = found.every[found.every["status"] != "ok"]
    there = there.assign(reason=[str(said).partition("\n")[0] for said in there["reason"]])
    there = there.sort_values("status", key=lambda s: s == "unsupported", kind="stable")
    again = dict(zip(found.letters, found.runs, strict=True))
    rows = []
    for (run, contest, status, reason), own in there.groupby(
        ["run", "contest", "status", "reason"], sort=False
    ):
        rows.append(
            (
                Cell(", ".join(own["way"])),
                Cell(str(contest).replace("/", " ")),
                Cell(str(status), kind="failed" if status != "unsupported" else ""),
                Cell(str(reason), kind="prose"),
                Cell(_again(again[str(run)], own["id"].iloc[0]), kind="code"),
            )
        )
    heads = ("strategy", "problem", "status", "reason", "see it again")
    return Sheet("Cases without a time", heads, tuple(rows))


def _again(run: Run, case: str) -> str:
    """The command that checks this case alone, with the user's own files that the run had."""
    given = list(run.header.get("command", []))
    own = [
        f"--{kind} {shlex.quote(path)}"
        for kind in ("workload", "strategies")
        for path in _of(given, kind)
    ]
    grid = [] if run.header["grid"] == "own" else [f"--grid {run.header['grid']}"]
    return " ".join(["python -m bench check", *grid, *own, f"--only {shlex.quote(case)}"])


def _of(command: list[str], option: str) -> list[str]:
    """The values that an option has in a command, given apart or with an equals sign."""
    apart = [b for a, b in pairwise(command) if a == f"--{option}"]
    joined = [w.partition("=")[2] for w in command if w.startswith(f"--{option}=")]
    return apart + joined
