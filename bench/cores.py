"""Cores claimed by lock files, so that two runs at once are not timed on one core."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .scratch import lock, user_folder


def cores() -> int:
    """How many cores this process may use."""
    asked = getattr(os, "sched_getaffinity", None)
    return len(asked(0)) if asked else os.cpu_count() or 1


@dataclass(frozen=True)
class Claim:
    """The cores that workers are pinned to, and what is to be said where there are too few."""

    cores: tuple[int, ...] = ()
    warning: str = ""


def for_threads(cores: Sequence[int], threads: int) -> tuple[int, ...]:
    """The cores of a worker of so many threads; none where there are fewer, since threads that
    share a core are slower than one."""
    return tuple(cores[:threads]) if threads <= len(cores) else ()


@contextmanager
def claimed_cores(count: int = 1) -> Iterator[Claim]:
    """Cores that no other run holds, at most so many, until the block ends.

    The last ones first: the first one serves the system's own work.
    """
    held: list[int] = []
    try:
        yield _claim(count, held)
    finally:
        for fd in held:
            os.close(fd)


def _claim(count: int, held: list[int]) -> Claim:
    """The claim; its locks are added to those held."""
    if not hasattr(os, "sched_getaffinity"):
        return Claim()
    found: list[int] = []
    try:
        for core in sorted(os.sched_getaffinity(0), reverse=True):
            fd = lock(user_folder() / f"core-{core}.lock", os.O_RDWR | os.O_CREAT)
            if fd is not None:
                held.append(fd)
                found.append(core)
            if len(found) == count:
                return Claim(tuple(found))
    except OSError as error:
        return Claim(warning=f"not pinned: cannot claim a core: {error}")
    if not found:
        return Claim(warning="not pinned: other runs hold every core, and disturb this one")
    said = f"{len(found)} of {count} cores are free: cases with more threads are not pinned"
    return Claim(tuple(found), said)
