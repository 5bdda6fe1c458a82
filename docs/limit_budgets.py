"""Prints the peak memory of evaluations under a budget, each beside its bar: at most the budget.

python docs/limit_budgets.py [--only PART …]

The figure is the peak as the allocator counts it in a call of the plan, in percent of the budget;
the peer is the same strategy with all directions at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from limit_lines import Line, Part, command
from limit_works import HESSIAN, JACOBIAN, LAPLACIAN
from torch.profiler import ProfilerActivity, profile

from bench.case import build
from bench.counters import peak_bytes
from strategies import Operator, Plan, Unsupported, prepare


@dataclass(frozen=True)
class Budgeted:
    """A workload, an operator by strategies with chunks, and its budgets."""

    operator: Operator
    strategies: tuple[str, ...]
    workload: str
    B: int
    budgets: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        sizes = [f"{key}={value}" for key, value in self.params.items()]
        return " ".join([self.operator, self.workload, *sizes, f"B={self.B} in a budget"])


FIRST, SECOND, TRACE = (
    ("chunked-jacrev", "chunked-jacfwd"),
    ("chunked-fwd-rev",),
    ("chunked-nested-jvp",),
)
WORKS: tuple[Budgeted, ...] = (
    Budgeted(JACOBIAN, FIRST, "mlp-square", 64, ("12 MiB", "24 MiB"), {"n": 192}),
    Budgeted(JACOBIAN, FIRST, "mlp-tall", 64, ("2 MiB", "3 MiB"), {"n": 16, "m": 256}),
    Budgeted(JACOBIAN, FIRST, "cnn", 8, ("2 MiB", "4 MiB")),
    Budgeted(HESSIAN, SECOND, "mlp-scalar", 64, ("4 MiB", "8 MiB"), {"n": 64}),
    Budgeted(LAPLACIAN, TRACE, "mlp-scalar", 64, ("4 MiB", "8 MiB"), {"n": 64}),
)


def budgeted(work: Budgeted, _: float) -> Iterator[Line]:
    """The lines of a work: a strategy after the other, a line for each budget."""
    problem = build(work.workload, work.params, work.B, "float32", "cpu")
    for strategy in work.strategies:
        planned = partial(prepare, work.operator, problem.f, problem.x, strategy=strategy)
        every = peak(planned(chunk=10**6), problem.x)
        for budget in work.budgets:
            bar, peer = f"≤ 100 % of {budget}", f"all at once {every / 2**20:.3g} MiB"
            try:
                plan = planned(chunk=budget)
            except Unsupported as refusal:
                yield Line(work.title, bar, f"refused: {refusal}", strategy, peer)
                continue
            assert plan.fit is not None
            figure = f"{100 * peak(plan, problem.x) / plan.fit.budget_bytes:.1f} %"
            how = f"{strategy}, {plan.fit.directions} of {plan.fit.count} at once"
            yield Line(work.title, bar, figure, how, peer)


def peak(plan: Plan, x: torch.Tensor) -> int:
    """Bytes alive at once in a call: of what operations returned or of what the allocator gave
    out, whichever is more."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        plan(x)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return max(most, peak_bytes(lambda: plan(x)))


PARTS: dict[str, Part] = {work.title: partial(budgeted, work) for work in WORKS}


if __name__ == "__main__":
    sys.exit(command(PARTS, __doc__, None))
