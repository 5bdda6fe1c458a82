"""`python -m bench advise`: a user's own function, measured and answered within a minute."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from strategies import FOURTH_ORDER, Operator, load_installed, violated_shape

from . import judge
from .asked import require
from .case import Case
from .grid import OWN, shapes
from .run_command import measured
from .shortlist import shortlist
from .workloads import load_workload

# Of a minute what is left for measuring: torch is imported in each pass and before, and the reports
# take their time.
BUDGET_S = 40.0
# For a case in a pass, its reference included: what keeps an estimate that was wrong from taking
# the minute, and what whoever names an operator waits for.
LIMIT_S, NAMED_LIMIT_S = 30.0, 120.0


class CannotAdvise(ValueError):
    """No operator that could be measured; the message says what was asked and what there is."""


def advise_command(given: argparse.Namespace) -> int:
    """Measure what fits into the budget, have it answered; 0 where there is an answer."""
    begun = time.monotonic()
    require(given.device)
    load_installed()
    asked, named = operators(given.operator), bool(given.operator)
    given.limit = given.limit or (NAMED_LIMIT_S if named else LIMIT_S)
    found = shortlist(
        cases(load_workload(given.workload[0]).name, asked, given),
        given.passes,
        BUDGET_S,
        named=named,
    )
    for text in found.left_out:
        _say(f"left out, as it would take about {text}")
    if not found.cases:
        raise CannotAdvise("nothing fits into a minute; --operator NAME measures one however long")
    outcome = measured(given, found.cases, OWN)
    if outcome.interrupted:
        _say(f"interrupted; what was measured is in {outcome.path}")
        return outcome.exit_code
    if outcome.statuses.get("timeout"):
        _say(f"what took longer than {given.limit:g} s a pass is not in the answer")
    code = _answered(outcome.path, ["--create-graph"] if given.create_graph else [])
    passes = "1 pass" if given.passes == 1 else f"{given.passes} passes"
    _say(f"{time.monotonic() - begun:.0f} s, {passes}; {outcome.path}")
    return code


def _answered(path: Path, purpose: Sequence[str]) -> int:
    """Print what the reports advise by this file; their exit code."""
    answer = judge.ask("advise", str(path), *purpose)
    print(answer.stdout, end="")
    print(answer.stderr, end="", file=sys.stderr)
    return answer.returncode


def operators(names: Sequence[str]) -> list[Operator]:
    """Those of these names; without any, all but those whose cost is n² to n⁴."""
    known = [str(operator) for operator in Operator]
    for name in names:
        if name not in known:
            raise CannotAdvise(f"no operator {name!r}; known: {', '.join(known)}")
    return [Operator(name) for name in names] or [o for o in Operator if o not in FOURTH_ORDER]


def cases(workload: str, asked: Sequence[Operator], given: argparse.Namespace) -> list[Case]:
    """A case of each operator that is defined for the workload's shapes, of no strategy yet."""
    in_shape, out_shape, B = shapes(workload, (), None)
    reasons = {operator: violated_shape(operator, in_shape, out_shape) for operator in asked}
    found = [
        Case(
            operator,
            "",
            workload,
            B,
            in_shape,
            out_shape,
            dtype=given.dtype,
            device=given.device,
            create_graph=given.create_graph,
        )
        for operator in asked
        if not reasons[operator]
    ]
    if not found:
        raise CannotAdvise("; ".join(f"{name}: {why}" for name, why in reasons.items()))
    return found


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)
