"""Cores claimed by lock files, so that two runs at once are not timed on one core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .scratch import lock, user_folder


def cores() -> int:
    """How many cores this process may use."""
    asked = getattr(os, "sched_getaffinity", None)
    return len(asked(0)) if asked else os.cpu_count() or 1


@dataclass(frozen=True)
class Claim:
    """The cores that workers are pinned to, and what is to be said where there are none."""

    cores: tuple[int, ...] = ()
    warning: str = ""


@contextmanager
def claimed_core() -> Iterator[Claim]:
    """A core that no other run holds, until the block ends.

    The last one first: the first one serves the system's own work.
    """
    claim, held = _claim()
    try:
        yield claim
    finally:
        if held is not None:
            os.close(held)


def _claim() -> tuple[Claim, int | None]:
    if not hasattr(os, "sched_getaffinity"):
        return Claim(), None
    try:
        for core in sorted(os.sched_getaffinity(0), reverse=True):
            held = lock(user_folder() / f"core-{core}.lock", os.O_RDWR | os.O_CREAT)
            if held is not None:
                return Claim((core,)), held
    except OSError as error:
        return Claim(warning=f"not pinned: cannot claim a core: {error}"), None
    return Claim(warning="not pinned: other runs hold every core, and disturb this one"), None
