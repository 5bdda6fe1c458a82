"""The process of an arm that runs under callgrind: each case made ready, warmed up and counted.

`python -m bench.counting RUNNER SOURCE CASES ROWS [--strategies …] [--workload …]` counts the cases
of the file CASES and writes a row of each into the file ROWS, after one that says it is ready. The
dumps of a case are numbered by callgrind in the order in which they are written, and the row says
how many are its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .guard import die_with, proven

# Python specialises a function's bytecode in its first eight calls or so; torch fills caches in 3.
WARMUP_CALLS = 10
# Each is a dump of its own, of so many calls: between rounds lies the jitter of a case. Its largest
# part is what Python 3.11 cannot specialise and tries again in every 64th execution.
ROUNDS = 3
CALLS = 20


def main(runner: str, source: str, cases: str, rows: str, *arguments: str) -> int:
    """Count every case."""
    die_with(int(runner))
    proven(source)
    # Only now: these import `strategies`, from wherever it comes.
    from strategies import load_installed, load_strategies

    from .measure import freeze_old
    from .workloads import load_workload

    given = _given(arguments)
    ready = _ready()
    load_installed()
    for path in given.strategies:
        load_strategies(path)
    for spec in given.workload:
        load_workload(spec)
    freeze_old()
    with Path(rows).open("w", encoding="utf-8", buffering=1) as file:
        file.write(json.dumps(ready) + "\n")
        for axes in json.loads(Path(cases).read_text()):
            file.write(json.dumps(_counted(axes)) + "\n")
    return 0


def _ready() -> dict[str, str]:
    import torch

    if not hasattr(torch._C, "_valgrind_toggle"):
        sys.exit(f"torch {torch.__version__} is built without callgrind's toggles")
    # Callgrind does not know every instruction of the machine: kernels may run another form.
    return {"kind": "ready", "capability": torch.backends.cpu.get_cpu_capability()}


def _given(arguments: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--strategies", "--workload"):
        parser.add_argument(name, action="append", default=[])
    return parser.parse_args(arguments)


def _counted(axes: dict[str, Any]) -> dict[str, Any]:
    from strategies import Plan

    from .case import case_from_axes, subject
    from .record import recording

    # Of another commit's case that cannot even be named here.
    row: dict[str, Any] = {"kind": "row", **axes, "status": "error", "reason": "unknown axes"}
    dumps: list[int] = []
    try:
        with recording(case_from_axes(axes)) as row:
            made = subject(case_from_axes(axes))
            plan = made.prepare()
            if isinstance(plan, Plan):
                _count(partial(plan, *made.inputs), dumps)
            else:
                row["status"], row["reason"] = "unsupported", plan.reason
    except Exception:
        # The row holds what was raised; the other cases are still to be counted.
        pass
    return {**row, "dumps": len(dumps)}


def _count(call: Callable[[], object], dumps: list[int]) -> None:
    """Warm up, then write a dump for each round and note it."""
    import torch

    from .measure import no_garbage_collection

    with no_garbage_collection():
        for _ in range(WARMUP_CALLS):
            call()
        for number in range(ROUNDS):
            torch._C._valgrind_toggle()
            try:
                for _ in range(CALLS):
                    call()
            finally:
                # Also of a call that raised: what comes after it would be counted too.
                torch._C._valgrind_toggle_and_dump_stats()
                dumps.append(number)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
