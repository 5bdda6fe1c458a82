"""The rule of `strategy="auto"` as it is kept: ordered lists of strategies in `rule.json`.

    device → {"runs": [what the lists were fitted to],
              "lists": {purpose: {operator: [{"when": condition, "take": [strategies]}, …]}}}

Best first, a list a line; the first entry whose condition holds counts, the last has none. Written
by `python -m reports fit docs/published/*.jsonl.gz --into strategies/rule.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_OPPOSITE = {"<=": ">", ">": "<="}


@dataclass(frozen=True)
class Condition:
    """A feature, such as `B*n` or `m/n`, at most (`<=`) or above (`>`) a threshold."""

    feature: str
    sign: str
    threshold: float

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it does at these sizes: `n`, `m`, `B` and the `bytes` of a number."""
        above, _, below = self.feature.partition("/")
        value = prod(sizes[name] for name in above.split("*")) / (sizes[below] if below else 1)
        return (value <= self.threshold) == (self.sign == "<=")

    def opposite(self) -> Condition:
        """What holds where this does not."""
        return Condition(self.feature, _OPPOSITE[self.sign], self.threshold)

    def __str__(self) -> str:
        return f"{self.feature} {self.sign} {self.threshold:.12g}"


@dataclass(frozen=True)
class Entry:
    """A list, best first, and the conditions that lead to it."""

    conditions: tuple[Condition, ...]
    take: tuple[str, ...]


@dataclass(frozen=True)
class Lists:
    """The entries of a device by purpose and operator, and the runs that they were fitted to."""

    runs: tuple[str, ...]
    entries: Mapping[tuple[str, str], Sequence[Entry]]


def read(path: Path) -> Mapping[str, Lists]:
    """The lists of each device."""
    devices = json.loads(path.read_text(encoding="utf-8"))
    return {device: _lists(given) for device, given in devices.items()}


def _lists(given: Mapping[str, Any]) -> Lists:
    entries = {
        (purpose, operator): tuple(_entries(lists))
        for purpose, operators in given["lists"].items()
        for operator, lists in operators.items()
    }
    return Lists(tuple(run["run"] for run in given["runs"]), entries)


def _entries(lists: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    before: tuple[Condition, ...] = ()
    for entry in lists:
        here = (_condition(entry["when"]),) if "when" in entry else ()
        yield Entry(before + here, tuple(entry["take"]))
        before += tuple(condition.opposite() for condition in here)


def _condition(text: str) -> Condition:
    feature, sign, threshold = text.split()
    return Condition(feature, sign, float(threshold))
