"""A block of a grid: one workload at one size, for some operators, in one way of running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strategies import Operator

GRADIENT, VJP, JVP = Operator.GRADIENT, Operator.VJP, Operator.JVP
JACOBIAN, DIVERGENCE, HVP = Operator.JACOBIAN, Operator.DIVERGENCE, Operator.HVP
HESSIAN, DIAGONAL, LAPLACIAN = Operator.HESSIAN, Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN
BILAPLACIAN = Operator.BILAPLACIAN


@dataclass(frozen=True)
class Block:
    """One workload at one size, for some operators; every strategy of theirs is a case, or those
    that are named. Of a sparse layout, those that offer it."""

    workload: str
    operators: Sequence[Operator]
    B: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    execution: str = "eager"
    create_graph: bool = False
    chunk: int | str | None = None
    layout: str = "dense"
    strategies: Sequence[str] = ()
    # Estimators too where n is so small that exact strategies take no more products than they do.
    small_estimates: bool = False
    threads: Sequence[int] = (1,)
