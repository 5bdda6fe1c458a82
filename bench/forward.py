"""A plain evaluation of f, without a graph: the unit in which the cost of a derivative is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from . import measure
from .case import Case, Subject
from .counters import counters
from .device import Device, waiting

# Of one problem its rounds by the wall clock and by CPU time, seconds a call.
Rounds = tuple[list[float], list[float]]

# What f(x, *args) depends on: a case without its operator, its strategy and how that runs.
_PROBLEM = ("workload", "params", "B", "dtype", "device", "threads")


def problem_name(case: Case) -> str:
    """What all cases have in common whose f and tensors are the same."""
    axes = case.axes
    return json.dumps([axes[name] for name in _PROBLEM])


def forward(made: Subject) -> Callable[[], Tensor]:
    """`f(x, *args)` on the tensors of the case; its caller switches grad mode off."""
    return partial(made.problem.f, made.problem.x, *made.problem.args)


def forward_seconds(made: Subject, device: Device, known: dict[str, Rounds]) -> Rounds:
    """The rounds of f, timed as those of a case; once for all cases of a problem, in `known`."""
    name = problem_name(made.case)
    if name not in known:
        known[name] = _timed(waiting(forward(made), device))
    return known[name]


# Outside of the calls: entering a mode takes as long as a small operation.
@torch.no_grad()
def _timed(call: Callable[[], None]) -> Rounds:
    sizing = measure.size(measure.warm_up(call).call_s)
    with measure.no_garbage_collection():
        return measure.rounds(call, sizing)


@torch.no_grad()
def forward_counters(made: Subject) -> dict[str, int]:
    """`forward_flops` and `forward_ops` of one plain evaluation of f."""
    found = counters(made.problem.f, (made.problem.x, *made.problem.args))
    return {f"forward_{name}": found[name] for name in ("flops", "ops")}
