"""12. Environment, and what the strategies and workloads of the run were."""

from __future__ import annotations

from typing import Any

from .. import words
from ..answer import Answer, environment
from ..blocks import Block, Cell, Fold, Prose, Section, Sheet, Terms, number


def section(found: Answer) -> Section:
    """The machine of every run; its strategies and workloads."""
    blocks: list[Block] = []
    for letter, run in zip(found.letters, found.runs, strict=True):
        blocks += [Prose(f"**Run {letter}**")] if letter else []
        blocks.append(Terms(tuple(environment(run).items())))
    blocks += [
        Fold("Strategies", (strategies(found),)),
        Fold("Workloads", (workloads(found),)),
    ]
    return Section("environment", "Environment", "Environment", tuple(blocks))


def _known(found: Answer, what: str) -> dict[str, dict[str, Any]]:
    """What the headers of all runs say, each name once."""
    return {name: said for run in found.runs for name, said in run.header.get(what, {}).items()}


def strategies(found: Answer) -> Sheet:
    """Every strategy with the sentence it gives of itself."""
    known = _known(found, "strategies")
    rows = tuple(
        (
            Cell(f"{s['operator']}: {s['name']}"),
            Cell(f"{s['mode']}, {s['sweep']}"),
            Cell(s["summary"]),
            Cell(", ".join(s.get("needs", [])) or words.NOTHING),
        )
        for s in known.values()
    )
    return Sheet("Strategies", ("strategy", "mode, sweep", "how", "needs"), rows)


def workloads(found: Answer) -> Sheet:
    """Every workload and its version."""
    known = _known(found, "workloads")
    rows = tuple(
        (Cell(name), Cell(w["text"]), number(str(w["version"]), w["version"]))
        for name, w in known.items()
    )
    return Sheet("Workloads", ("name", "what", "version"), rows)
