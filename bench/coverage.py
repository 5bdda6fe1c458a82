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
from pathlib import Path

from strategies import Operator, strategies_for
from strategies.operators import SCALAR, SQUARE
from strategies.probing import probe
from strategies.unsafe import TABLE, release, table

from .case import Case, build
from .probes import INPUTS, PROBES
from .probes.registry import B
from .record import Row


class PartialCoverage(ValueError):
    """A table is to be written from a part of the cells."""


OUTPUTS = 2
EXECUTIONS_ASKED = ("eager", "traced")


def cells(only: Sequence[str] = (), executions: Sequence[str] = EXECUTIONS_ASKED) -> list[Case]:
    """Every probe by every strategy in these executions, in float64 on the CPU."""
    return [case for case in _cells(executions) if all(part in case.id for part in only)]


def _cells(executions: Sequence[str]) -> Iterator[Case]:
    for name, n in INPUTS.items():
        for operator in Operator:
            m = 1 if operator in SCALAR else n if operator in SQUARE else OUTPUTS
            for strategy in strategies_for(operator):
                for execution in executions:
                    yield Case(
                        *(operator, strategy.name, name, B, (n,), (m,)),
                        params={"m": m},
                        dtype="float64",
                        execution=execution,
                    )


def operations(name: str) -> frozenset[str]:
    """The operations of a probe."""
    problem = build(name, {"m": OUTPUTS}, B, "float64", "cpu")
    return probe(problem.f, problem.x, problem.args).operations


@dataclass(frozen=True)
class Findings:
    """What a coverage run says: the table that it makes, and what it cannot lay to an operation.

    `wrong` and `raises`: operation → strategies as `strategies.unsafe.key` names them.
    """

    strategies: frozenset[str]
    operations: frozenset[str]
    wrong: Mapping[str, frozenset[str]]
    raises: Mapping[str, frozenset[str]]
    unexplained: tuple[str, ...]


def findings(rows: Iterable[Row]) -> Findings:
    """The findings of a run's rows."""
    made_of = {name: operations(name) for name in PROBES}
    by_strategy: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_strategy[_key(row)].append(row)
    wrong, raises = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    unexplained = []
    for name, own in by_strategy.items():
        right = frozenset[str]().union(
            *(made_of[r["workload"]] for r in own if r["status"] == "ok")
        )
        for row in own:
            blamed = made_of[row["workload"]] - right
            if row["status"] == "wrong":
                unexplained += [] if blamed else [f"{name} on {row['workload']}"]
                _lay(blamed, name, wrong)
            elif row["status"] == "unsupported" and "torch cannot: " in row["reason"]:
                _lay(blamed, name, raises)
    return Findings(
        frozenset(by_strategy),
        _all(made_of.values()),
        {op: frozenset(names) for op, names in wrong.items()},
        {op: frozenset(names) for op, names in raises.items()},
        tuple(unexplained),
    )


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


def _lay(blamed: Iterable[str], name: str, to: dict[str, set[str]]) -> None:
    for op in blamed:
        to[op].add(name)


def _key(row: Row) -> str:
    name = f"{row['operator']}/{row['strategy']}"
    return name if row["execution"] == "eager" else f"{name} {row['execution']}"


def new_errors(found: Findings) -> list[str]:
    """What is wrong in these findings and not in the committed table, a line an operation."""
    known, lines = table(), []
    for op, names in sorted(found.wrong.items()):
        if new := sorted(names - known.wrong.get(op, frozenset())):
            lines.append(f"{op}: {', '.join(new)}")
    return lines + [
        f"{text}: no operation of it is in this probe alone" for text in found.unexplained
    ]


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
