"""Prints the peak memory of evaluations under a budget, each beside its bar: at most the budget.

python docs/budget_works.py [--only PART …]

The figure is the peak as the allocator counts it in a call of the plan, in percent of the budget;
the peer is the same strategy with all directions at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.case import build
from bench.counters import peak_bytes
from strategies import Operator, Plan, Unsupported, prepare

JACOBIAN, HESSIAN, LAPLACIAN = Operator.JACOBIAN, Operator.HESSIAN, Operator.LAPLACIAN


@dataclass(frozen=True)
class Work:
    """A workload, an operator by a strategy with chunks, and its budgets."""

    operator: Operator
    strategy: str
    workload: str
    B: int
    budgets: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.operator} {self.workload} B={self.B} in a budget"


def _jacobians(workload: str, B: int, *budgets: str, **params: Any) -> list[Work]:
    modes = ("chunked-jacrev", "chunked-jacfwd")
    return [Work(JACOBIAN, mode, workload, B, budgets, params) for mode in modes]


WORKS = (
    *_jacobians("mlp-square", 64, "12 MiB", "24 MiB", n=192),
    *_jacobians("mlp-tall", 64, "2 MiB", "3 MiB", n=16, m=256),
    *_jacobians("cnn", 8, "2 MiB", "4 MiB"),
    Work(HESSIAN, "chunked-fwd-rev", "mlp-scalar", 64, ("4 MiB", "8 MiB"), {"n": 64}),
    Work(LAPLACIAN, "chunked-nested-jvp", "mlp-scalar", 64, ("4 MiB", "8 MiB"), {"n": 64}),
)


def lines(work: Work) -> Iterator[str]:
    """`| work | bar | figure | strategy | peer |` for each budget."""
    problem = build(work.workload, work.params, work.B, "float32", "cpu")
    every = prepare(work.operator, problem.f, problem.x, strategy=work.strategy, chunk=10**6)
    peer = f"all at once {peak(every, problem.x) / 2**20:.3g} MiB"
    for budget in work.budgets:
        bar = f"≤ {budget}"
        try:
            plan = prepare(
                work.operator, problem.f, problem.x, strategy=work.strategy, chunk=budget
            )
        except Unsupported as refusal:
            yield _line(work.title, bar, f"refused: {refusal}", work.strategy, peer)
            continue
        assert plan.fit is not None
        figure = f"{100 * peak(plan, problem.x) / plan.fit.budget_bytes:.1f} %"
        how = f"{work.strategy}, {plan.fit.directions} of {plan.fit.count} at once"
        yield _line(work.title, bar, figure, how, peer)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="part of a work's title")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(_line("work", "bar", "figure", "strategy", "peer"), "|---|---|---|---|---|", sep="\n")
    for work in WORKS:
        if all(part in work.title for part in given.only):
            print(*lines(work), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
