"""The result file: its version, kinds of line, axes, fields, statuses and verdict words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# 1: first version.
SCHEMA = 1

# The operator of rows that measure the machine, with no code of ours.
CONTROL = "control"

# What `strategy="auto"` takes, by its rule and by measuring: rows like those of strategies, which
# compete with nobody, since each of them runs the code of one that does.
CHOOSERS = ("auto-rule", "auto-race")
RACE = "auto-race"

# A comparison: its arms, its stages by times, and the one by instructions.
ARMS = ("base", "head")
STAGES = ("screen", "confirm")
COUNTED = "instructions"

KINDS = ("run", "started", "row", "resume", "end")
STATUSES = ("ok", "wrong", "unsupported", "error", "oom", "timeout", "crashed", "skipped")
FAULTS = ("wrong", "error", "crashed")
VERDICTS = (
    "faster",
    "slower",
    "same",
    "unclear",
    "new",
    "removed",
    "failing",
    "fixed",
    "not-comparable",
)

# The coordinates of a case, with what an absent one means.
AXES: dict[str, object] = {
    "operator": "",
    "strategy": "",
    "execution": "eager",
    "workload": "",
    "params": {},
    "in_shape": [],
    "out_shape": [],
    "B": 0,
    "n": 0,
    "m": 0,
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "create_graph": False,
    "chunk": None,
    "layout": "dense",
}

# What is measured of a case in one pass, with what an absent one means. Seconds and bytes.
# error: `relative` in the norm of the whole, at most `tolerance` (None of an estimator);
# `elementwise` of the worst entry over the scale of the numbers behind it, at most ten times that;
# `digits`; of the reference the `method` and the `bound` of its own relative error, absolute where
# it is zero.
MEASURES: dict[str, object] = {
    "pass": 0,
    "order": 0,
    "status": "",
    "reason": "",
    "prepare_s": None,
    "first_s": None,
    "wall_s": [],
    "cpu_s": [],
    "device_s": [],
    # With the second-level cache flushed before each call.
    "device_cold_s": [],
    "train_s": [],
    "train_cpu_s": [],
    # Of one plain evaluation of f, without a graph; the same for all cases of a problem in a
    # process.
    "forward_s": [],
    "forward_cpu_s": [],
    # Of the products of the best known method, alone; the same for all cases of an operator on a
    # problem in a process.
    "products_s": [],
    "products_cpu_s": [],
    "steal_s": None,
    # Of a GPU, before and after the rounds: `sm_hz`, `memory_hz`.
    "clocks": {},
    # By what for: prepare, reference, calls, forward, floor, counters; the rest of a run is the
    # suite's own time.
    "spent_s": {},
    "loops": None,
    "warmup": None,
    # flops ops elements storage_bytes peak_bytes result_bytes calls fallbacks forward_flops
    # forward_ops train_peak_bytes, as far as the row has them: docs/method.md, section Counters.
    "counters": {},
    # Of a call on the CPU, in every round; and of each native function itself in the least of them.
    "instructions": [],
    "functions": {},
    "allocator_peak_bytes": None,
    # The best known method's: flops, bytes, launches; where f declares its layers.
    "floor": {},
    "error": {},
    # Of an estimator: `samples`, `std_error` of one evaluation over the norm of the reference, and
    # by how many `evaluations` it was judged.
    "estimate": {},
    "chosen": None,
    # Of coverage rows: the status with the table of unsafe operations on.
    "guarded": None,
    "warnings": [],
}


# Of a run's environment what its times depend on, and what no run on the same machine changes.
MACHINE = ("cpu", "cores", "gpu", "cuda", "python", "torch", "blas", "capability", "threads")

Axes = Mapping[str, Any]


def stage_file(stage: str, arm: str) -> str:
    """The name of the result file of an arm in a stage of a comparison."""
    return f"{stage}-{arm}.jsonl"


# How a strategy runs: with its name it is what competes within a contest.
_RUNS = ("execution", "chunk")
# Where it runs: the same for all that compete.
_WHERE = ("threads", "create_graph", "layout")


def case_id(axes: Axes) -> str:
    """The printable name of a case: for selecting and for people; rows join on the axes."""
    head = [axes["operator"], axes["strategy"], *_problem(axes)]
    return "/".join([*head, *_unusual(axes, (*_RUNS, *_WHERE))])


def contest_id(axes: Axes) -> str:
    """The printable name of what is compared: a case without its strategy and how that runs."""
    return "/".join([axes["operator"], *_problem(axes), *_unusual(axes, _WHERE)])


def way(axes: Axes) -> str:
    """What competes in a contest: a strategy and how it runs."""
    return " ".join([axes["strategy"], *_unusual(axes, _RUNS)])


def _problem(axes: Axes) -> list[str]:
    params = [f"{name}={value}" for name, value in (axes.get("params") or {}).items()]
    return [axes["workload"], *params, f"B={axes['B']}", axes["dtype"], axes["device"]]


def _unusual(axes: Axes, names: Sequence[str]) -> list[str]:
    found = [(name, axes.get(name, AXES[name])) for name in names]
    return [f"{name}={value}" for name, value in found if value != AXES[name]]
