"""Operations through which this torch computes some strategies silently wrong, or not at all.

NOTE [unsafe operations]
Some forward-mode formulas recompute a saved intermediate without its own tangent: one `jvp` through
them is right, another derivative on top of it misses a term and says nothing (pytorch#196696,
#192540, #196695, #197867). Some batching rules go wrong only a level further down: `vmap` of
`hessian` through a determinant is right for one row and wrong for several. Which strategies are
concerned is measured, not reasoned: `python -m bench coverage --write` differentiates a set of
probes by every strategy, compares with values alone, and writes the table `unsafe_ops.json`:

    torch release → {"strategies": [those measured], "operations": [those in the probes],
                     "wrong": {operation: [strategies]}, "raises": {operation: [strategies]}}

A strategy is `operator/name`, with its execution behind where that is not eager.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .registry import Strategy, strategies_for

# Executions that run the recorded graph: what goes wrong in recording it is theirs too.
_MEASURED_AS = {"compile": "traced", "cuda-graph": "traced"}

TABLE = Path(__file__).with_name("unsafe_ops.json")


@dataclass(frozen=True)
class Table:
    """What was measured on one release of torch: strategies, operations, and what goes ill."""

    strategies: frozenset[str]
    operations: frozenset[str]
    wrong: Mapping[str, frozenset[str]]
    raises: Mapping[str, frozenset[str]]


def key(strategy: Strategy, execution: str) -> str:
    """How the table names a strategy: `hessian/fwd-rev`, `hessian/fwd-rev traced`."""
    name = f"{strategy.operator}/{strategy.name}"
    execution = _MEASURED_AS.get(execution, execution)
    return name if execution == "eager" else f"{name} {execution}"


def release(version: str = torch.__version__) -> str:
    """`2.13` of `2.13.0+cpu`."""
    return ".".join(version.split(".")[:2])


@functools.cache
def table(of: str = release()) -> Table:
    """The table of a release; of one that was not measured, the newest there is."""
    tables = json.loads(TABLE.read_text(encoding="utf-8"))
    newest = max(tables, key=lambda name: [int(part) for part in name.split(".")])
    found = tables.get(of, tables[newest])
    return Table(
        frozenset(found["strategies"]),
        frozenset(found["operations"]),
        {name: frozenset(there) for name, there in found["wrong"].items()},
        {name: frozenset(there) for name, there in found["raises"].items()},
    )


def wrong(strategy: Strategy, execution: str, operations: Collection[str]) -> list[str]:
    """The operations through which the strategy is wrong.

    One that was not measured (a user's own) shares the errors of its operator and mode.
    """
    known = table()
    # What a strategy does wrong its trace repeats, where that was not measured.
    names = [key(strategy, execution), key(strategy, "eager")]
    measured = next((name for name in names if name in known.strategies), None)
    alike = {measured} if measured else _of_its_mode(strategy, execution)
    return sorted(op for op in operations if alike & known.wrong.get(op, frozenset()))


def _of_its_mode(strategy: Strategy, execution: str) -> set[str]:
    return {key(s, execution) for s in strategies_for(strategy.operator) if s.mode == strategy.mode}


def unproven(strategy: Strategy, execution: str, operations: Collection[str]) -> list[str]:
    """The operations that the strategy was not seen to get through: not measured, or raising."""
    name, known = key(strategy, execution), table()
    if name not in known.strategies:
        return sorted(operations)
    raising = {op for op in operations if name in known.raises.get(op, frozenset())}
    return sorted(raising | (set(operations) - known.operations))
