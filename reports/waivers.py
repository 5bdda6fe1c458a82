"""Waivers: slower cases that a project has decided to live with, up to a ceiling and a date.

```toml
[[waiver]]
case = "hessian/loop-*"          # an id, or a pattern with * and ?
ceiling = 1.30                   # ratio head / base
expires = 2027-03-31             # the last day on which it holds
reason = "the check added with the new contract; to be moved into prepare"
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .comparison import Judgement, Verdict


class WaiverFileError(ValueError):
    """A file of waivers that cannot be read; the message is one line and says why."""


@dataclass(frozen=True)
class Waiver:
    """Slower cases that match do not fail up to `ceiling`, a ratio, through the day `expires`."""

    case: str
    ceiling: float
    expires: date
    reason: str

    def covers(self, case: str) -> bool:
        """Whether it is about this case: its id, or a pattern that the id matches."""
        return self.case == case or fnmatchcase(case, self.case)


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "case": ((str,), "a text"),
    "ceiling": ((int, float), "a ratio above 1"),
    "expires": ((date,), "a date such as 2027-03-31"),
    "reason": ((str,), "a text"),
}


def read_waivers(path: str | Path) -> tuple[Waiver, ...]:
    """The waivers of a TOML file. Raises `WaiverFileError`, which names the entry and the field."""
    try:
        whole = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise WaiverFileError(f"cannot read {path}: {said}") from error
    entries = whole.get("waiver", [])
    if set(whole) - {"waiver"} or not isinstance(entries, list):
        raise WaiverFileError(f"{path}: it holds [[waiver]] entries and nothing else")
    return tuple(_waiver(f"{path}, waiver {n}", e) for n, e in enumerate(entries, start=1))


def _waiver(where: str, entry: Any) -> Waiver:
    if not isinstance(entry, dict) or set(entry) != set(_TYPES):
        raise WaiverFileError(f"{where}: it has case, ceiling, expires and reason, no other field")
    for name, (types, said) in _TYPES.items():
        # To Python a date and time is a date, and true a number.
        if not isinstance(entry[name], types) or isinstance(entry[name], bool | datetime):
            raise WaiverFileError(f"{where}: {name} is {said}")
    found = Waiver(**entry)
    if not found.case.strip() or not found.reason.strip():
        raise WaiverFileError(f"{where}: case and reason say something")
    if not 1 < found.ceiling < float("inf"):
        raise WaiverFileError(f"{where}: ceiling is {_TYPES['ceiling'][1]}")
    return found


def waive(judgement: Judgement, waivers: Sequence[Waiver], today: date) -> Judgement:
    """The judgement with slower cases waived, and a note for each waiver that does nothing.

    An expired waiver is an error that the notes state: what it covers counts again.
    """
    valid = [waiver for waiver in waivers if waiver.expires >= today]
    verdicts = tuple(_waived(verdict, valid) for verdict in judgement.verdicts)
    expired = [_expired(w, judgement) for w in waivers if w.expires < today]
    cases = [verdict.case for verdict in judgement.verdicts]
    idle = [
        f"the waiver of {waiver.case} covers no case"
        for waiver in valid
        if not any(waiver.covers(case) for case in cases)
    ]
    return replace(judgement, verdicts=verdicts, notes=(*judgement.notes, *expired, *idle))


def _waived(verdict: Verdict, valid: Sequence[Waiver]) -> Verdict:
    if verdict.word != "slower":
        return verdict
    about = [waiver for waiver in valid if waiver.covers(verdict.case)]
    within = [waiver for waiver in about if verdict.ratio <= waiver.ceiling]
    if within:
        said = f"up to {within[0].ceiling:.2f}× until {within[0].expires}: {within[0].reason}"
        return replace(verdict, waived=said)
    if about:
        most = max(waiver.ceiling for waiver in about)
        return replace(verdict, reason=f"above the ceiling of its waiver, {most:.2f}×")
    return verdict


def _expired(waiver: Waiver, judgement: Judgement) -> str:
    slower = [v.case for v in judgement.verdicts if v.word == "slower" and waiver.covers(v.case)]
    again = f"; slower cases that count again: {len(slower)}" if slower else ""
    return f"error: the waiver of {waiver.case} expired on {waiver.expires}{again}"
