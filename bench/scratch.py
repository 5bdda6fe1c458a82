"""What runs keep outside the result file: locks, and a temporary folder for each run."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .record import ResultsError


def user_folder() -> Path:
    """The folder in which the runs of this user see each other."""
    path = Path(tempfile.gettempdir(), f"input-derivatives-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def lock(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Take the lock of a file or folder until its descriptor is closed; None where it is taken.

    The system frees the lock of a process that dies, so no lock outlives its run.
    """
    fd = os.open(path, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this run alone, removed at its end; those of killed runs go too."""
    try:
        path, held = _made()
    except OSError as error:
        raise ResultsError(f"cannot make a temporary folder: {error}; try TMPDIR=…") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if held is not None:
            os.close(held)


def _made() -> tuple[Path, int | None]:
    with _alone():
        _sweep()
        path = Path(tempfile.mkdtemp(prefix="run-", dir=user_folder()))
        return path, lock(path)


# Between making a folder and locking it, another run would take it for one of a dead run.
@contextmanager
def _alone() -> Iterator[None]:
    with (user_folder() / "scratch.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep() -> None:
    for path in user_folder().glob("run-*"):
        held = lock(path)
        if held is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(held)
