"""The clock waits for the device: shown on a fake one with a queue and a time of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
import torch

from bench.device import DEVICES, Device, device_seconds, waiting


@dataclass
class FakeDevice:
    """Runs kernels one after the other behind the host, as a GPU does."""

    free_at: float = 0.0
    held: int = 0
    flushed: int = 0
    late: list[float] = field(default_factory=list)

    def launch(self, seconds: float) -> None:
        now = time.perf_counter()
        # A queue that ran empty starts when the host comes: that gap is not the kernel's time.
        self.late.append(max(0.0, now - self.free_at))
        self.free_at = max(self.free_at, now) + seconds

    def synchronize(self) -> None:
        while time.perf_counter() < self.free_at:
            pass

    def hold(self) -> None:
        self.held += 1
        self.launch(0.02)

    def flush(self) -> None:
        self.flushed += 1
        self.launch(0.003)

    def seen(self) -> Device:
        return Device(self.synchronize, lambda: FakeEvent(self), self.hold, self.flush)


@dataclass
class FakeEvent:
    device: FakeDevice
    at: float = 0.0

    def record(self) -> None:
        self.at = max(self.device.free_at, time.perf_counter())

    def elapsed_time(self, end: FakeEvent) -> float:
        return 1e3 * (end.at - self.at)


def test_wall_time_holds_the_kernel() -> None:
    """Without the wait a launch of 5 ms takes microseconds; with it, its 5 ms."""
    fake = FakeDevice()
    launch = lambda: fake.launch(5e-3)  # noqa: E731
    start = time.perf_counter()
    launch()
    assert time.perf_counter() - start < 2e-3
    fake.synchronize()
    start = time.perf_counter()
    waiting(launch, fake.seen())()
    assert time.perf_counter() - start >= 5e-3


@pytest.mark.parametrize("cold", [False, True])
def test_device_time_is_the_kernels_alone(cold: bool) -> None:
    """Neither the hold, nor the flush, nor a slow host is in it."""
    fake = FakeDevice()

    def call() -> None:
        time.sleep(2e-4)
        fake.launch(1e-3)

    found = device_seconds(call, fake.seen(), 10, cold=cold)
    assert found == pytest.approx([1e-3] * 10, rel=1e-6)
    assert (fake.held, fake.flushed) == (1, 10 if cold else 0)


def test_an_idle_device_would_count_the_host() -> None:
    """What the hold is for: without it the first events are as far apart as the host is slow."""
    fake = FakeDevice()
    seen = fake.seen()
    unheld = Device(seen.synchronize, seen.event, lambda: None)

    def call() -> None:
        time.sleep(2e-3)
        fake.launch(1e-3)

    assert min(device_seconds(call, unheld, 5)) > 2e-3


def test_the_host_has_no_queue() -> None:
    assert device_seconds(lambda: None, DEVICES["cpu"](), 3) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_real_device_is_waited_for() -> None:
    device = DEVICES["cuda"]()
    cycles = 20_000_000
    call = waiting(lambda: torch.cuda._sleep(cycles), device)
    call()
    start = time.perf_counter()
    call()
    assert time.perf_counter() - start > cycles / 4e9
