"""Prints how far bilaplacian and weighted Laplacian are from torch's own, beside their bars.

python docs/limit_orders.py [--only PART …] [--seconds S]

The peer of the bilaplacian is two Hessians of `torch.func`, one of the trace of the other; that of
the weighted Laplacian is ⟨C, H⟩ with one Hessian.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from limit_lines import Call, Line, Part, command, seconds_of
from limit_times import agreed, held, timed
from limit_works import F32, F64, Bar, Work, mlp
from torch.func import hessian, vmap

from strategies import Operator, prepare_weighted_laplacian
from strategies.functions import row

NESTED = Work(
    "5-768-768-512-512-1 B=16",
    Operator.BILAPLACIAN,
    mlp(5, 768, 768, 512, 512, 1, B=16),
    (Bar("forward-laplacian", 4.5), Bar("closed-form", 7.0)),
)
# C = R Rᵀ, of this rank.
RANK, PEER = 4, "⟨C, vmap(hessian)⟩"
WEIGHTED = Work(
    f"50-256-256-1 B=16, weighted by rank {RANK}",
    Operator.LAPLACIAN,
    mlp(50, 256, 256, 1, B=16),
    (Bar("forward-laplacian", 10.0, PEER), Bar("closed-form", 15.0, PEER)),
)


def weighted(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work for Σᵢⱼ Cᵢⱼ ∂²f/∂xᵢ∂xⱼ."""
    f, x = work.make(work.dtype)
    root, full = torch.randn(x.shape[1], RANK, dtype=work.dtype), vmap(hessian(row(f)))
    calls: dict[str, Call] = {PEER: lambda: (full(x) * (root @ root.mT)).sum((-2, -1))}
    for bar in work.bars:
        plan = prepare_weighted_laplacian(f, x, root=root, strategy=bar.strategy)
        calls[bar.label] = partial(plan, x)
    with torch.no_grad():
        agreed(calls, work.dtype)
        took = seconds_of(calls, seconds)
    for bar in work.bars:
        yield held(work.title, bar, took, [bar.against])


def _both(work: Work) -> list[Work]:
    return [replace(work, dtype=dtype) for dtype in (F32, F64)]


PARTS: dict[str, Part] = {
    **{work.title: partial(timed, work) for work in _both(NESTED)},
    **{work.title: partial(weighted, work) for work in _both(WEIGHTED)},
}


if __name__ == "__main__":
    sys.exit(command(PARTS, __doc__, None))
