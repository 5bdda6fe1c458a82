"""The first line of a result file: what is measured, on what, with what."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from reports.schema import SCHEMA
from strategies import CONTRACT, Operator, strategies_for

from .case import SEED, Case, Timed
from .choosers import CHOICES
from .environment import commit, environment
from .record import Row
from .resume import selection
from .worker import Job
from .workloads import find_workload


class Asked(Protocol):
    """What is measured, as `runner.Request` has it."""

    @property
    def cases(self) -> Sequence[Timed]: ...
    @property
    def grid(self) -> str: ...
    @property
    def passes(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def job(self) -> Job: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def line(self) -> Row: ...


def run_line(asked: Asked) -> Row:
    """The run line of a run that starts now."""
    started, (revision, dirty), job = datetime.now(UTC), commit(), asked.job
    own = {
        "kind": "run",
        "schema": SCHEMA,
        "run": f"{started:%Y%m%dT%H%M%S%fZ}-{(revision or 'unknown')[:8]}",
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "command": ["python", "-m", "bench", *sys.argv[1:]],
        "commit": revision,
        "dirty": dirty,
        "environment": environment(asked.device, job.threads, list(job.pinned)),
        "seeds": {"data": SEED, "order": SEED},
        "grid": asked.grid,
        "cases": selection(asked.cases),
        "passes": asked.passes,
        "limit_s": job.limit_s,
        "memory_limit_bytes": job.memory_bytes,
        **described([case for case in asked.cases if isinstance(case, Case)]),
        "limits": {},
        "contract": CONTRACT,
        "warnings": list(asked.warnings),
    }
    return own | asked.line


def described(cases: Sequence[Case]) -> Row:
    """The strategies of these cases' operators, what chooses among them, and their workloads."""
    return {
        "strategies": {
            **_strategies({case.operator for case in cases}),
            **_choosers({(case.operator, case.strategy) for case in cases}),
        },
        "workloads": _workloads({case.workload for case in cases}),
    }


def _strategies(operators: Iterable) -> dict[str, Row]:
    return {
        f"{s.operator}/{s.name}": {
            "operator": str(s.operator),
            "name": s.name,
            "mode": s.mode,
            "sweep": s.sweep,
            "exact": s.exact,
            "summary": s.summary,
            "needs": sorted(s.needs),
        }
        for operator in sorted(operators)
        for s in strategies_for(operator)
    }


def _choosers(names: Iterable[tuple[Operator, str]]) -> dict[str, Row]:
    return {
        f"{operator}/{name}": {
            "operator": str(operator),
            "name": name,
            "mode": "auto",
            "sweep": "auto",
            "exact": True,
            "summary": CHOICES[name].summary,
            "needs": [],
        }
        for operator, name in sorted(names)
        if name in CHOICES
    }


def _workloads(names: Iterable[str]) -> dict[str, Row]:
    found = {name: find_workload(name) for name in sorted(names)}
    return {name: {"text": w.text, "version": w.version} for name, w in found.items()}
