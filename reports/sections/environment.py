"""12. Environment, and what the strategies and workloads of the run were."""

from __future__ import annotations

from typing import Any

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


def strategies(found: Answer) -> Terms:
    """Every strategy with the sentence it gives of itself, how it works, and what it needs."""
    known = _known(found, "strategies")
    return Terms(tuple((f"{s['operator']}: {s['name']}", _said(s)) for s in known.values()))


def _said(strategy: dict[str, Any]) -> str:
    needs = "".join(f"; needs {need}" for need in [", ".join(strategy.get("needs", []))] if need)
    return f"{strategy['summary']} ({strategy['mode']}, {strategy['sweep']}{needs})"


def workloads(found: Answer) -> Sheet:
    """Every workload and its version."""
    known = _known(found, "workloads")
    rows = tuple(
        (Cell(name), Cell(w["text"]), number(str(w["version"]), w["version"]))
        for name, w in known.items()
    )
    return Sheet("Workloads", ("name", "what", "version"), rows)
