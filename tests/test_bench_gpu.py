"""Clocks and limits of a GPU, on a fake management library; what a row keeps of a device."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_runs import header

from bench import environment, gpu, measure
from bench import test_time as timing
from bench.device import DEVICES, Device
from bench.grid import blocks, cases
from bench.plugin import TIMES
from bench.record import Row, recording
from reports.answer import environment as shown
from reports.load import Run, load
from reports.schema import MEASURES

UUID = "12345678-9abc-def0-1234-56789abcdef0"
CASE = cases(blocks("smoke"), only=["jacobian/vmap-jacrev/"])[0]


class FakeError(Exception):
    """What the library raises."""


@dataclass
class FakeLibrary:
    """`pynvml` with one device: megahertz and milliwatts, as the real one has them."""

    NVMLError: type[Exception] = FakeError
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2
    now: dict[int, int] = field(default_factory=lambda: {1: 1410, 2: 2619})
    refused: tuple[str, ...] = ()

    def _allowed(self, name: str) -> None:
        if name in self.refused:
            raise FakeError(f"{name}: Not Supported")

    def nvmlInit(self) -> None:
        self._allowed("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != f"GPU-{UUID}":
            raise FakeError("Not Found")
        return "handle"

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        self._allowed(f"clock {clock}")
        assert handle == "handle"
        return self.now[clock]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, clock: int) -> int:
        return {1: 1980, 2: 2619}[clock]

    def nvmlDeviceGetPowerManagementLimit(self, handle: str) -> int:
        self._allowed("power")
        return 700_000


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLibrary]:
    fake = FakeLibrary()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    properties = SimpleNamespace(uuid=UUID, name="Fake GPU", total_memory=8)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    gpu.gpu.cache_clear()
    yield fake
    gpu.gpu.cache_clear()


def test_clocks_are_hertz_and_power_is_watts(library: FakeLibrary) -> None:
    found = gpu.gpu()
    assert gpu.clocks(found) == {"sm_hz": 1_410_000_000, "memory_hz": 2_619_000_000}
    limits = {"sm_hz": 1_980_000_000, "memory_hz": 2_619_000_000, "power_w": 700}
    assert gpu.limits(found) == limits


def test_what_the_driver_refuses_is_absent(library: FakeLibrary) -> None:
    library.refused = ("clock 2", "power")
    assert gpu.clocks(gpu.gpu()) == {"sm_hz": 1_410_000_000}
    assert "power_w" not in gpu.limits(gpu.gpu())


def test_without_a_driver_or_a_device_it_knows_nothing_is_said(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.refused = ("init",)
    assert gpu.gpu() is None
    gpu.gpu.cache_clear()
    library.refused = ()
    slice_ = SimpleNamespace(uuid="of a slice")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: slice_)
    assert gpu.gpu() is None
    assert (gpu.clocks(None), gpu.limits(None)) == ({}, {})


def test_without_the_library_nothing_is_said(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.gpu() is None


def test_the_environment_has_the_limits_and_every_tf32_switch(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = environment.environment("cuda", 1, [])
    assert (found["gpu"], found["gpu_limits"]["power_w"]) == ("Fake GPU", 700)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not found["tf32_cudnn"])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        changed = environment.environment("cpu", 1, [])
    finally:
        torch.set_float32_matmul_precision(before)
    assert (found["tf32"], changed["tf32"]) == (False, True)
    assert changed["tf32_cudnn"] is not found["tf32_cudnn"]
    assert (found["float32_matmul_precision"], changed["float32_matmul_precision"]) == (
        *("highest", "medium"),
    )
    assert (changed["gpu"], changed["gpu_limits"]) == (None, {})


def looks(*sm: int) -> Any:
    """A device that is seen with these clocks, one after the other."""
    return iter([{"sm_hz": mhz * 1_000_000} for mhz in sm]).__next__


def timed_with(look: Any) -> Row:
    with recording(CASE) as row, gpu.steady(look, row):
        pass
    return row


def test_a_row_has_the_clocks_before_and_after() -> None:
    row = timed_with(looks(1980, 1965))
    assert row["clocks"] == {"sm_hz": [1_980_000_000, 1_965_000_000]}
    assert row["warnings"] == []


@pytest.mark.parametrize("after", [1400, 2400])
def test_a_clock_that_changed_much_is_a_warning_of_the_row(after: int) -> None:
    row = timed_with(looks(1980, after))
    said = f"sm clock went from 1980 to {after} MHz while this was timed"
    assert (row["status"], row["warnings"]) == ("ok", [said])


def test_where_clocks_are_not_known_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert timed_with(dict)["clocks"] == {}


@dataclass
class Queue:
    """A device whose clock stands still but for kernels; a flushed cache doubles their time."""

    now: float = 0.0
    flushed: bool = False

    def launch(self) -> None:
        self.now += 2e-3 if self.flushed else 1e-3
        self.flushed = False

    def flush(self) -> None:
        self.flushed = True

    def event(self) -> SimpleNamespace:
        mark = SimpleNamespace(at=0.0)
        mark.record = lambda: setattr(mark, "at", self.now)
        mark.elapsed_time = lambda end: 1e3 * (end.at - mark.at)
        return mark

    def seen(self) -> Device:
        look = {"sm_hz": 5}
        return Device(lambda: None, self.event, lambda: None, self.flush, lambda: look)


def pedantic(call: Any, rounds: int, iterations: int) -> None:
    for _ in range(rounds):
        measure.clock()
        for _ in range(iterations):
            call()
        measure.clock()


def test_a_row_has_device_times_warm_and_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue()
    monkeypatch.setitem(DEVICES, "cpu", queue.seen)
    prepared = timing._prepared

    def launching(made: Any, row: Row) -> Any:
        plan = prepared(made, row)

        def evaluate(*inputs: Any) -> Any:
            queue.launch()
            return plan(*inputs)

        return evaluate

    monkeypatch.setattr(timing, "_prepared", launching)
    stats = SimpleNamespace(stats=SimpleNamespace(data=[1.0]))
    benchmark = SimpleNamespace(enabled=True, pedantic=pedantic, stats=stats, extra_info={})
    option = SimpleNamespace(bench_pass=1, inject=[])
    request = SimpleNamespace(node=SimpleNamespace(stash={}), config=SimpleNamespace(option=option))
    rows: dict[str, Row] = {}
    timing.test_time(CASE, benchmark, tmp_path, rows, {}, {}, request)
    row = rows[CASE.id]
    assert row["status"] == "ok", row["reason"]
    assert row["device_s"] == pytest.approx([1e-3] * measure.ROUNDS)
    assert row["device_cold_s"] == pytest.approx([2e-3] * measure.ROUNDS)
    assert row["clocks"] == {"sm_hz": [5, 5]}


# Lists of a row that are no seconds.
NO_TIMES = {"warnings", "instructions"}


def test_a_row_that_is_not_ok_keeps_no_time() -> None:
    assert {name for name, absent in MEASURES.items() if absent == []} - NO_TIMES == set(TIMES)


def of(**machine: Any) -> Run:
    golden = load(Path(__file__).parent / "data" / "schema-1.jsonl")
    changed = {**header(), "environment": {**header()["environment"], **machine}}
    return Run(golden.path, changed, golden.rows, ())


@pytest.mark.parametrize(
    ("machine", "gpu_said", "tf32_said"),
    [
        ({}, "none", "off"),
        ({"gpu": "H", "gpu_limits": {}, "tf32_cudnn": True}, "H", "off, in cuDNN on"),
        (
            {"gpu": "H", "gpu_limits": {"sm_hz": 1_980_000_000, "power_w": 700}, "tf32": True},
            *("H, at most 1980 MHz and 700 W", "on"),
        ),
    ],
    ids=["old", "unknown", "known"],
)
def test_the_page_says_what_is_known(
    machine: dict[str, Any], gpu_said: str, tf32_said: str
) -> None:
    found = shown(of(**machine))
    assert (found["GPU"], found["TF32"]) == (gpu_said, tf32_said)
