"""The timed loop: build, check the answer on the same tensors, warm up, size, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from strategies import Plan, Refusal
from strategies.memory import cuda_peak_bytes

from . import measure
from .case import Case, Subject, subject
from .check import Checked
from .check_estimates import check_plan
from .choosers import CHOICES
from .controls import Control, work
from .counted import UNCOUNTED, counted
from .device import DEVICES, Device, device_seconds, waiting
from .forward import Rounds, forward_seconds
from .gpu import steady
from .plugin import ROW
from .products import floor_of, products_seconds
from .record import Row, recording, spending
from .training import training_step


def test_time(
    case: Case,
    benchmark: Any,
    references: Path,
    rows: dict[str, Row],
    forwards: dict[str, Rounds],
    products: dict[str, Rounds],
    request: Any,
) -> None:
    """One case of one pass: `wall_s` and `cpu_s` a call for every round, and those of f itself."""
    with recording(case) as row:
        request.node.stash[ROW] = rows[case.id] = row
        made = subject(case)
        plan = _prepared(made, row)
        made = made.taken(row.get("chosen", case.strategy))
        _checked(made, plan, references, row)
        device, evaluate = DEVICES[case.device](), partial(plan, *made.inputs)
        call = _injected(waiting(evaluate, device), case, request)
        with spending(row, "calls"):
            row["wall_s"], row["cpu_s"] = _timed(call, benchmark, row, device)
            row["device_s"] = device_seconds(evaluate, device, measure.ROUNDS)
            row["device_cold_s"] = device_seconds(evaluate, device, measure.ROUNDS, cold=True)
        with spending(row, "forward"):
            row["forward_s"], row["forward_cpu_s"] = forward_seconds(made, device, forwards)
        with spending(row, "floor"):
            _floored(made, device, products, row)
        if not request.config.option.bench_pass and case.execution not in UNCOUNTED:
            with spending(row, "counters"):
                _counted(made, call, row)
        benchmark.extra_info.update(
            {
                **case.axes,
                "prepare_s": row["prepare_s"],
                "error": row["error"],
                "device_s": row["device_s"],
            }
        )


def test_train(case: Case, benchmark: Any, rows: dict[str, Row], request: Any) -> None:
    """The case as a training step takes it: plan, squared sum, gradient to the parameters."""
    row = request.node.stash[ROW] = rows[case.id]
    if row["status"] != "ok":
        pytest.skip(f"{row['status']}: {row['reason']}")
    made = subject(case).taken(row.get("chosen", case.strategy))
    with spending(row, "prepare"):
        plan = made.prepare()
    assert isinstance(plan, Plan)
    device = DEVICES[case.device]()
    call = _injected(waiting(training_step(plan, made), device), case, request)
    with recording(case) as trained, spending(row, "calls"):
        row["train_s"], row["train_cpu_s"] = _timed(call, benchmark, trained, device)
    if trained["status"] != "ok":
        row.update(status=trained["status"], reason=f"training: {trained['reason']}")


def test_control(case: Control, benchmark: Any, request: Any) -> None:
    """What the machine does in this pass without any code of ours."""
    with recording(case) as row:
        request.node.stash[ROW] = row
        device = DEVICES[case.device]()
        made = work(case)
        row["counters"] = dict(made.counters)
        with spending(row, "controls"):
            row["wall_s"], row["cpu_s"] = _timed(waiting(made.call, device), benchmark, row, device)
            row["device_s"] = device_seconds(made.call, device, measure.ROUNDS)


def _prepared(made: Subject, row: Row) -> Plan:
    with spending(row, "prepare"), cold(made.case.execution):
        start = time.perf_counter()
        plan = made.prepare()
        row["prepare_s"] = time.perf_counter() - start
    if isinstance(plan, Refusal):
        row["status"], row["reason"], row["prepare_s"] = "unsupported", plan.reason, None
        pytest.skip(plan.reason)
    if made.case.strategy in CHOICES:
        row["chosen"] = plan.strategy
    return plan


@contextmanager
def cold(execution: str) -> Iterator[None]:
    """Without what inductor compiled in an earlier pass or run: compiling is what is measured."""
    if execution != "compile":
        yield
        return
    # Importing inductor takes seconds once a process, whoever comes first.
    from torch._inductor.utils import fresh_cache

    with fresh_cache():
        yield


def _checked(made: Subject, plan: Plan, references: Path, row: Row) -> None:
    with spending(row, "calls"):
        start = time.perf_counter()
        result = plan(*made.inputs)
        DEVICES[made.case.device]().synchronize()
        row["first_s"] = time.perf_counter() - start
    assert isinstance(result, Tensor)
    with spending(row, "reference"):
        found: Checked = check_plan(made, plan, result, references)
    row.update(found.fields)
    if found.reason:
        (pytest.fail if found.status == "wrong" else pytest.skip)(found.reason)


def _floored(made: Subject, device: Device, products: dict[str, Rounds], row: Row) -> None:
    if least := floor_of(made):
        row["floor"] = least.fields
        row["products_s"], row["products_cpu_s"] = products_seconds(made, least, device, products)


# Exact and repeatable, so once a run is enough: in its first pass.
def _counted(made: Subject, call: Callable[[], None], row: Row) -> None:
    found = counted(made)
    assert not isinstance(found, Refusal), found.reason
    row["counters"] = found
    if made.case.device == "cuda":
        row["allocator_peak_bytes"] = cuda_peak_bytes(call)


def _timed(
    call: Callable[[], None], benchmark: Any, row: Row, device: Device
) -> tuple[list[float], list[float]]:
    warm = measure.warm_up(call)
    sizing = measure.size(warm.call_s)
    steal = measure.steal_seconds()
    with measure.no_garbage_collection(), steady(device.clocks, row):
        measure.readings.clear()
        benchmark.pedantic(call, rounds=sizing.rounds, iterations=sizing.iterations)
    row["steal_s"] = measure.steal_seconds() - steal
    row["warmup"], row["loops"] = warm.calls, sizing.iterations
    wall = list(benchmark.stats.stats.data) if benchmark.enabled else []
    return wall, measure.cpu_seconds(sizing.iterations)


def _injected(call: Callable[[], None], case: Case, request: Any) -> Callable[[], None]:
    given = (text.rpartition("=") for text in request.config.option.inject)
    ratio = {name: float(number) for name, _, number in given}.get(case.id)
    return measure.slowed(call, ratio) if ratio else call
