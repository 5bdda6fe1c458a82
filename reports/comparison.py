"""What a comparison is made of: what two arms measured, verdicts, controls, the exit code.

Ratios are head / base of times; D is their logarithm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan

import pandas as pd

from .stages import RULES, Rules

# Worst first: the order of every output.
ORDER = (
    *("failing", "removed", "slower", "unclear", "not-comparable"),
    *("faster", "fixed", "new", "same"),
)
FAILS = ("failing", "removed", "slower")
COMPARED = ("failing", "fixed", "slower", "faster", "same", "unclear")


@dataclass(frozen=True)
class Comparison:
    """What two arms measured, `base` and `head`.

    `base`, `head`: the status of each case that an arm has, controls left out. `screen`, `confirm`:
    `D[pair, case]` = log(head) − log(base), one line for each pair of passes, NaN where either is
    missing; the confirmation is of fresh passes and holds at least the suspects. `controls`: the
    columns of D that contain no code of either arm. `barred`: cases that must not be compared, with
    the reason. `reasons`: why a case is not ok.
    """

    base: Mapping[str, str]
    head: Mapping[str, str]
    screen: pd.DataFrame
    confirm: pd.DataFrame | None = None
    controls: frozenset[str] = frozenset()
    barred: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One case: a word of `schema.VERDICTS`, and the numbers behind it (NaN where there is none).

    `ratio` head / base with its 95 % interval, of the confirmation where that judged; `sd` of one
    arm's log estimates between passes (that of D over √2); `mde` the least ratio that would have
    been called slower with power 0.8; `p` adjusted, of each stage. `waived`: why a slower case does
    not fail. `counters`: those that differ, (base, head).
    """

    case: str
    word: str
    reason: str = ""
    ratio: float = nan
    low: float = nan
    high: float = nan
    sd: float = nan
    mde: float = nan
    p_screen: float = nan
    p_confirm: float = nan
    waived: str = ""
    counters: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        """Whether it makes a comparison fail."""
        return self.word in FAILS and not self.waived


@dataclass(frozen=True)
class CountRules:
    """What a comparison of counts asks for: a ratio is judged where it differs from 1 by more than
    `least`, and where the rounds of its case differ by less."""

    least: float = 0.02


@dataclass(frozen=True)
class Control:
    """A control in one stage: its ratio with the 99 % interval, and whether that shows it moved."""

    name: str
    stage: str
    ratio: float
    low: float
    high: float
    moved: bool


@dataclass(frozen=True)
class Judgement:
    """Everything a comparison says: verdicts worst first, controls, and notes for the reader."""

    verdicts: tuple[Verdict, ...]
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = ()
    rules: Rules | CountRules = RULES

    @property
    def contaminated(self) -> bool:
        """Whether the machine differed between the arms: then no time can be judged."""
        return any(control.moved for control in self.controls)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases have each word, worst first."""
        found = Counter(verdict.word for verdict in self.verdicts)
        return {word: found[word] for word in ORDER if found[word]}


def exit_code(judgement: Judgement, *, strict: bool = False) -> int:
    """2 nothing could be compared; 1 something is slower, failing or removed; 3 contaminated, and
    where strict something unclear; else 0. The first that holds."""
    words = {verdict.word for verdict in judgement.verdicts}
    if not words & set(COMPARED):
        return 2
    if any(verdict.fails for verdict in judgement.verdicts):
        return 1
    return 3 if judgement.contaminated or (strict and "unclear" in words) else 0


def severity(verdict: Verdict) -> tuple[int, float, str]:
    """Key for sorting: the worst verdict first, within one the largest ratio."""
    ratio = verdict.ratio if isfinite(verdict.ratio) else 0.0
    return ORDER.index(verdict.word), -ratio, verdict.case


def by_status(comparison: Comparison) -> dict[str, Verdict]:
    """What needs no times: a case of one arm alone, or not ok, or barred."""
    cases = [
        case for case in [*comparison.base, *comparison.head] if case not in comparison.controls
    ]
    found = {case: _status_verdict(comparison, case) for case in dict.fromkeys(cases)}
    return {case: verdict for case, verdict in found.items() if verdict is not None}


def _status_verdict(comparison: Comparison, case: str) -> Verdict | None:
    before, after = comparison.base.get(case), comparison.head.get(case)
    said = comparison.reasons.get(case, "")
    why = f": {said}" if said else ""
    if before is None:
        return Verdict(case, "new", "" if after == "ok" else f"{after}{why}")
    if after is None:
        return Verdict(case, "removed", "" if before == "ok" else f"it was {before}")
    if before == "ok" != after:
        return Verdict(case, "failing", f"{after}{why}")
    if after == "ok" != before:
        return Verdict(case, "fixed", f"it was {before}")
    if after != "ok":
        both = f"{after} in both" if before == after else f"{before} in base, {after} in head"
        return Verdict(case, "not-comparable", f"{both}{why}")
    if case in comparison.barred:
        return Verdict(case, "not-comparable", comparison.barred[case])
    return None
