"""From a request to a plan: what can be done before the values are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from . import auto
from .budget import Fit, fitted
from .drawing import drawing, with_probes
from .entries import Entries
from .executions import EXECUTIONS
from .functions import Function, first_line, flatten, limit_of_torch, without_traces
from .guard import Guard, guard
from .honesty import check_backward
from .operators import DIRECTIONS, SECOND_ORDER, Operator, Orders, own_result
from .refusals import refuse
from .registry import (
    Evaluate,
    Inputs,
    Options,
    Strategy,
    TorchLimit,
    Unsupported,
    find,
)
from .request import Setting
from .shapes import Run, empty_run, flat_inputs, shaped_run
from .unsafe import unproven


@dataclass(frozen=True)
class Refusal:
    """A strategy does not offer what was asked; a value, with its reason.

    limit: torch itself raised, a `TorchLimit`.
    """

    strategy: str
    reason: str
    limit: bool = False


@dataclass(frozen=True)
class Plan:
    """A prepared operator: call it with `(x, *args)`, or `(x, v, *args)` with a direction.

    Returns the operator's result, `[B, …]` as `strategies.operators.result_shape` gives it, or
    `Orders` with `values=True`. Raises `PlanMismatch` where the call is not what was prepared, and
    `TorchLimit` where torch raises on the way.
    """

    strategy: str
    operator: Operator
    options: Options
    refusals: tuple[Refusal, ...]
    _guard: Guard = field(repr=False)
    _run: Run = field(repr=False)
    # What became of a budget.
    fit: Fit | None = None
    # How it was chosen.
    story: tuple[str, ...] = ()

    def __call__(self, *inputs: Tensor) -> Tensor | Orders:
        self._guard.check(inputs)
        try:
            with torch.set_grad_enabled(self.options.create_graph):
                return self._run(*inputs)
        except (RuntimeError, NotImplementedError) as error:
            if not limit_of_torch(error):
                raise
            raise TorchLimit(
                f"{self.operator} by {self.strategy}: torch cannot: {first_line(error)}"
            ) from error

    def explain(self) -> str:
        """Which strategy was taken and how it was chosen, how many directions at once where a
        budget was given and, for each strategy passed over before it, why."""
        fit = [str(self.fit)] if self.fit else []
        passed = [f"passed over {r.strategy}: {r.reason}" for r in self.refusals]
        return "\n".join([f"{self.operator}: {self.strategy}", *self.story, *fit, *passed])


def first_willing(setting: Setting) -> Plan:
    """The plan of the first of the rule's candidates that does not refuse."""
    refusals: list[Refusal] = []
    for name in auto.candidates(setting.operator, setting.regime):
        try:
            plan = _plan(setting, find(setting.operator, name))
        except Unsupported as refusal:
            refusals.append(Refusal(name, str(refusal)))
        else:
            story = auto.because(setting.operator, setting.regime)
            return replace(plan, refusals=tuple(refusals), story=(story,))
    reasons = "; ".join(f"{r.strategy}: {r.reason}" for r in refusals)
    raise Unsupported(f"every strategy for {setting.operator} refuses: {reasons}")


def attempt(setting: Setting, strategy: Strategy, *, by_table: bool = True) -> Plan | Refusal:
    """The strategy's plan, or its refusal as a value.

    by_table: refuse what `unsafe_ops.json` names; off where that table is measured.
    """
    try:
        return _plan(setting, strategy, by_table)
    except Unsupported as refusal:
        return Refusal(strategy.name, str(refusal), isinstance(refusal, TorchLimit))


def _plan(setting: Setting, strategy: Strategy, by_table: bool = True) -> Plan:
    run, fit = _prepared(setting, strategy, by_table)
    watch = guard(setting.inputs, setting.probe.modules)
    return Plan(strategy.name, setting.operator, setting.options, (), watch, run, fit)


def _prepared(setting: Setting, strategy: Strategy, by_table: bool) -> tuple[Run, Fit | None]:
    refuse(setting, strategy, by_table=by_table)
    if len(setting.x) == 0:
        return empty_run(setting, exact=strategy.exact), None
    options = setting.options
    build = partial(_built, setting, strategy, by_table)
    traceless = without_traces(setting.x.device, setting.probe.modules)
    with traceless, torch.set_grad_enabled(options.create_graph):
        try:
            budget = isinstance(options.chunk, str)
            run, fit = fitted(setting, strategy, build) if budget else (build(options), None)
            if options.create_graph and strategy.exact:
                examples = [t.detach() for t in setting.inputs]
                check_backward(lambda *given: own_result(run(*given), _second(setting)), examples)
        except (RuntimeError, NotImplementedError) as error:
            if not limit_of_torch(error):
                raise
            raise TorchLimit(f"torch cannot: {first_line(error)}") from error
    return run, fit


def _built(setting: Setting, strategy: Strategy, by_table: bool, options: Options) -> Run:
    flat = flatten(setting.f, setting.in_shape, setting.out_shape)
    inputs = flat_inputs(setting)(*(t.detach() for t in setting.inputs))
    evaluate = strategy.prepare(flat, inputs, options)
    entries = evaluate if isinstance(evaluate, Entries) else None
    given = with_probes(strategy, inputs, options)
    computed = entries.values if entries else evaluate
    ordered = _orders(setting, flat, inputs, computed, after_x=len(given) - len(inputs))
    run = EXECUTIONS[options.execution](ordered, given, options)
    if by_table and unproven(strategy, options.execution, setting.probe.operations):
        run(*given)
    return shaped_run(setting, drawing(strategy, run, inputs, options), entries)


def _orders(
    setting: Setting, flat: Function, inputs: Inputs, evaluate: Evaluate, after_x: int
) -> Evaluate:
    """The operator's result alone, or all orders, computing those that the strategy lacks.

    after_x: how many probes lie between x and args.
    """
    second = _second(setting)
    if not setting.options.values:
        return lambda *given: own_result(evaluate(*given), second)
    after_x += setting.operator in DIRECTIONS
    first = _first_order(setting, flat, inputs) if second else None

    def orders(*given: Tensor) -> Orders:
        found = evaluate(*given)
        if not isinstance(found, Orders):
            found = Orders(None, None, found) if second else Orders(None, found, None)
        own = (given[0], *given[1 + after_x :])
        if found.value is None:
            found = found._replace(value=flat(*own))
        if first and found.first is None:
            found = found._replace(first=own_result(first(*own), second=False))
        return found

    return orders


def _second(setting: Setting) -> bool:
    return setting.operator in SECOND_ORDER


def _first_order(setting: Setting, flat: Function, inputs: Inputs) -> Evaluate:
    """The gradient or Jacobian below a second-order operator, by the rule's own choice."""
    seen = replace(setting.probe, y=setting.probe.y.reshape(-1, setting.m))
    below = replace(
        setting,
        operator=setting.below,
        f=flat,
        inputs=(inputs[0], *setting.args),
        options=Options(create_graph=setting.options.create_graph),
        in_shape=(setting.n,),
        out_shape=(setting.m,),
        probe=seen,
    )
    return first_willing(below)._run
