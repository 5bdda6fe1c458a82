"""The judge of a comparison: from paired differences and statuses, a verdict on every case.

Pure: no files, no clock, no torch. D[pair, case] = log(head) − log(base).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd

from .comparison import (
    Comparison,
    Control,
    Judgement,
    Verdict,
    by_status,
    exit_code,
    severity,
)
from .signflip import Array, MaxT, TooFewPairsError, require_pairs
from .stages import RULES, Rules, Screened, confirmed, minimum_detectable, screened, t_interval

__all__ = [
    "RULES",
    "Comparison",
    "Control",
    "Judgement",
    "Rules",
    "TooFewPairsError",
    "Verdict",
    "exit_code",
    "judge",
    "require_pairs",
    "suspects",
]

_DIRECTIONS = {1: "slower", -1: "faster"}
_TIMED = ("slower", "faster", "same", "unclear")


@dataclass(frozen=True)
class _Stage:
    """The cases of a stage with every pair, judged as one family; verdicts on those without."""

    D: pd.DataFrame
    calls: Mapping[str, int] = field(default_factory=dict)
    test: MaxT | None = None
    incomplete: tuple[Verdict, ...] = ()


def suspects(comparison: Comparison, rules: Rules = RULES) -> tuple[str, ...]:
    """The cases that the screen suspects: those to measure again, beside the controls."""
    return _called(_screen(comparison, rules))


def judge(comparison: Comparison, rules: Rules = RULES) -> Judgement:
    """A verdict on every case of either arm, controls left out.

    Raises `TooFewPairsError` where a stage has too few pairs for its level.
    """
    first = _screen(comparison, rules)
    again = _stage(comparison.confirm, _called(first), "confirmation: ", confirmed, rules)
    found = [*by_status(comparison).values(), *first.incomplete, *again.incomplete]
    found += _timed(first, again, rules)
    controls, notes = _controls(comparison, rules)
    moved = [control for control in controls if control.moved]
    if moved:
        found = [_disowned(verdict, moved[0]) for verdict in found]
    return Judgement(tuple(sorted(found, key=severity)), controls, notes, rules)


def _called(stage: _Stage) -> tuple[str, ...]:
    return tuple(case for case, call in stage.calls.items() if call)


def _screen(comparison: Comparison, rules: Rules) -> _Stage:
    settled = {*by_status(comparison), *comparison.controls}
    timed = [case for case in comparison.base if case in comparison.head and case not in settled]
    return _stage(comparison.screen, timed, "", screened, rules)


def _stage(
    table: pd.DataFrame | None,
    cases: Sequence[str],
    name: str,
    judged: Callable[[Any, Rules], Screened],
    rules: Rules,
) -> _Stage:
    if table is None:
        return _Stage(pd.DataFrame())
    D = table.reindex(columns=list(cases)).astype(float)
    pairs = np.isfinite(D).sum()
    incomplete = [
        Verdict(case, "not-comparable", f"{name}{n} of {len(D)} pairs of passes have both times")
        for case, n in pairs.items()
        if n < len(D) or not len(D)
    ]
    D = D.drop(columns=[verdict.case for verdict in incomplete])
    if D.empty:
        return _Stage(D, incomplete=tuple(incomplete))
    result = judged(D.to_numpy(), rules)
    calls = dict(zip(D.columns, result.calls.tolist(), strict=True))
    return _Stage(D, calls, result.test, tuple(incomplete))


def _timed(first: _Stage, again: _Stage, rules: Rules) -> list[Verdict]:
    """Verdicts on the cases with every pair of the screen; those of the confirmation from that."""
    if first.test is None:
        return []
    lost = {verdict.case for verdict in again.incomplete}
    screen = _estimates(first, first.test, len(first.D), "p_screen", rules)
    confirm = _estimates(again, first.test, len(first.D), "p_confirm", rules)
    return [
        _worded(
            replace(confirm.get(case, verdict), p_screen=verdict.p_screen),
            first.calls[case],
            again.calls.get(case),
            rules,
        )
        for case, verdict in screen.items()
        if case not in lost
    ]


def _estimates(stage: _Stage, screen: MaxT, K: int, p: str, rules: Rules) -> dict[str, Verdict]:
    """Ratios with intervals, sd, MDE and p of a stage; their words come after."""
    if stage.test is None:
        return {}
    D = stage.D.to_numpy()
    sd = D.std(axis=0, ddof=1)
    ratios = np.exp(t_interval(D, rules.confidence))
    columns: list[Array] = [*ratios, sd / np.sqrt(2), minimum_detectable(sd, screen, K, rules)]
    rows = np.column_stack([*columns, stage.test.p]).tolist()
    names = ("ratio", "low", "high", "sd", "mde", p)
    return {
        case: Verdict(case, "unclear", **dict(zip(names, row, strict=True)))
        for case, row in zip(stage.D.columns, rows, strict=True)
    }


def _worded(verdict: Verdict, call: int, again: int | None, rules: Rules) -> Verdict:
    if call and again == call:
        return replace(verdict, word=_DIRECTIONS[call])
    unmeasured = bool(call) and again is None
    inside = rules.same_low <= verdict.low and verdict.high <= rules.same_high
    if inside and verdict.mde <= rules.mde_for_same and not unmeasured:
        return replace(verdict, word="same")
    missed = f"a change below {100 * (verdict.mde - 1):.0f} % would often be missed"
    if not call:
        return replace(verdict, reason=missed)
    outcome = "not measured again" if unmeasured else "not confirmed"
    return replace(verdict, reason=f"suspected {_DIRECTIONS[call]}, {outcome}; {missed}")


def _disowned(verdict: Verdict, control: Control) -> Verdict:
    """Without a word on times: an interval proves nothing where the machine changed."""
    if verdict.word not in _TIMED:
        return verdict
    why = (
        f"contaminated: {control.name} contains no code of either arm and took {control.ratio:.2f}×"
    )
    return replace(verdict, word="unclear", reason=why)


def _controls(comparison: Comparison, rules: Rules) -> tuple[tuple[Control, ...], tuple[str, ...]]:
    found, notes = [], []
    stages = {"screen": comparison.screen, "confirm": comparison.confirm}
    for name, table in stages.items():
        if table is None:
            continue
        for control in sorted(comparison.controls):
            D = table[control].to_numpy(dtype=float) if control in table else np.empty(0)
            if len(D) < 2 or not np.isfinite(D).all():
                known = int(np.isfinite(D).sum())
                notes.append(f"{name}: control {control} is not judged, it has {known} whole pairs")
                continue
            found.append(_control(control, name, D, rules))
    return tuple(found), tuple(notes)


def _control(name: str, stage: str, D: Any, rules: Rules) -> Control:
    mean, low, high = (v.item() for v in t_interval(D[:, None], rules.control_confidence))
    moved = low > log(rules.same_high) or high < log(rules.same_low)
    return Control(name, stage, exp(mean), exp(low), exp(high), moved)
