"""Prints how far the fastest strategies are from torch's own, each figure beside its bar.

python docs/limits.py [--only PART …] [--seconds S] [--into docs/limits.md]

One run on one pinned thread: all that is compared in a row is called in turn, and medians of CPU
seconds are taken, so that whoever shares the machine stays out of them. Unless a bar names another
one, the peer is the faster of what `torch.func` has for the derivative (`vmap(hessian(f))`,
`vmap(jacrev(f))`, `vmap(jacfwd(f))`, and their traces). With JAX and folx installed their jitted
times stand beside ours. A strategy that the registry does not hold is printed as "not there".
The bilaplacian, sparse Jacobians and budgets of memory have scripts of their own beside this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import limit_budgets
import limit_orders
import limit_sparse
import torch
from limit_lines import Line, Part, command, lines_in
from limit_times import timed
from limit_works import COUNTS, WORKS, Work

from bench.counters import counters
from strategies import prepare


def counted(work: Work, _: float) -> Iterator[Line]:
    """The lines of a work whose figures are FLOPs in forward passes."""
    f, x = work.make(work.dtype)
    with torch.no_grad():
        forward = counters(f, (x,))["flops"]
    for bar in work.bars:
        plan = prepare(work.operator, f, x, x, strategy=bar.strategy, execution=bar.execution)
        figure = counters(plan, (x, x))["flops"] / forward
        yield Line(work.title, bar.text, f"{figure:.2f}{bar.unit}", bar.label, bar.against)


class NoLines(RuntimeError):
    """A child process that printed no lines."""


def in_surroundings(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work, from a child process where this one lacks what its environment says."""
    wanted = dict(work.environment)
    if wanted.items() <= os.environ.items():
        return timed(work, seconds)
    child = subprocess.run(
        [sys.executable, __file__, "--only", work.title, "--seconds", str(seconds)],
        env={**os.environ, **wanted},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = lines_in(child.stdout)
    if not lines:
        said = child.stderr.strip().rpartition("\n")[2]
        raise NoLines(f"the child process ended with {child.returncode}: {said}")
    return iter(lines)


PARTS: dict[str, Part] = {
    **{work.title: partial(in_surroundings, work) for work in WORKS},
    **{work.title: partial(counted, work) for work in COUNTS},
    **limit_orders.PARTS,
    **limit_sparse.PARTS,
    **limit_budgets.PARTS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    return command(PARTS, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
