"""What is asked: validated, and f looked at once for all strategies."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import auto
from .functions import Function, Independence, check_rows_independent, is_real
from .guard import describe, describe_as
from .honesty import graph_tells_the_truth
from .operators import (
    DIRECTIONS,
    FOURTH_ORDER,
    SECOND_ORDER,
    Operator,
    Shape,
    violated_shape,
)
from .probing import Probe, probe
from .registry import Inputs, Options, Unsupported


@dataclass(frozen=True)
class Setting:
    """What is asked of every strategy alike: the operator, the function, where, and what f showed.

    `inputs` is `(x, *args)`, or `(x, v, *args)` where the operator takes a direction.
    """

    operator: Operator
    f: Function = field(repr=False)
    inputs: Inputs = field(repr=False)
    options: Options
    in_shape: Shape
    out_shape: Shape
    probe: Probe = field(repr=False)

    @cached_property
    def independence(self) -> Independence:
        """Both senses of row independence, tested once for all strategies that are tried."""
        return check_rows_independent(self.f, self.x, *self.args)

    @cached_property
    def honest(self) -> bool:
        """Whether the graph of f gives the derivatives of its values up to the operator's order."""
        top = 4 if self.operator in FOURTH_ORDER else 2 if self.operator in SECOND_ORDER else 1
        return all(
            graph_tells_the_truth(self.f, self.x, self.args, order=order)
            for order in range(1, top + 1)
        )

    @property
    def x(self) -> Tensor:
        return self.inputs[0]

    @property
    def args(self) -> Inputs:
        return self.inputs[2:] if self.operator in DIRECTIONS else self.inputs[1:]

    @property
    def regime(self) -> auto.Regime:
        x, options = self.x, self.options
        sizes = (self.n, self.m, len(x))
        how = (options.create_graph, options.layout == "sparse", options.chunk is not None)
        return auto.Regime(*sizes, x.dtype, x.device.type, *how)

    @property
    def below(self) -> Operator:
        """The operator of order one below one of order two."""
        return Operator.GRADIENT if self.m == 1 else Operator.JACOBIAN

    @property
    def n(self) -> int:
        return prod(self.in_shape)

    @property
    def m(self) -> int:
        return prod(self.out_shape)


def inspect(operator: Operator, f: Function, inputs: Inputs, options: Options) -> Setting:
    """Validate the request and look at f; raises where nothing could be asked of any strategy."""
    _check_surroundings()
    if not callable(f):
        raise TypeError(f"f must be a function of x, not {_kind(f)}")
    _check_inputs(operator, inputs)
    args = inputs[2:] if operator in DIRECTIONS else inputs[1:]
    x = inputs[0]
    seen = probe(f, *_two_rows_if_empty(x, args))
    if not is_real(seen.y):
        raise TypeError(f"f must return one dense floating-point tensor, not {_kind(seen.y)}")
    if seen.y.dtype != x.dtype:
        raise TypeError(f"f must return x's dtype {x.dtype}, not {seen.y.dtype}; cast inside f")
    if seen.y.dim() == 0 or len(seen.y) != (len(x) or 2):
        raise ValueError(
            f"f must map {tuple(x.shape)} to [{len(x)}, …], not {tuple(seen.y.shape)};"
            " single(f) adapts a function without a batch"
        )
    in_shape, out_shape = tuple(x.shape[1:]), tuple(seen.y.shape[1:])
    if not prod(out_shape):
        raise ValueError(f"nothing to differentiate: a row has shape {in_shape} -> {out_shape}")
    if reason := violated_shape(operator, in_shape, out_shape):
        raise ValueError(reason)
    if operator in DIRECTIONS:
        _check_direction(operator, inputs[1], x, in_shape, out_shape)
    return Setting(operator, f, inputs, options, in_shape, out_shape, seen)


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype}" if value.layout == torch.strided else f"{value.dtype}, {value.layout}"


def _remedy(x: object) -> str:
    if not isinstance(x, Tensor):
        return "try torch.as_tensor(x)"
    if x.is_complex():
        return "try torch.view_as_real(x), and torch.view_as_complex in f"
    return "try x.float()" if x.layout == torch.strided else "try x.to_dense()"


def _check_surroundings() -> None:
    if forward_ad._current_level >= 0 or torch._C._functorch.maybe_current_level() is not None:
        raise Unsupported(
            "inside a torch.func transform or a dual_level of the caller's own, under which f"
            " cannot be looked at; prepare outside of it, or use create_graph=True and autograd"
        )


def _check_inputs(operator: Operator, inputs: Inputs) -> None:
    x = inputs[0]
    if not is_real(x):
        raise TypeError(f"x must be a floating-point tensor [B, …], not {_kind(x)}; {_remedy(x)}")
    if x.is_meta:
        raise ValueError("x must have values, which a tensor on meta has not")
    if x.dim() == 0:
        raise ValueError("x must have a batch dimension [B, …]; try x[None] and single(f)")
    if not prod(x.shape[1:]):
        raise ValueError(f"nothing to differentiate: a row of x has shape {tuple(x.shape[1:])}")
    if operator in DIRECTIONS and len(inputs) < 2:
        raise ValueError(f"{operator} takes a direction: {operator}(f, x, v, *args)")
    for k, arg in enumerate(inputs[1:], start=1):
        if not isinstance(arg, Tensor) or arg.dim() == 0 or len(arg) != len(x):
            shape = tuple(arg.shape) if isinstance(arg, Tensor) else type(arg).__name__
            raise ValueError(
                f"input {k} must be a tensor with x's batch size {len(x)}, not {shape};"
                " constants without a batch belong into the closure"
            )


def _check_direction(
    operator: Operator, v: Tensor, x: Tensor, in_shape: Shape, out_shape: Shape
) -> None:
    expected = (len(x), *(out_shape if DIRECTIONS[operator] == "out" else in_shape))
    as_x = v.dtype == x.dtype and v.device == x.device and v.layout == x.layout
    if tuple(v.shape) != expected or not as_x:
        raise ValueError(
            f"the direction of {operator} must be"
            f" {describe_as(torch.Size(expected), x.dtype, x.device)}, not {describe(v)}"
        )


def _two_rows_if_empty(x: Tensor, args: Inputs) -> tuple[Tensor, Inputs]:
    # Many functions reject an empty batch, and BatchNorm a single row; of an empty one only the
    # output's shape matters.
    if len(x):
        return x, args
    return x.new_zeros(2, *x.shape[1:]), tuple(a.new_zeros(2, *a.shape[1:]) for a in args)
