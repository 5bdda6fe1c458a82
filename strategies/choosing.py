"""`prepare`, and the choice behind `strategy="auto"`."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from .functions import Function
from .operators import Operator
from .plan import Plan, Refusal, attempt, first_willing
from .race import raced
from .registry import Keywords, Options, TorchLimit, Unsupported, find
from .request import Setting, inspect


def prepare(
    operator: Operator | str,
    f: Function,
    x: Tensor,
    *args: Tensor,
    strategy: str = "auto",
    race: bool | float = False,
    values: bool = False,
    **options: Unpack[Keywords],
) -> Plan:
    """Everything that can be done before the values are known; returns the plan to call.

    f: `f(x, *args) -> [B, *out]` with `x: [B, *in]` and further tensors with the same B.
    args: as the plan will be called; vjp, jvp and hvp take their direction first, `[B, *out]`,
    `[B, *in]` and `[B, *in]`. strategy: a name, or "auto": a rule on the sizes, or with race the
    fastest on f itself. race: True, or about how many seconds it may take instead of two; see
    NOTE [the race] of `race.py`. values and options: see `Options`.

    Errors: `ValueError` for a shape the operator is not defined for, `TypeError` for an x that
    is not floating point, `UnknownStrategy`, `Unsupported` where the strategy refuses (with
    `"auto"`: where all do).
    """
    if race is not False and strategy != "auto":
        raise ValueError(f"race chooses a strategy: leave out strategy={strategy!r} or race")
    asked = Options(values=values, **options)
    setting = inspect(Operator(operator), f, (x, *args), asked)
    if strategy != "auto":
        plan = attempt(setting, find(setting.operator, strategy))
        if isinstance(plan, Refusal):
            kind = TorchLimit if plan.limit else Unsupported
            raise kind(f"{setting.operator} by {plan.strategy}: {plan.reason}")
        return plan
    return choose(setting, race=race)


def choose(setting: Setting, *, race: bool | float = False) -> Plan:
    """The plan that `strategy="auto"` takes; `Unsupported` where every strategy refuses."""
    if isinstance(race, bool):
        return raced(setting) if race else first_willing(setting)
    if not isinstance(race, int | float) or not race > 0:
        raise ValueError(f"race is True or a number of seconds, not {race!r}")
    return raced(setting, race)
