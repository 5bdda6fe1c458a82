"""The grids: which workloads at which sizes are measured for which operators, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any

import torch

from reports.schema import CHOOSERS
from strategies import FOURTH_ORDER, Operator, Strategy, strategies_for, violated_shape
from strategies.drawing import SAMPLES

from .block import Block
from .case import Case, build
from .choice_grid import choice, skewed
from .exact_grids import counters, instructions
from .timed_grids import default, full, smoke
from .trial_grid import trials
from .workloads import UnknownWorkload

FEW = 16
# The name of a run of the user's own workloads.
OWN = "own"
Shapes = tuple[tuple[int, ...], tuple[int, ...], int]


class UnknownGrid(LookupError):
    """No grid of that name; the message lists the known ones."""


class NothingSelected(LookupError):
    """A selection that leaves no case; the message says what was asked."""


GRIDS: dict[str, Callable[[], Iterator[Block]]] = {
    "smoke": smoke,
    "default": default,
    "full": full,
    "choice": choice,
    "skewed": skewed,
    "counters": counters,
    "instructions": partial(instructions, smoke),
    "trials": trials,
}
# Those in which what chooses is measured beside what it chooses from; the others are of single
# strategies, and a race may end otherwise in each arm of a comparison.
CHOOSING = ("smoke", "default", "full", "choice", "skewed", OWN)


def blocks(grid: str) -> list[Block]:
    """The grid's blocks, each once; `UnknownGrid` lists the known grids."""
    if grid not in GRIDS:
        raise UnknownGrid(f"no grid {grid!r}; known: {', '.join(GRIDS)}")
    found: list[Block] = []
    for block in GRIDS[grid]():
        if block not in found:
            found.append(block)
    return found


def user_blocks(workloads: Sequence[str], dtype: str = "float32") -> list[Block]:
    """Every operator on each of the user's workloads; its own x says the batch size.

    Those of order four only where there are no more than `FEW` inputs: their cost is n² to n⁴.
    """

    def asked(name: str) -> list[Operator]:
        few = prod(shapes(name, (), None)[0]) <= FEW
        return [op for op in Operator if few or op not in FOURTH_ORDER]

    return [Block(name, asked(name), dtype=dtype) for name in workloads]


def cases(
    chosen: Iterable[Block],
    *,
    device: str = "cpu",
    threads: Sequence[int] = (),
    only: Sequence[str] = (),
    choosers: Sequence[str] = (),
) -> list[Case]:
    """Every strategy of every operator that the blocks' shapes allow, each case once.

    threads: numbers of them, instead of each block's own. only: parts of a case's id, all of which
    must occur in it. choosers: names of what chooses, beside the strategies where they run eagerly
    and all of them do.
    """
    found: dict[str, Case] = {}
    for block in chosen:
        # Elsewhere it would be a refusal a row, which says nothing.
        if block.execution == "cuda-graph" and device != "cuda":
            continue
        for count in threads or block.threads:
            for case in _cases(block, device, count, choosers):
                if all(part in case.id for part in only):
                    found.setdefault(case.id, case)
    if not found:
        raise NothingSelected(f"no case matches {' and '.join(map(repr, only)) or 'the grid'}")
    return list(found.values())


def choosers_in(grid: str) -> Sequence[str]:
    """The choosers that a grid of that name is measured with."""
    return CHOOSERS if grid in CHOOSING else ()


def _cases(block: Block, device: str, threads: int, choosers: Sequence[str]) -> Iterator[Case]:
    in_shape, out_shape, B = shapes(block.workload, tuple(block.params.items()), block.B)
    for operator in block.operators:
        if violated_shape(operator, in_shape, out_shape):
            continue
        names = [s.name for s in strategies_for(operator) if _offered(s, block, prod(in_shape))]
        if names and not block.strategies and block.execution == "eager":
            names += choosers
        for name in names:
            yield Case(
                operator,
                name,
                block.workload,
                B,
                in_shape,
                out_shape,
                params=dict(block.params),
                dtype=block.dtype,
                device=device,
                execution=block.execution,
                threads=threads,
                create_graph=block.create_graph,
                chunk=block.chunk,
                layout=block.layout,
            )


def _offered(strategy: Strategy, block: Block, n: int) -> bool:
    """Whether a strategy is of the block, whose problem has n inputs a row."""
    if block.strategies and strategy.name not in block.strategies:
        return False
    if block.chunk is not None and not strategy.chunks:
        return False
    if block.layout == "sparse" and not strategy.sparse:
        return False
    return strategy.exact or block.small_estimates or n > SAMPLES


@functools.cache
def shapes(workload: str, params: tuple[tuple[str, Any], ...], B: int | None) -> Shapes:
    """A row's input and output shape and the number of rows, from one call of the built f."""
    problem = build(workload, dict(params), B, "float32", "cpu")
    with torch.no_grad():
        y = problem.f(problem.x, *problem.args)
    return tuple(problem.x.shape[1:]), tuple(y.shape[1:]), len(problem.x)


__all__ = ["GRIDS", "Block", "NothingSelected", "UnknownGrid", "UnknownWorkload", "blocks", "cases"]
