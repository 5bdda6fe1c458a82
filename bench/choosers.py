"""What chooses among strategies, measured beside them as if it were one: `strategy="auto"`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from strategies import Plan, Refusal, Setting, TorchLimit, Unsupported, attempt, choose, find


@dataclass(frozen=True)
class Chooser:
    """How a plan comes about that no strategy was named for, and the sentence that says so."""

    choose: Callable[[Setting], Plan]
    summary: str


# By what a row names in place of a strategy: `reports.schema.CHOOSERS`.
CHOICES: Mapping[str, Chooser] = {
    "auto-rule": Chooser(choose, "Takes what the rule says of the sizes, and measures nothing."),
    "auto-race": Chooser(partial(choose, race=True), "Times a few strategies, takes the fastest."),
}


def planned(setting: Setting, name: str) -> Plan | Refusal:
    """The plan of the strategy or the chooser of that name, or its refusal."""
    if name not in CHOICES:
        return attempt(setting, find(setting.operator, name))
    try:
        return CHOICES[name].choose(setting)
    except Unsupported as refusal:
        return Refusal(name, str(refusal), isinstance(refusal, TorchLimit))
