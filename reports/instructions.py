"""The judge of a comparison by instructions: from counts of both arms, a verdict on every case.

No statistics of many passes: counts of unchanged code differ by some hundredths of a percent, which
is measured in the same run and printed. What differs more than the rule's 2 % has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import pandas as pd

from .comparison import Comparison, CountRules, Judgement, Verdict, by_status, severity
from .load import Run
from .pairs import barred, reasons, statuses

RULES = CountRules()
# Of the functions that moved, as many as one line can hold.
NAMED = 3


@dataclass(frozen=True)
class Counts:
    """Instructions of one case in one arm: of every round, and by function where they were least.

    What disturbs a call, a table that grows, a cache that is missed, only adds: the least counts.
    """

    rounds: tuple[int, ...]
    functions: Mapping[str, int]

    @property
    def least(self) -> int:
        """Instructions of a call."""
        return min(self.rounds)

    @property
    def jitter(self) -> float:
        """How far the rounds are apart, as a part of the least."""
        return max(self.rounds) / self.least - 1


def judge(base: Run, head: Run, rules: CountRules = RULES) -> Judgement:
    """A verdict on every case of either arm, from one file of counts each."""
    before, after = counts(base), counts(head)
    comparison = Comparison(
        statuses(base.rows),
        statuses(head.rows),
        pd.DataFrame(),
        barred=barred(base, head),
        reasons=reasons(base.rows) | reasons(head.rows),
    )
    found = by_status(comparison)
    for case in [case for case in before if case in after and case not in found]:
        found[case] = verdict(case, before[case], after[case], rules)
    notes = tuple(_jitter(name, arm) for name, arm in (("base", before), ("head", after)) if arm)
    return Judgement(tuple(sorted(found.values(), key=severity)), (), notes, rules)


def counts(run: Run) -> dict[str, Counts]:
    """Of each case that was counted, its counts."""
    return {
        str(case): Counts(tuple(rounds), functions)
        for case, rounds, functions in run.rows[["id", "instructions", "functions"]].to_numpy()
        if rounds
    }


def verdict(case: str, before: Counts, after: Counts, rules: CountRules = RULES) -> Verdict:
    """The verdict on a case that is ok in both arms."""
    ratio, jitter = after.least / before.least, max(before.jitter, after.jitter)
    differ = {} if before.least == after.least else {"instructions": (before.least, after.least)}
    changed = abs(ratio - 1) > rules.least
    word = ("slower" if ratio > 1 else "faster") if changed else "same"
    said = f"rounds differ by {100 * jitter:.2f} %"
    if jitter > rules.least:
        word, said = "unclear", f"{said}, more than is to be seen"
    elif changed:
        said = f"what moved: {moved(before, after)}; {said}"
    return Verdict(case, word, said, ratio=ratio, counters=differ)


def moved(before: Counts, after: Counts) -> str:
    """The functions whose own instructions changed most, with by how much of the whole of base."""
    names = {*before.functions, *after.functions}
    change = {n: after.functions.get(n, 0) - before.functions.get(n, 0) for n in names}
    most = sorted(change, key=lambda name: (-abs(change[name]), name))[:NAMED]
    return ", ".join(f"{name} {100 * change[name] / before.least:+.1f} %" for name in most)


def _jitter(name: str, arm: Mapping[str, Counts]) -> str:
    worst = max(arm, key=lambda case: arm[case].jitter)
    middle = median(case.jitter for case in arm.values())
    return (
        f"jitter of {name}: {len(arm)} cases, {len(arm[worst].rounds)} rounds of each, differ by"
        f" {100 * middle:.2f} % (median), at most {100 * arm[worst].jitter:.2f} % ({worst})"
    )
