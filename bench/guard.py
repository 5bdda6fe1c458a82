"""What a worker does before anything else: it ties itself to its runner, its core and its code.

`python -m bench.guard RUNNER CORES SOURCE …` runs pytest with the rest. Only the standard library
is imported first: a runner that dies while torch is being imported leaves no worker behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

SET_PARENT_DEATH_SIGNAL = 1


def die_with(runner: int) -> None:
    """Where the system can: a worker whose runner was killed would measure on, for nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # A runner that died before the call above sends no signal any more.
    if os.getppid() != runner:
        sys.exit("the runner is gone")


def pin(cores: str) -> None:
    """Keep to these cores; an empty text keeps to none."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def proven(source: str) -> None:
    """Import `strategies`, and end where it is not the one in this folder; empty, whichever comes.

    Before pytest, which puts the folder of its tests in front of all others.
    """
    import strategies

    found = Path(strategies.__file__ or "").parent
    if source and found.resolve() != Path(source, "strategies").resolve():
        sys.exit(f"strategies came from {found}, not from {source}")


def main(runner: str, cores: str, source: str, *arguments: str) -> int:
    """Be a worker."""
    die_with(int(runner))
    pin(cores)
    proven(source)
    import pytest

    return int(pytest.main(list(arguments)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
