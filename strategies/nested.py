"""The bilaplacian of any function: a Laplacian of its Laplacian.

Every strategy for the Laplacian that is differentiable can be nested so. What forward mode carries
is squared: (n + 2)² numbers for each one of f by `forward-laplacian`, the cheapest of them.
"""

from __future__ import annotations

from dataclasses import replace

from torch.func import hessian, vmap

from .functions import Function, row
from .operators import Operator, own_result
from .registry import Evaluate, Inputs, Options, find, strategy

_BILAPLACIAN = Operator.BILAPLACIAN


def _alone(evaluate: Evaluate) -> Function:
    """The Laplacian without what was found beside it."""
    return lambda x, *args: own_result(evaluate(x, *args), second=True)


def nested(name: str, f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The strategy of that name for the Laplacian, of f and of what it finds."""
    prepare = find(Operator.LAPLACIAN, name).prepare
    alone = replace(options, values=False)
    inner = _alone(prepare(f, inputs, replace(alone, create_graph=True)))
    return _alone(prepare(inner, inputs, alone))


@strategy(_BILAPLACIAN, mode="reverse-over-reverse", sweep="loop", needs=["sum"])
def loop_double_backward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Input by input, twice: `autograd.grad` four levels deep."""
    return nested("loop-double-backward", f, inputs, options)


@strategy(_BILAPLACIAN, mode="reverse-over-reverse", sweep="loop")
def loop_double_backward_rows(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Row by row and input by input, twice; for an f whose rows meet."""
    return nested("loop-double-backward-rows", f, inputs, options)


@strategy(_BILAPLACIAN, mode="forward-over-reverse", sweep="vmap", needs=["rows"])
def nested_hessian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """`vmap` of the trace of the Hessian of the trace of the Hessian: two whole Hessians."""

    def trace(g: Function) -> Function:
        full = hessian(g)
        return lambda z, *args: full(z, *args).diagonal(dim1=-2, dim2=-1).sum(-1)

    return vmap(trace(trace(row(f))))


@strategy(_BILAPLACIAN, mode="forward-over-forward", sweep="vmap", needs=["sum"])
def nested_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once, twice: four `jvp` within each other, and no graph."""
    return nested("nested-jvp", f, inputs, options)


@strategy(_BILAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
def forward_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Collapsed Taylor mode of collapsed Taylor mode: the operations of the first are recorded."""
    return nested("forward-laplacian", f, inputs, options)
