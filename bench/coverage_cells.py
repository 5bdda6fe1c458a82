"""One cell of coverage: a probe by a strategy, without and with the table of unsafe operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from strategies import Plan, Refusal, attempt
from strategies.unsafe import wrong

from .case import Case, Subject, subject
from .check_estimates import check_plan
from .counters import fallbacks
from .plugin import ROW
from .record import Row, recording


def test_cell(case: Case, references: Path, request: Any) -> None:
    """What a strategy makes of a probe: a right answer, a wrong one, a refusal, an error."""
    with recording(case) as row:
        request.node.stash[ROW] = row
        made = subject(case)
        setting = made.setting()
        operations, execution = setting.probe.operations, case.execution
        row["guarded"] = "unsupported" if wrong(made.strategy(), execution, operations) else "open"
        plan = attempt(setting, made.strategy(), by_table=False)
        if isinstance(plan, Refusal):
            row["status"], row["reason"] = "unsupported", plan.reason
            pytest.skip(plan.reason)
        _answered(made, plan, references, row)


def _answered(made: Subject, plan: Plan, references: Path, row: Row) -> None:
    result = plan(*made.inputs)
    assert isinstance(result, Tensor)
    found = check_plan(made, plan, result, references)
    row.update(found.fields)
    if found.reason:
        pytest.skip(found.reason)
    row["counters"] = {"fallbacks": fallbacks(plan, made.inputs)}
