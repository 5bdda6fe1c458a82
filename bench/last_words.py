"""What a worker said last: the end of its output, and the line of it that tells most."""

from __future__ import annotations

import os
import re

KEPT = 1 << 14
LONGEST = 300

_FATAL = re.compile(r"Fatal Python error: (.+)")
_FRAME = re.compile(r'File "(?:.*/)?(.+)", line (\d+) in (\w+)')
# Of a dump of all threads, the lines at its end tell nothing.
_DULL = ("Extension modules:", "  File ")


class Tail:
    """The end of what comes through a pipe; the rest is read and dropped, so that nobody waits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._kept = b""

    def read(self) -> bool:
        """Take what is there; False once there will be no more."""
        received = os.read(self.fd, 1 << 20)
        self._kept = (self._kept + received)[-KEPT:]
        return bool(received)

    def words(self) -> str:
        """The last words, one line."""
        return last_words(self._kept.decode(errors="replace"))


def last_words(text: str) -> str:
    """Where a fatal error was, else the last line that says something."""
    if fatal := _FATAL.search(text):
        frame = _FRAME.search(text, fatal.end())
        return fatal[1] + (f" in {frame[1]}, line {frame[2]}, {frame[3]}" if frame else "")
    said = (line.rstrip() for line in reversed(text.splitlines()))
    line = next((s for s in said if s.strip() and not s.startswith(_DULL)), "no output")
    return line.strip()[:LONGEST]
