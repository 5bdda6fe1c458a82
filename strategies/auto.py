"""The choice behind `strategy="auto"`: an ordered list for what is asked; no trace, no timing.

The lists are fitted to published runs, see `rule`. `prepare` takes the first strategy that does not
refuse, so each list ends with the one that takes least for granted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from .operators import Operator
from .registry import Strategy, strategies_for
from .rule import Entry, read

TABLE = Path(__file__).with_name("rule.json")
RULE = read(TABLE)
# Whose lists a device takes of which no run is published.
NEAREST = "cpu"


@dataclass(frozen=True)
class Regime:
    """What the rule looks at: inputs n and outputs m a row, rows B, dtype, device, training, and
    whether the result is to be sparse, or directions are to be taken in chunks."""

    n: int
    m: int
    B: int
    dtype: torch.dtype
    device: str
    create_graph: bool
    sparse: bool = False
    chunked: bool = False


def candidates(operator: Operator, regime: Regime) -> list[str]:
    """The strategies to try, best first: those of the table, then those that it does not know, such
    as a user's own. Of a sparse or chunked result those that offer it, if any does."""
    there = {s.name: s for s in strategies_for(operator) if s.exact}
    _, _, entry = _found(operator, regime)
    names = [name for name in dict.fromkeys([*entry.take, *there]) if name in there]
    return [name for name in names if _offers(there[name], regime)] or names


def because(operator: Operator, regime: Regime) -> str:
    """In one line where the list of `candidates` is from, and what it was fitted to."""
    device, purpose, entry = _found(operator, regime)
    words = ", ".join([device, purpose, *map(str, entry.conditions)])
    said = f"the rule for {words}, fitted to run {' and '.join(RULE[device].runs)}"
    if device == regime.device:
        return said
    return f"{said}; no run on {regime.device} is published, the nearest device is {device}"


def _offers(strategy: Strategy, regime: Regime) -> bool:
    return strategy.sparse >= regime.sparse and strategy.chunks >= regime.chunked


def _found(operator: Operator, regime: Regime) -> tuple[str, str, Entry]:
    """The device and the purpose whose list is taken, and the entry of it that holds."""
    sizes = {"n": regime.n, "m": regime.m, "B": regime.B, "bytes": regime.dtype.itemsize}
    for device in (regime.device, NEAREST):
        for purpose in _purposes(regime):
            entries = RULE[device].entries.get((purpose, operator), ()) if device in RULE else ()
            for entry in entries:
                if all(condition.holds(sizes) for condition in entry.conditions):
                    return device, purpose, entry
    raise LookupError(f"{TABLE.name} has no list for {operator}: fit it to a run that measures it")


def _purposes(regime: Regime) -> Iterator[str]:
    """Whose lists the regime may take, its own first; all are of the same strategies."""
    special = (" sparse" if regime.sparse else "") + (" chunked" if regime.chunked else "")
    for how in dict.fromkeys([special, ""]):
        if regime.create_graph:
            yield f"train{how}"
        yield f"evaluate{how}"
