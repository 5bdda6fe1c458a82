"""`torch.autograd.functional`: the calls that predate `torch.func`, looped, vectorized, forward.

They know no batch: of a function of the whole batch they return the derivative of every row with
respect to every row. The Jacobian avoids that by summing the outputs over the batch, the Hessian
by going row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import functional

from .functions import Function, differentiable, row
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy

_FORWARD_ONLY_VALUES = (
    "torch.autograd.functional's forward mode raises with create_graph (a limit of torch)"
)


def _total(f: Function, args: Inputs) -> Function:
    return lambda z: f(z, *args).sum()


@strategy(Operator.VJP, mode="reverse", sweep="one-pass", needs=["sum"])
def functional_vjp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.autograd.functional.vjp` of the whole batch."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x = differentiable(x, options.create_graph)
        return Orders(
            *functional.vjp(lambda z: f(z, *args), x, v, create_graph=options.create_graph)
        )

    return evaluate


@strategy(Operator.JVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum"])
def functional_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.autograd.functional.jvp` of the whole batch: a double backward inside."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        x = differentiable(x, options.create_graph)
        return Orders(
            *functional.jvp(lambda z: f(z, *args), x, v, create_graph=options.create_graph)
        )

    return evaluate


@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", needs=["sum"])
def functional_jacobian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Output by output: `torch.autograd.functional.jacobian`, the batch summed."""
    return _jacobian(f, options)


@strategy(Operator.JACOBIAN, mode="reverse", sweep="legacy-vmap", needs=["sum"])
def functional_jacobian_vectorized(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All outputs at once: `torch.autograd.functional.jacobian(vectorize=True)`."""
    return _jacobian(f, options, vectorize=True)


@strategy(
    Operator.JACOBIAN,
    mode="forward",
    sweep="legacy-vmap",
    needs=["sum"],
    not_differentiable=_FORWARD_ONLY_VALUES,
)
def functional_jacobian_forward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs of all rows at once: `functional.jacobian(strategy="forward-mode")`."""
    return _jacobian(f, options, vectorize=True, strategy="forward-mode")


def _jacobian(f: Function, options: Options, **how: object) -> Evaluate:
    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        x = differentiable(x, options.create_graph)
        found = functional.jacobian(
            lambda z: f(z, *args).sum(0), x, create_graph=options.create_graph, **how
        )
        return found.movedim(0, 1)

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "scalar"])
def functional_hvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.autograd.functional.hvp`: three backwards, since its jvp is a double backward."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Tensor:
        x = differentiable(x, options.create_graph)
        return functional.hvp(_total(f, args), x, v, create_graph=options.create_graph)[1]

    return evaluate


@strategy(Operator.HVP, mode="reverse-over-reverse", sweep="one-pass", needs=["sum", "scalar"])
def functional_vhp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`torch.autograd.functional.vhp`: the same by symmetry of H, two backwards."""

    @torch.enable_grad()
    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Tensor:
        x = differentiable(x, options.create_graph)
        return functional.vhp(_total(f, args), x, v, create_graph=options.create_graph)[1]

    return evaluate


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="loop", needs=["rows"])
def functional_hessian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and output by output: `torch.autograd.functional.hessian`."""
    return _hessian(f, inputs, options)


@strategy(Operator.HESSIAN, mode="reverse-over-reverse", sweep="legacy-vmap", needs=["rows"])
def functional_hessian_vectorized(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and output by output: `functional.hessian(vectorize=True)`."""
    return _hessian(f, inputs, options, vectorize=True)


@strategy(
    Operator.HESSIAN,
    mode="forward-over-reverse",
    sweep="legacy-vmap",
    needs=["rows"],
    not_differentiable=_FORWARD_ONLY_VALUES,
)
def functional_hessian_forward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row, output by output: `functional.hessian` with forward mode outside."""
    return _hessian(f, inputs, options, vectorize=True, outer_jacobian_strategy="forward-mode")


def _hessian(f: Function, inputs: Inputs, options: Options, **how: object) -> Evaluate:
    m = f(*inputs).shape[1]

    @torch.enable_grad()
    def evaluate(x: Tensor, *args: Tensor) -> Tensor:
        x = differentiable(x, options.create_graph)
        hessians = [
            functional.hessian(
                lambda z, k=k, rest=rest: row(f)(z, *rest)[k],
                z,
                create_graph=options.create_graph,
                **how,
            )
            for z, *rest in zip(x, *args, strict=True)
            for k in range(m)
        ]
        return torch.stack(hessians).reshape(len(x), m, x.shape[1], x.shape[1])

    return evaluate
