"""How much memory a worker may take: a case that wants more is `oom`, and nothing else suffers."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path

SHARE = 0.8
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def bytes_of(text: str) -> int:
    """Bytes as a number, or with a unit: `8 GiB`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found[2] not in _UNITS or not float(found[1]):
        raise ValueError(f'memory reads like "8 GiB" or 8000000000, not {text!r}')
    return int(float(found[1]) * _UNITS[found[2]])


def default_limit() -> int:
    """Four fifths of the machine's memory, or of what the container may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # No container, or one without a limit ("max").
    with suppress(OSError, ValueError):
        total = min(total, int(_CONTAINER.read_text()))
    return int(SHARE * total)


def limit_memory(amount: int) -> None:
    """Let this process map so many bytes more than it has mapped, for torch and its libraries.

    Addresses, not pages in use, are what the system can limit for one process.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    mapped = pages * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + amount
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
