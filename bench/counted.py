"""The counters of a case: its plan is prepared around a function that counts its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from strategies import Refusal

from .case import Case, Subject, subject
from .counters import counters, peak_bytes
from .forward import forward_counters
from .grid import NothingSelected
from .progress import Progress
from .record import Row, recording
from .training import training_step

# A compiled or captured evaluation does not show the dispatcher what it launches.
UNCOUNTED = ("compile", "cuda-graph")


@dataclass
class Entered:
    """f, and how many times it was entered."""

    f: Callable[..., Tensor]
    calls: int = 0

    def __call__(self, *given: Tensor) -> Tensor:
        """f itself."""
        self.calls += 1
        return self.f(*given)


def counted(made: Subject) -> dict[str, int] | Refusal:
    """The counters of one evaluation, those of f itself beside them, and where the case can train
    `train_peak_bytes` of a step.

    `calls`: of f in the evaluation; a replayed graph calls none. `forward_flops`, `forward_ops`: of
    one plain evaluation of f. Prepares a plan of its own, since one that is timed must not count.
    """
    f = Entered(made.problem.f)
    plan = replace(made, problem=replace(made.problem, f=f)).prepare()
    if isinstance(plan, Refusal):
        return plan
    prepared = f.calls
    found = counters(plan, made.inputs)
    found["calls"] = f.calls - prepared
    found |= forward_counters(made)
    if made.case.create_graph:
        found["train_peak_bytes"] = peak_bytes(training_step(plan, made))
    return found


def counted_row(case: Case) -> Row:
    """A row of the case with its counters, or with the reason why it has none."""
    try:
        with recording(case) as row:
            found = counted(subject(case))
            if isinstance(found, Refusal):
                row["status"], row["reason"] = "unsupported", found.reason
            else:
                row["counters"] = found
    except Exception:
        # The row holds what was raised; the other cases are still to be counted.
        return row
    return row


def counted_rows(cases: Iterable[Case]) -> dict[str, Row]:
    """By id, a row of each case that shows what it launches; `NothingSelected` where none does."""
    shown = [case for case in cases if case.execution not in UNCOUNTED]
    if not shown:
        raise NothingSelected(f"nothing to count: {' and '.join(UNCOUNTED)} show no operations")
    rows: dict[str, Row] = {}
    with Progress(len(shown), "counting") as progress:
        for case in shown:
            rows[case.id] = counted_row(case)
            progress.advance(case.id, rows[case.id]["status"])
    return rows
