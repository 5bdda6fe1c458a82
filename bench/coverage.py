"""Which strategies torch lets through which operations, and where it is silently wrong.

Every strategy is asked for the derivatives of every probe with the table of unsafe operations off,
and compared with values alone. What is wrong is laid to operations by elimination: those of the
probe that are in no probe that the same strategy gets right.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from strategies import FOURTH_ORDER, Operator, Strategy, strategies_for
from strategies.operators import SCALAR, SQUARE
from strategies.probing import probe
from strategies.registry import find
from strategies.unsafe import TABLE, release, table, wrong

from .case import Case, build
from .probes import INPUTS, PROBES
from .probes.registry import B
from .record import Row


class PartialCoverage(ValueError):
    """A table is to be written from a part of the cells."""


OUTPUTS = 2
EXECUTIONS_ASKED = ("eager", "traced")


def cells(only: Sequence[str] = (), executions: Sequence[str] = EXECUTIONS_ASKED) -> list[Case]:
    """Every probe by every strategy in these executions, in float64 on the CPU; without traces that
    are `slow_to_trace`."""
    return [case for case in _cells(executions) if all(part in case.id for part in only)]


def _cells(executions: Sequence[str]) -> Iterator[Case]:
    for name, n in INPUTS.items():
        for operator in Operator:
            m = 1 if operator in SCALAR else n if operator in SQUARE else OUTPUTS
            for strategy in strategies_for(operator):
                for execution in executions:
                    if execution == "traced" and slow_to_trace(strategy):
                        continue
                    yield Case(
                        *(operator, strategy.name, name, B, (n,), (m,)),
                        params={"m": m},
                        dtype="float64",
                        execution=execution,
                    )


def slow_to_trace(strategy: Strategy) -> bool:
    """Whether a trace takes many seconds: four levels of torch's own, one inside the other."""
    own = strategy.mode in ("taylor", "closed-form")
    return strategy.operator in FOURTH_ORDER and not own


@cache
def operations(name: str) -> frozenset[str]:
    """The operations of a probe."""
    problem = build(name, {"m": OUTPUTS}, B, "float64", "cpu")
    return probe(problem.f, problem.x, problem.args).operations


@dataclass(frozen=True)
class Findings:
    """What a coverage run says of operations: the table that it makes.

    `wrong` and `raises`: operation → strategies as `strategies.unsafe.key` names them.
    """

    strategies: frozenset[str]
    operations: frozenset[str]
    wrong: Mapping[str, frozenset[str]]
    raises: Mapping[str, frozenset[str]]


def findings(rows: Iterable[Row]) -> Findings:
    """The findings of a run's rows."""
    made_of = {name: operations(name) for name in PROBES}
    by_strategy: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_strategy[_key(row)].append(row)
    to_wrong, to_raises = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for name, own in by_strategy.items():
        right = frozenset[str]().union(
            *(made_of[r["workload"]] for r in own if r["status"] == "ok")
        )
        for row in own:
            blamed = made_of[row["workload"]] - right
            if row["status"] == "wrong":
                _lay(blamed, name, to_wrong)
            elif row["status"] == "unsupported" and "torch cannot: " in row["reason"]:
                _lay(blamed, name, to_raises)
    return Findings(
        frozenset(by_strategy),
        _all(made_of.values()),
        {op: frozenset(names) for op, names in to_wrong.items()},
        {op: frozenset(names) for op, names in to_raises.items()},
    )


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


def _lay(blamed: Iterable[str], name: str, to: dict[str, set[str]]) -> None:
    for op in blamed:
        to[op].add(name)


def _key(row: Row) -> str:
    name = f"{row['operator']}/{row['strategy']}"
    return name if row["execution"] == "eager" else f"{name} {row['execution']}"


def new_errors(rows: Iterable[Row]) -> list[str]:
    """What is wrong in these rows and not refused by the table, a line a probe."""
    found = defaultdict[str, list[str]](list)
    for row in rows:
        if row["status"] == "wrong" and not _refused(row):
            found[row["workload"]].append(_key(row))
    return [f"{probe}: {', '.join(sorted(names))}" for probe, names in sorted(found.items())]


def _refused(row: Row) -> bool:
    strategy = find(Operator(row["operator"]), row["strategy"])
    return bool(wrong(strategy, row["execution"], operations(row["workload"])))


def write(found: Findings, path: Path = TABLE) -> None:
    """Put the findings into the table under this release of torch; other releases stay."""
    tables = json.loads(path.read_text(encoding="utf-8"))
    tables[release()] = {
        "strategies": sorted(found.strategies),
        "operations": sorted(found.operations),
        "wrong": {op: sorted(names) for op, names in sorted(found.wrong.items())},
        "raises": {op: sorted(names) for op, names in sorted(found.raises.items())},
    }
    path.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    table.cache_clear()
