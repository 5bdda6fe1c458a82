"""A case: the coordinates of one measurement, and the subject that is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from reports.schema import case_id
from strategies import (
    Operator,
    Options,
    Plan,
    Refusal,
    Setting,
    Strategy,
    find,
    inspect,
)

from .choosers import planned
from .problem import Problem, direction
from .workloads import find_workload

SEED = 0


class Timed(Protocol):
    """What a run measures, as far as its runner knows it: a case, a control."""

    @property
    def axes(self) -> dict[str, Any]: ...
    @property
    def id(self) -> str: ...
    @property
    def threads(self) -> int: ...


@dataclass(frozen=True)
class Case:
    """What is measured: one strategy, or what chooses one, on one workload at one size, the way it
    runs there."""

    operator: Operator
    strategy: str
    workload: str
    B: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dtype: str = "float32"
    device: str = "cpu"
    execution: str = "eager"
    threads: int = 1
    create_graph: bool = False
    chunk: int | str | None = None
    layout: str = "dense"

    @property
    def axes(self) -> dict[str, Any]:
        """The coordinates as the result file writes them."""
        return {
            "operator": str(self.operator),
            "strategy": self.strategy,
            "execution": self.execution,
            "workload": self.workload,
            "params": dict(self.params),
            "in_shape": list(self.in_shape),
            "out_shape": list(self.out_shape),
            "B": self.B,
            "n": prod(self.in_shape),
            "m": prod(self.out_shape),
            "dtype": self.dtype,
            "device": self.device,
            "threads": self.threads,
            "create_graph": self.create_graph,
            "chunk": self.chunk,
            "layout": self.layout,
        }

    @property
    def id(self) -> str:
        """The printable name, for selecting and for people."""
        return case_id(self.axes)


def case_from_axes(axes: Mapping[str, Any]) -> Case:
    """The case that `Case.axes` wrote."""
    given = {name: value for name, value in axes.items() if name not in ("n", "m")}
    given["operator"] = Operator(given["operator"])
    given["in_shape"], given["out_shape"] = tuple(given["in_shape"]), tuple(given["out_shape"])
    return Case(**given)


def build(
    workload: str, params: Mapping[str, Any], B: int | None, dtype: str, device: str
) -> Problem:
    """The workload's problem, with the same values in every process."""
    generator = torch.Generator().manual_seed(SEED)
    return find_workload(workload).build(
        getattr(torch, dtype), torch.device(device), generator, batch=B, **params
    )


@dataclass(frozen=True)
class Subject:
    """A case made ready: its problem and its plan's inputs, `(x, *args)` or `(x, v, *args)`."""

    case: Case
    problem: Problem
    v: Tensor | None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        directed = () if self.v is None else (self.v,)
        return (self.problem.x, *directed, *self.problem.args)

    def setting(self) -> Setting:
        """The request that the case makes of its strategy."""
        case = self.case
        options = Options(
            create_graph=case.create_graph,
            chunk=case.chunk,
            layout=case.layout,  # type: ignore[arg-type]
            execution=case.execution,
        )
        return inspect(case.operator, self.problem.f, self.inputs, options)

    def strategy(self) -> Strategy:
        """The case's strategy; `UnknownStrategy` for a chooser, see `taken`."""
        return find(self.case.operator, self.case.strategy)

    def prepare(self) -> Plan | Refusal:
        """The plan of the case's strategy or chooser, or its refusal."""
        return planned(self.setting(), self.case.strategy)

    def taken(self, strategy: str) -> Subject:
        """The same for the strategy that was taken, which is another name only where a chooser took
        it: what is asked next is asked of that one, since a race may end otherwise each time."""
        return replace(self, case=replace(self.case, strategy=strategy))


def subject(case: Case) -> Subject:
    """Build the case's problem and direction."""
    problem = build(case.workload, case.params, case.B, case.dtype, case.device)
    return Subject(case, problem, direction(case.operator, problem, case.out_shape))
