"""Taylor mode for arbitrary functions: the recorded graph of f, read by the rules of `jets`.

`zero-aware-forward` carries value and tangents, `forward-laplacian` the sum of the second
derivatives too, `taylor2` one of them for each direction. See `jets` for the sources.

NOTE [zero tangents]
Forward mode of torch gives the weight of a layer a tangent of zero and multiplies it (pytorch
issue 69687): three products a layer and direction. A rule knows what moves with x: two.
"""

from __future__ import annotations

from torch import Tensor

from .functions import Function
from .jet_evaluation import in_pieces, jets_along
from .jets import Jet, Seconds
from .operators import Operator, Orders
from .registry import Evaluate, Inputs, Options, strategy, summed


@strategy(Operator.JVP, mode="forward", sweep="one-pass", needs=["sum"], name="zero-aware-forward")
def zero_aware_jvp(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """One tangent through the recorded layers of f; weights have none."""
    jets = jets_along(f, inputs, options, Seconds.NONE)

    def evaluate(x: Tensor, v: Tensor, *args: Tensor) -> Orders:
        jet: Jet = jets(x, v, *args)
        return Orders(jet.value.clone() if options.values else jet.value, jet.first[0])

    return evaluate


@strategy(Operator.JACOBIAN, mode="forward", sweep="one-pass", needs=["rows"])
def zero_aware_forward(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """All inputs at once through the recorded layers of f; weights have no tangents to multiply."""
    return in_pieces(f, inputs, options, Seconds.NONE)


@strategy(
    Operator.DIVERGENCE,
    mode="forward",
    sweep="one-pass",
    needs=["rows", "square"],
    name="zero-aware-forward",
)
def zero_aware_trace(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """The trace of the Jacobian by zero-aware-forward."""
    jacobian = in_pieces(f, inputs, options, Seconds.NONE)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        found = jacobian(x, *args)
        assert found.first is not None
        return found._replace(first=found.first.diagonal(dim1=-2, dim2=-1).sum(-1))

    return evaluate


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
def forward_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Collapsed Taylor mode: value, all tangents and the Laplacian in one forward pass."""
    jets = in_pieces(f, inputs, options, Seconds.SUM)

    def evaluate(x: Tensor, *args: Tensor) -> Orders:
        found = jets(x, *args)
        assert found.second is not None
        return found._replace(second=found.second.squeeze(-1))

    return evaluate


@strategy(Operator.LAPLACIAN, mode="taylor", sweep="one-pass", needs=["rows"])
@summed
@strategy(Operator.HESSIAN_DIAGONAL, mode="taylor", sweep="one-pass", needs=["rows"])
def taylor2(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """Taylor mode of order two: value, all tangents and a second derivative for each of them."""
    return in_pieces(f, inputs, options, Seconds.EACH)
