"""Signals as a request: seen where the runner waits, never in the middle of a line it writes."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


class Interrupted(Exception):
    """The run was asked to stop: Ctrl-C, SIGTERM, or its terminal was closed."""


@dataclass(frozen=True)
class Stop:
    """Becomes readable once the run is asked to stop; wait for it beside whatever else."""

    fd: int
    writer: int

    def ask(self) -> None:
        """Ask the run to stop."""
        with suppress(BlockingIOError):
            os.write(self.writer, b"x")

    def check(self) -> None:
        """Raise `Interrupted` where the run was asked to stop."""
        if select.select([self.fd], [], [], 0)[0]:
            raise Interrupted


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn the signals that ask a program to end into a `Stop`, however often they come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stop = Stop(reader, writer)
    before = {number: signal.signal(number, lambda *_: stop.ask()) for number in _asking()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _asking() -> list[signal.Signals]:
    # Python lets only the main thread set handlers; elsewhere who called decides.
    if threading.current_thread() is not threading.main_thread():
        return []
    found = [signal.SIGINT, signal.SIGTERM]
    # Under nohup the terminal may go.
    hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [*found, signal.SIGHUP] if hangup else found
