"""Of one function the few cases that an answer needs, and what would take too long for it.

Seconds are estimated in plain evaluations of f, of which derivatives are made: a loop takes one
sweep after another, the reference differences along every input. The estimate is rough; it keeps
hours away from an answer that is to come within a minute.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from reports.schema import DEFAULTS, LOOPS
from strategies import Operator
from strategies.race import finalists

from .case import Case, Subject, subject
from .device import DEVICES
from .forward import Rounds, forward_seconds
from .progress import remaining

FINALISTS = 4

# Evaluations of f, by the inputs n and outputs m of a row.
Evaluations = Callable[[int, int], int]
_LOOPED: Mapping[Operator, Evaluations] = {
    Operator.GRADIENT: lambda n, m: 3,
    Operator.VJP: lambda n, m: 3,
    Operator.JVP: lambda n, m: 6,
    Operator.JACOBIAN: lambda n, m: 3 * m,
    Operator.DIVERGENCE: lambda n, m: 3 * n,
    Operator.HVP: lambda n, m: 6,
    Operator.HESSIAN: lambda n, m: 6 * n * m,
    Operator.HESSIAN_DIAGONAL: lambda n, m: 6 * n * m,
    Operator.LAPLACIAN: lambda n, m: 6 * n * m,
    Operator.BILAPLACIAN: lambda n, m: 24 * n * n * m,
}
_REFERENCE: Mapping[Operator, Evaluations] = {
    **dict.fromkeys(_LOOPED, lambda n, m: 20 * n),
    Operator.JVP: lambda n, m: 1000,
    **dict.fromkeys((Operator.HVP, Operator.LAPLACIAN), lambda n, m: 60 * n),
    Operator.HESSIAN_DIAGONAL: lambda n, m: 60 * n,
    Operator.HESSIAN: lambda n, m: 30 * n * n,
    Operator.BILAPLACIAN: lambda n, m: 30 * n * n,
}
# Of a loop's time what the ways take that do many directions at once.
_AT_ONCE = 0.1
# Of a case in a pass: what it takes however short a call is, and how often it is called at least.
_OWN_S, _CALLS = 0.25, 8


@dataclass(frozen=True)
class Shortlist:
    """What is measured and, in a line each, what is not, with the time that it would take."""

    cases: tuple[Case, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """Of an operator the strategies to be measured, the seconds that these take in all passes with
    their reference, and those of the loop, 0 where it is among them."""

    case: Case
    strategies: tuple[str, ...]
    seconds: float
    loop_s: float

    @property
    def loop(self) -> Case:
        """The case of the loop."""
        return replace(self.case, strategy=LOOPS[self.case.operator])


def shortlist(asked: Sequence[Case], passes: int, budget_s: float, *, named: bool) -> Shortlist:
    """What fits into so many seconds, operator by operator, the loops last.

    asked: a case of each operator, of any strategy. named: whoever asked named the operators, and
    only loops are left out.
    """
    forwards: dict[str, Rounds] = {}
    costs = sorted(
        (_cost(subject(case), passes, forwards) for case in asked), key=lambda cost: cost.seconds
    )
    taken = costs if named else _fitting(costs, budget_s, lambda cost: cost.seconds)
    left_s = budget_s - sum(cost.seconds for cost in taken)
    loops = sorted((cost for cost in taken if cost.loop_s), key=lambda cost: cost.loop_s)
    looped = _fitting(loops, left_s, lambda cost: cost.loop_s)
    cases = [replace(cost.case, strategy=name) for cost in taken for name in cost.strategies]
    left_out = [
        f"{remaining(cost.seconds)}: {cost.case.operator}" for cost in costs if cost not in taken
    ]
    left_out += [
        f"{remaining(cost.loop_s)}: {cost.loop.operator}/{cost.loop.strategy}"
        for cost in loops
        if cost not in looped
    ]
    return Shortlist((*cases, *(cost.loop for cost in looped)), tuple(left_out))


def _fitting(costs: Sequence[Cost], left_s: float, of: Callable[[Cost], float]) -> list[Cost]:
    """Those that fit one after another, the cheapest first."""
    found = []
    for cost in costs:
        if of(cost) <= left_s:
            left_s -= of(cost)
            found.append(cost)
    return found


def _cost(made: Subject, passes: int, forwards: dict[str, Rounds]) -> Cost:
    case = made.case
    n, m = case.axes["n"], case.axes["m"]
    forward_s = median(forward_seconds(made, DEVICES[case.device](), forwards)[0])
    looped_s = _CALLS * _LOOPED[case.operator](n, m) * forward_s
    with warnings.catch_warnings():
        # Of those that are tried; most of them are not measured.
        warnings.simplefilter("ignore")
        first = finalists(made.setting(), FINALISTS)
    names = dict.fromkeys([*first, DEFAULTS[case.operator]])
    seconds = _REFERENCE[case.operator](n, m) * forward_s
    seconds += passes * len(names) * (_OWN_S + _AT_ONCE * looped_s)
    loop_s = 0.0 if LOOPS[case.operator] in names else passes * (_OWN_S + looped_s)
    return Cost(case, tuple(names), seconds, loop_s)
