"""The result file: its version, kinds of line, axes, fields, statuses and verdict words."""

from __future__ import annotations

# 1: first version.
SCHEMA = 1

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
    "train_s": [],
    "steal_s": None,
    "loops": None,
    "warmup": None,
    "counters": {},
    "instructions": None,
    "allocator_peak_bytes": None,
    "floor": {},
    "error": {},
    "chosen": None,
    "warnings": [],
}


def case_id(axes: dict[str, object]) -> str:
    """The printable name of a case: for selecting and for people; rows join on the axes."""
    params = axes.get("params") or {}
    parts = [axes["operator"], axes["strategy"], axes["workload"]]
    parts += [f"{name}={value}" for name, value in params.items()]  # type: ignore[attr-defined]
    parts += [f"B={axes['B']}", axes["dtype"], axes["device"]]
    parts += [
        f"{name}={axes[name]}"
        for name in ("execution", "threads", "create_graph", "chunk", "layout")
        if axes.get(name, AXES[name]) != AXES[name]
    ]
    return "/".join(str(part) for part in parts)
