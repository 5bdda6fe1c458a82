"""Prints how far sparse Jacobians are from torch's own dense ones, each figure beside its bar.

python docs/sparse_works.py [--only PART …] [--seconds S]

One run on one pinned thread; all that is compared in a row is called in turn, and medians of CPU
seconds are taken. The peer is the fastest of what `torch.func` has for a whole Jacobian, looped
`autograd.grad`, one plain call of f, or what any dense result costs: zeros, and the entries
written into them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from studies import seconds_in_turn, table_row
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from bench.workloads import find_workload
from strategies import Operator, Plan, Unsupported, prepare
from strategies.functions import row

Function = Callable[..., Tensor]
Peer = Literal["torch.func", "loop-grad", "f", "zeros and entries"]

BLOCKS, CHUNK = 200, 64
HEAD = ("work", "bar", "figure", "strategy", "peer")


@dataclass(frozen=True)
class Bar:
    """At least so many times as fast as the peer; of f and of zeros, at most so many times it."""

    strategy: str
    figure: float
    peer: Peer = "torch.func"
    execution: str = "eager"
    layout: str = "sparse"

    @property
    def label(self) -> str:
        """What is timed."""
        ways = [self.strategy, *([] if self.execution == "eager" else [self.execution])]
        return ", ".join([*ways, self.layout])

    @property
    def at_most(self) -> bool:
        """Whether the figure is a cost, and not a gain."""
        return self.peer in ("f", "zeros and entries")

    def said(self, figure: float) -> str:
        """A figure with its unit."""
        return f"{figure:.3g}{' F' if self.peer == 'f' else '×'}"


@dataclass(frozen=True)
class Work:
    """A workload of the suite, one row of it, and the bars of its Jacobian."""

    name: str
    params: dict[str, Any]
    bars: tuple[Bar, ...]

    @property
    def title(self) -> str:
        """As the table writes it."""
        return " ".join([self.name, *(f"{k}={v}" for k, v in self.params.items())])

    def make(self) -> tuple[Function, Tensor]:
        """f and its x in float32."""
        generator, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
        made = find_workload(self.name).build(torch.float32, cpu, generator, batch=1, **self.params)
        return made.f, made.x


BLOCK, COLOURED = "partially-separable", "coloured"
WORKS: tuple[Work, ...] = (
    Work(
        "brusselator",
        {"N": 32},
        (
            Bar(COLOURED, 60, execution="traced"),
            Bar(BLOCK, 60, execution="traced"),
            Bar(BLOCK, 1.5, "zeros and entries", "traced", "dense"),
        ),
    ),
    Work(
        "conv-stencil",
        {"size": 64},
        (Bar(COLOURED, 90), Bar(COLOURED, 1.5, "zeros and entries", layout="dense")),
    ),
    Work(
        "bundle-adjustment",
        {"cameras": 49, "points": 7776, "observations": 31843},
        (Bar(BLOCK, 8, "f"), Bar(COLOURED, 60, "f")),
    ),
    Work(
        "hand-simple",
        {"correspondences": 100, "vertices": 544},
        (
            Bar(COLOURED, 12, "f"),
            Bar(COLOURED, 7, "f", "traced"),
            Bar(COLOURED, 45, "loop-grad"),
            Bar(COLOURED, 80, "loop-grad", "traced"),
            Bar("vmap-jvp", 12, "f", layout="dense"),
            Bar("vmap-jvp", 7, "f", "traced", "dense"),
        ),
    ),
    Work(
        "hand-complicated",
        {"correspondences": 100, "vertices": 544},
        (
            Bar(COLOURED, 45, "loop-grad"),
            Bar(COLOURED, 80, "loop-grad", "traced"),
            Bar("vmap-jvp", 45, "loop-grad", layout="dense"),
        ),
    ),
)


def forms(f: Function) -> dict[str, Function]:
    """What `torch.func` has for a whole Jacobian, and `jacrev` by chunks."""
    one = row(f)
    return {
        "vmap(jacrev)": vmap(jacrev(one)),
        "vmap(jacfwd)": vmap(jacfwd(one)),
        "chunked jacrev": jacrev(lambda z: f(z).sum(0), chunk_size=CHUNK),
        "chunked jacfwd": vmap(jacfwd(one), chunk_size=CHUNK),
    }


def zeros_and_entries(plan: Plan, x: Tensor) -> Callable[[], Tensor]:
    """What a dense result of these entries costs, whoever computed them."""
    dense = plan(x)
    assert isinstance(dense, Tensor)
    at = dense.flatten().nonzero()[:, 0]
    values, size = dense.flatten()[at], dense.numel()
    return lambda: torch.zeros(size).index_copy_(0, at, values)


def planned(work: Work, f: Function, x: Tensor) -> tuple[dict[str, Plan], dict[str, str]]:
    """The plan of every bar, or why there is none."""
    plans: dict[str, Plan] = {}
    refused: dict[str, str] = {}
    for bar in work.bars:
        how: Any = {"strategy": bar.strategy, "execution": bar.execution, "layout": bar.layout}
        try:
            plans[bar.label] = prepare(Operator.JACOBIAN, f, x, **how)
        except Unsupported as refusal:
            refused[bar.label] = f"refused: {refusal}"
    return plans, refused


def peers(work: Work, f: Function, x: Tensor, plans: dict[str, Plan]) -> dict[str, Callable]:
    """What the bars of a work are against, by name."""
    asked = {bar.peer for bar in work.bars}
    found: dict[str, Callable] = {"f": lambda: f(x)}
    if "torch.func" in asked:
        found |= {name: lambda form=form: form(x) for name, form in forms(f).items()}
    if "loop-grad" in asked:
        loop = prepare(Operator.JACOBIAN, f, x, strategy="loop-grad")
        found["loop-grad"] = lambda: loop(x)
    for bar in work.bars:
        if bar.peer == "zeros and entries" and bar.label in plans:
            found[bar.peer] = zeros_and_entries(plans[bar.label], x)
    return found


def lines(work: Work, seconds: float) -> Iterator[str]:
    """The rows of a work."""
    f, x = work.make()
    plans, refused = planned(work, f, x)
    with torch.no_grad():
        against = peers(work, f, x, plans)
        calls = against | {label: lambda plan=plan: plan(x) for label, plan in plans.items()}
        times = seconds_in_turn(list(calls.values()), BLOCKS, seconds)
    took = {name: statistics.median(found) for name, found in zip(calls, times, strict=True)}
    own = [name for name in took if name in forms(f)]
    for bar in work.bars:
        wanted = f"{'≤' if bar.at_most else '≥'} {bar.said(bar.figure)}"
        if bar.label not in took:
            yield table_row([work.title, wanted, refused[bar.label], bar.label, bar.peer])
            continue
        peer = min(own, key=took.__getitem__) if bar.peer == "torch.func" else bar.peer
        gain = took[peer] / took[bar.label]
        figure = bar.said(1 / gain if bar.at_most else gain)
        sides = [f"{name} {1e3 * took[name]:.3g} ms" for name in (bar.label, peer)]
        yield table_row([work.title, wanted, figure, *sides])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="part of a work's title")
    parser.add_argument("--seconds", type=float, default=20.0, help="about so long a work")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    print(table_row(HEAD), "|---|---|---|---|---|", sep="\n", flush=True)
    for work in WORKS:
        if all(part in work.title for part in given.only):
            for line in lines(work, given.seconds):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
