"""Who takes part in a race: every strategy that does not refuse, ranked by what it should cost.

Each is prepared and called once under the counters. A call is stopped as soon as it should cost
many times what the best one should, so that a slow strategy costs no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import auto
from .costs import Limit, Rates, TooDear, free_bytes, predicted_seconds, rates
from .functions import first_line, limit_of_torch, out_of_memory, without_traces
from .operators import Orders
from .plan import Plan, Refusal, attempt
from .probing import graph_of
from .registry import Strategy, Unsupported, find, load_installed, strategies_for
from .request import Setting

# Of the least that any should cost: where a call is stopped.
_HOPELESS = 2.5
# So many are found whatever the time: one to be taken, one to confirm it.
_LEAST = 2


@dataclass(frozen=True)
class Contender:
    """A strategy that can: its plan, one evaluation (with create_graph and its backward), and the
    seconds that it should take by its counters."""

    strategy: Strategy
    plan: Plan
    call: Callable[[], object]
    predicted_s: float

    @property
    def name(self) -> str:
        return self.strategy.name


@dataclass(frozen=True)
class Out:
    """A strategy that does not race, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Field:
    """Contenders, the cheapest first, and those that are out."""

    contenders: tuple[Contender, ...]
    out: tuple[Out, ...]


def contenders(setting: Setting, deadline: float) -> Field:
    """All strategies of the operator, prepared and ranked; those that are not reached before the
    deadline (of `time.perf_counter`) are out, once there are two. The rule's own come first."""
    found: list[Contender] = []
    out: list[Out] = []
    # Storages alive are seen after the operation that made them.
    most = free_bytes(setting.x.device) / 2
    known = rates(setting.x.device, setting.x.dtype, torch.get_num_threads())
    for strategy in _in_order(setting):
        if len(found) >= _LEAST and time.perf_counter() > deadline:
            out.append(Out(strategy.name, "not tried: the budget was spent"))
            continue
        least = min((c.predicted_s for c in found), default=float("inf"))
        one = _contender(setting, strategy, known, Limit(_HOPELESS * least, most))
        (out if isinstance(one, Out) else found).append(one)  # type: ignore[arg-type]
    return Field(tuple(sorted(found, key=lambda c: c.predicted_s)), tuple(out))


def _in_order(setting: Setting) -> Iterator[Strategy]:
    load_installed()
    ruled = auto.candidates(setting.operator, setting.regime)
    yield from (find(setting.operator, name) for name in ruled)
    for strategy in strategies_for(setting.operator):
        if strategy.exact and strategy.name not in ruled:
            yield strategy


def _contender(setting: Setting, strategy: Strategy, known: Rates, limit: Limit) -> Contender | Out:
    try:
        # What compiles takes seconds: the eager code says enough of the cost.
        plan = attempt(_eager(setting), strategy)
        if isinstance(plan, Refusal):
            return Out(strategy.name, plan.reason)
        call = evaluation(setting, plan)
        with without_traces(setting.x.device, setting.probe.modules):
            seconds = predicted_seconds(call, known, limit)
    except TooDear as stopped:
        return Out(strategy.name, str(stopped))
    except (Unsupported, RuntimeError, MemoryError) as error:
        return Out(strategy.name, failure(error))
    return Contender(strategy, plan, call, seconds)


def _eager(setting: Setting) -> Setting:
    if setting.options.execution == "eager":
        return setting
    return replace(setting, options=replace(setting.options, execution="eager"))


def failure(error: Exception) -> str:
    """What a call that raised says of its strategy; raises again what says nothing of it."""
    if isinstance(error, Unsupported):
        return str(error)
    if out_of_memory(error):
        return "ran out of memory"
    if isinstance(error, RuntimeError) and limit_of_torch(error):
        return f"torch cannot: {first_line(error)}"
    raise error


def evaluation(setting: Setting, plan: Plan) -> Callable[[], object]:
    """One call of the plan as its caller will make it; with create_graph also the backward of the
    sum of squares, to the parameters or, where there are none, to x."""
    inputs = tuple(t.detach().requires_grad_(t.requires_grad) for t in setting.inputs)
    if not setting.options.create_graph:
        return lambda: plan(*inputs)
    leaves = _leaves(plan(*inputs))
    if not leaves:
        inputs = (inputs[0].requires_grad_(), *inputs[1:])
        leaves = list(inputs[:1])

    def step() -> None:
        torch.autograd.grad(_squares(plan(*inputs)), leaves, allow_unused=True)

    return step


def parts(found: Tensor | Orders) -> list[Tensor]:
    """The tensors of a result, without those that there are not."""
    return [t for t in (found.parts if isinstance(found, Orders) else [found]) if t is not None]


def _squares(found: Tensor | Orders) -> Tensor:
    entries = [t.values() if t.is_sparse else t for t in parts(found)]
    return torch.stack([t.square().sum() for t in entries]).sum()


def _leaves(found: Tensor | Orders) -> Sequence[Tensor]:
    """Where gradients of a result arrive: parameters, inputs that ask for them."""
    ends = [getattr(node, "variable", None) for t in parts(found) for node in graph_of(t)]
    return list({id(leaf): leaf for leaf in ends if leaf is not None}.values())
