"""Prints how far sparse Jacobians are from torch's own dense ones, each figure beside its bar.

python docs/limit_sparse.py [--only PART …] [--seconds S]

The peer is the fastest of what `torch.func` has for a whole Jacobian, looped `autograd.grad`, one
plain call of f, or what any dense result costs: zeros, and the entries written into them.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from limit_lines import Part, command
from limit_times import timed
from limit_works import ENTRIES, FUNC, JACOBIAN, PLAIN, Bar, F, Made, Work

from bench.workloads import find_workload

CHUNK = 64


def stored(name: str, *bars: Bar, **params: Any) -> Work:
    """The Jacobian of a workload of the suite, one row of it."""

    def make(dtype: torch.dtype) -> Made:
        generator, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
        made = find_workload(name).build(dtype, cpu, generator, batch=1, **params)
        return made.f, made.x

    title = " ".join([name, *(f"{key}={value}" for key, value in params.items())])
    loops = ("loop-grad",) if any(bar.against == PLAIN for bar in bars) else ()
    return Work(title, JACOBIAN, make, bars, plain=loops, chunk=CHUNK)


def coloured(figure: float, against: str = FUNC, execution: str = "eager") -> Bar:
    """A bar of sparse results by colours."""
    return Bar("coloured", figure, against, execution, "sparse")


def separable(figure: float, against: str = FUNC, execution: str = "eager") -> Bar:
    """A bar of sparse results by parts."""
    return Bar("partially-separable", figure, against, execution, "sparse")


HAND = {"correspondences": 100, "vertices": 544}
WORKS: tuple[Work, ...] = (
    stored(
        "brusselator",
        coloured(60.0, execution="traced"),
        separable(60.0, execution="traced"),
        Bar("partially-separable", 1.5, ENTRIES, "traced"),
        N=32,
    ),
    stored("conv-stencil", coloured(90.0), Bar("coloured", 1.5, ENTRIES), size=64),
    stored(
        "bundle-adjustment",
        separable(8.0, F),
        coloured(60.0, F),
        cameras=49,
        points=7776,
        observations=31843,
    ),
    stored(
        "hand-simple",
        coloured(12.0, F),
        coloured(7.0, F, "traced"),
        coloured(45.0, PLAIN),
        coloured(80.0, PLAIN, "traced"),
        Bar("zero-aware-forward", 12.0, F),
        Bar("zero-aware-forward", 7.0, F, "traced"),
        Bar("zero-aware-forward", 45.0, PLAIN),
        Bar("zero-aware-forward", 80.0, PLAIN, "traced"),
        **HAND,
    ),
    stored(
        "hand-complicated",
        coloured(45.0, PLAIN),
        coloured(80.0, PLAIN, "traced"),
        Bar("vmap-jvp", 45.0, PLAIN),
        **HAND,
    ),
)

PARTS: dict[str, Part] = {work.title: partial(timed, work) for work in WORKS}


if __name__ == "__main__":
    sys.exit(command(PARTS, __doc__, None))
