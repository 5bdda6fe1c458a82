"""The race behind `race=True`: the strategies that should be fastest are timed on f itself.

NOTE [the race]
1. Every exact strategy of the operator that does not refuse is prepared and counted once
   (`contenders`); its counters at the machine's rates say what it should cost (`costs`).
2. Those that should cost little more than the cheapest are timed in turn, the slower half dropped
   after each stage (`halving`); with create_graph a call includes its backward.
3. The winner's result is compared with that of another one, of another mode where there is one. If
   they differ, the others are asked: who differs from two that agree is out.
4. The order is kept for functions of the same structure, shapes, dtype and device.
A choice is thus made by time, and by nothing else: among right answers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .contenders import Contender, Field, Out, contenders, evaluation, parts
from .functions import agree, half_the_digits, without_traces
from .halving import halved
from .plan import Plan, Refusal, attempt
from .registry import Unsupported, find, strategies_for
from .request import Setting
from .structure import structure

# Seconds: preparing and counting may take half of them, timing the rest.
BUDGET_S = 2.0
# Who should cost more than so many times the cheapest is not timed, nor who comes after so many.
_CLOSE, _MOST = 3.0, 6
# Times as near as this are the same: the one that the cost model puts first is taken.
_TIE = 1.02
_KEPT = 256

# Of a function's structure and what is asked of it, the strategies in the order of their times.
_decided: dict[Any, tuple[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Line:
    """A strategy in the table of a race: what it should take, what it took, what became of it."""

    name: str
    predicted_s: float | None
    measured_s: float | None
    said: str = ""


def raced(setting: Setting, budget_s: float = BUDGET_S) -> Plan:
    """The plan of the fastest strategy; `Unsupported` where all refuse, or no two agree.

    A race is run once for functions of the same structure and kept in this process.
    """
    _refuse_under_others(setting)
    key = _key(setting)
    if key in _decided:
        name, story = _decided[key]
        plan = attempt(setting, find(setting.operator, name))
        if isinstance(plan, Plan):
            return replace(plan, story=(*story, "kept from an earlier race"))
    begun = time.perf_counter()
    with _unsaid():
        plan, lines = _run(setting, begun, budget_s)
    story = tuple(_story(plan, lines, time.perf_counter() - begun))
    while len(_decided) >= _KEPT:
        _decided.pop(next(iter(_decided)))
    _decided[key] = (plan.strategy, story)
    return replace(plan, story=story)


def finalists(setting: Setting, count: int = 4, budget_s: float = BUDGET_S) -> list[str]:
    """The strategies that should be fastest among those that do not refuse, best first."""
    with _unsaid():
        field = contenders(setting, time.perf_counter() + budget_s)
    return [contender.name for contender in field.contenders[:count]]


def forget() -> None:
    """Race anew, also for functions that have been raced in this process."""
    _decided.clear()


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without what torch warns of: most of those that are tried are not taken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refuse_under_others(setting: Setting) -> None:
    # Of torch.func's transforms `inspect` knows already.
    if get_eval_frame_callback() is not None or _get_current_dispatch_mode_stack():
        raise Unsupported(
            "race=True under torch.compile or a dispatch mode of the caller's own, where nothing"
            " can be timed; prepare outside of it, or leave race out"
        )
    if not len(setting.x):
        raise Unsupported("race=True of an empty batch: there is nothing to time; leave race out")


def _key(setting: Setting) -> Any:
    known = tuple(strategy.name for strategy in strategies_for(setting.operator))
    how = (setting.operator, setting.options, known, torch.__version__, torch.get_num_threads())
    return (*how, structure(setting.f, (setting.x, *setting.args)))


def _run(setting: Setting, begun: float, budget_s: float) -> tuple[Plan, list[Line]]:
    field = contenders(setting, begun + budget_s / 2)
    if not field.contenders:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in field.out)
        raise Unsupported(f"every strategy for {setting.operator} refuses: {reasons}")
    finals, out = _finals(setting, field)
    calls = {final.name: final.call for final in finals}
    with without_traces(setting.x.device, setting.probe.modules):
        seconds = halved(calls, setting.x.device, begun + budget_s)
    order = _order(finals, seconds)
    winner, said = _checked(setting, order, field)
    lines = [
        *(Line(c.name, c.predicted_s, seconds[c.name], said.get(c.name, "")) for c in order),
        *(
            Line(c.name, c.predicted_s, None, "not timed")
            for c in field.contenders
            if c.name not in seconds
        ),
        *(Line(each.name, None, None, each.reason) for each in (*out, *field.out)),
    ]
    return winner.plan, lines


def _finals(setting: Setting, field: Field) -> tuple[list[Contender], list[Out]]:
    """Those to be timed, in the execution that was asked for."""
    least = field.contenders[0].predicted_s
    close = [c for c in field.contenders if c.predicted_s <= _CLOSE * least][:_MOST]
    if setting.options.execution == "eager":
        return close, []
    finals: list[Contender] = []
    out: list[Out] = []
    for contender in close:
        plan = attempt(setting, contender.strategy)
        if isinstance(plan, Refusal):
            out.append(Out(contender.name, plan.reason))
        else:
            finals.append(replace(contender, plan=plan, call=evaluation(setting, plan)))
    if not finals:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in out)
        raise Unsupported(f"{setting.operator}: none of the fastest can be run so: {reasons}")
    return finals, out


def _order(finals: Sequence[Contender], seconds: Mapping[str, float]) -> list[Contender]:
    """By time; of those that tie with the fastest the one that should be cheapest first."""
    least = min(seconds.values())
    tied = [c for c in finals if seconds[c.name] <= _TIE * least]
    rest = sorted((c for c in finals if c not in tied), key=lambda c: seconds[c.name])
    return [*tied, *rest]


def _checked(
    setting: Setting, order: Sequence[Contender], field: Field
) -> tuple[Contender, dict[str, str]]:
    """The first whose result another one confirms, and what is said of those before it."""
    said: dict[str, str] = {}
    results: dict[str, list[Tensor]] = {}
    everyone = [*order, *(c for c in field.contenders if c not in order)]
    for winner in order:
        others = [c for c in everyone if c.name != winner.name]
        # Of another mode first: two ways that share a mistake are no confirmation.
        others.sort(key=lambda c: c.strategy.mode == winner.strategy.mode)
        if not others:
            return winner, {winner.name: "taken; there is no other to confirm it"}
        differing = []
        for other in others:
            if _alike(_result(setting, winner, results), _result(setting, other, results)):
                return winner, said | {winner.name: f"taken; {other.name} confirms it"}
            differing.append(other.name)
        said[winner.name] = f"out: its result differs from that of {' and '.join(differing)}"
    raise Unsupported(f"{setting.operator}: no two strategies agree up to rounding: {said}")


def _result(setting: Setting, contender: Contender, known: dict[str, list[Tensor]]) -> list[Tensor]:
    if contender.name not in known:
        with without_traces(setting.x.device, setting.probe.modules):
            known[contender.name] = parts(contender.plan(*setting.inputs))
    return known[contender.name]


def _alike(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(map(_equal, a, b))


def _equal(a: Tensor, b: Tensor) -> bool:
    if not a.is_sparse:
        return agree(a, b)
    apart = (a - b).coalesce().values().detach().double().norm()
    scale = max(float(t.values().detach().double().norm()) for t in (a, b))
    return bool(apart <= half_the_digits(a.dtype) * scale)


def _story(plan: Plan, lines: Sequence[Line], seconds: float) -> Iterator[str]:
    timed = sum(line.measured_s is not None for line in lines)
    yield f"by a race of {timed} of {len(lines)} strategies in {seconds:.2g} s"
    wide = max(len(line.name) for line in lines)
    yield f"{'strategy':{wide}}  by counters  measured"
    for line in lines:
        numbers = (_time(line.predicted_s), _time(line.measured_s))
        yield f"{line.name:{wide}}  {numbers[0]:>11}  {numbers[1]:>8}  {line.said}".rstrip()


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    scale, unit = next(((s, u) for s, u in _UNITS if seconds >= s), _UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
