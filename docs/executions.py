"""Prints the figures of docs/executions.md: nodes, forward passes of an hvp, traced against eager.

OMP_NUM_THREADS=1 python docs/executions.py nodes | passes | compare [ID …] | compile
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from unittest import mock

import torch
from studies import seconds_in_turn
from torch import Tensor
from torch.fx import GraphModule

from bench.case import Case, subject
from bench.counters import counters
from bench.grid import Block, blocks, cases
from bench.test_time import cold
from strategies import Operator, Plan, tracing

NODES = (
    ("hvp", "forward-over-reverse", "mlp-scalar", {"n": 64}, 64),
    ("hvp", "reverse-over-reverse", "mlp-scalar", {"n": 64}, 64),
    ("jacobian", "vmap-jacrev", "mlp-square", {"n": 16}, 16),
    ("jacobian", "vmap-jacfwd", "mlp-square", {"n": 16}, 16),
    ("jacobian", "loop-grad", "mlp-square", {"n": 16}, 16),
    ("hessian", "fwd-rev", "mlp-scalar", {"n": 8}, 16),
    ("laplacian", "nested-jvp", "mlp-scalar", {"n": 8}, 16),
    ("jacobian", "vmap-jacrev", "hand-simple", {"correspondences": 8}, 1),
)
COMPILED = (0, 2, 3, 5, 6)
# A case this slow shows nothing of launches, and would take minutes here.
TOO_SLOW_S = 0.25
BLOCKS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["nodes", "passes", "compare", "compile"])
    parser.add_argument("only", nargs="*", help="parts of the id of a case, all of which it has")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "compare":
        compare(given.only)
    else:
        {"nodes": nodes, "passes": passes, "compile": compile_rows}[given.what]()


def case_of(operator: str, strategy: str, workload: str, params: dict, B: int) -> Case:
    block = Block(workload, [Operator(operator)], B=B, params=params)
    return next(c for c in cases([block]) if c.strategy == strategy)


def plan_of(case: Case, execution: str) -> tuple[Plan | str, tuple[Tensor, ...], float]:
    """The plan or the reason against it, its inputs, and what preparing took."""
    made = subject(replace(case, execution=execution))
    start = time.perf_counter()
    plan = made.prepare()
    seconds = time.perf_counter() - start
    return (plan if isinstance(plan, Plan) else plan.reason), made.inputs, seconds


def nodes() -> None:
    """Nodes of the graph as recorded and as replayed."""
    print("| strategy | workload | recorded | simplified |\n|---|---|---|---|")
    for spec in NODES:
        case = case_of(*spec)
        before, after = counted(case)
        size = " ".join(f"{k}={v}" for k, v in spec[3].items())
        print(f"| {case.operator}: {case.strategy} | {case.workload} {size} | {before} | {after} |")


def counted(case: Case) -> list[int]:
    simplify, seen = tracing.simplify, []

    def counting(graph: GraphModule, inputs: tuple[Tensor, ...]) -> GraphModule:
        seen.append(len(graph.graph.nodes))
        simple = simplify(graph, inputs)
        seen.append(len(simple.graph.nodes))
        return simple

    with mock.patch.object(tracing, "simplify", counting):
        plan_of(case, "traced")
    return seen


def passes() -> None:
    """FLOPs of an hvp in forward passes, exact and the same on every machine."""
    print("| hvp on mlp-scalar, n = 64, B = 64 | eager | traced |\n|---|---|---|")
    for name in ("forward-over-reverse", "reverse-over-reverse", "reverse-over-forward"):
        case = case_of("hvp", name, "mlp-scalar", {"n": 64}, 64)
        print(
            f"| {name} | " + " | ".join(f"{hvp_passes(case, e):.2f}" for e in ("eager", "traced")),
            "|",
        )


def hvp_passes(case: Case, execution: str) -> float:
    plan, inputs, _ = plan_of(case, execution)
    assert isinstance(plan, Plan)
    with torch.no_grad():
        forward = counters(subject(case).problem.f, inputs[:1])["flops"]
    return counters(plan, inputs)["flops"] / forward


def ratio(eager: list[float], other: list[float]) -> tuple[float, float, float]:
    """Median of the blocks' ratios other/eager, and the quartiles around it."""
    found = sorted(b / a for a, b in zip(eager, other, strict=True))
    low, middle, high = statistics.quantiles(found, n=4)
    return middle, low, high


def candidates(only: Sequence[str]) -> Iterator[Case]:
    for case in cases(blocks("default"), only=only):
        if case.execution == "eager" and not case.create_graph:
            yield case


def compare(only: Sequence[str]) -> None:
    """Every eager case of the default grid against its trace; slower ones are listed at the end."""
    found, refused, slow = [], [], 0
    for case in candidates(only):
        eager, inputs, _ = plan_of(case, "eager")
        if isinstance(eager, str):
            continue
        eager(*inputs)
        start = time.perf_counter()
        eager(*inputs)
        if time.perf_counter() - start > TOO_SLOW_S:
            slow += 1
            continue
        traced, _, prepare_s = plan_of(case, "traced")
        if isinstance(traced, str):
            refused.append(f"{case.id}: {traced}")
            continue
        times = seconds_in_turn([partial(eager, *inputs), partial(traced, *inputs)], BLOCKS)
        found.append((case, *ratio(*times), statistics.median(times[0]), prepare_s))
        print(f"{found[-1][1]:.2f} [{found[-1][2]:.2f}, {found[-1][3]:.2f}] {case.id}", flush=True)
    ratios = [r for _, r, *_ in found]
    print(f"\n{len(found)} cases, {slow} too slow, {len(refused)} refused; traced/eager:")
    print("geometric mean", round(math.exp(statistics.fmean(map(math.log, ratios))), 3))
    print("largest first:", [round(r, 2) for r in sorted(ratios)[::-1][:10]])
    print("slower beyond noise (lower quartile of the ratios above 1.05):")
    for case, middle, low, high, eager_s, _ in found:
        if low > 1.05:
            print(f"  {middle:.2f} [{low:.2f}, {high:.2f}] of {eager_s * 1e3:.2f} ms {case.id}")
    print("refused:", *refused, sep="\n  ")


def compile_rows() -> None:
    """Eager, traced and compile of a few cases: what preparing costs and what it brings."""
    print(
        "| case | eager | traced | compile | prepare traced | prepare compile | pays back after |"
    )
    print("|---|---|---|---|---|---|---|")
    for k in COMPILED:
        case = case_of(*NODES[k])
        for execution in ("eager", "traced"):
            plan_of(case, execution)  # torch imports and registers at first use
        with cold("compile"):
            plans = [plan_of(case, e) for e in ("eager", "traced", "compile")]
        times = seconds_in_turn([partial(plan, *inputs) for plan, inputs, _ in plans], BLOCKS)
        middle = [statistics.median(t) for t in times]
        pays = [(plans[i][2] - plans[0][2]) / (middle[0] - middle[i]) for i in (1, 2)]
        cells = [*(f"{t * 1e3:.3f} ms" for t in middle), *(f"{p[2]:.2f} s" for p in plans[1:])]
        print("|", case.id, "|", " | ".join(cells), "|", f"{pays[0]:.0f}, {pays[1]:.0f} calls |")


if __name__ == "__main__":
    main()
