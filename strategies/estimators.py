"""Estimators: divergences, Laplacians and Hessian diagonals from fewer products than inputs.

They give the answer on average, with an error that falls with the root of the number of products;
`values=True` says how large it is. Never taken by `"auto"`, never ranked with exact strategies.
What each costs and when it pays: docs/estimates.md.

NOTE [traces from products]
For random v with E[v vᵀ] = 1 the mean of vᵀ A v is the trace of A, that of v ∘ A v its diagonal.
Signs v leave the off-diagonal of A as the only source of error (Hutchinson 1990; for diagonals
Bekas, Kokiopoulou and Saad 2007; for divergences FFJORD, Grathwohl et al. 2019). v = √n eᵢ gives
n Aᵢᵢ: there the only source of error is that the diagonal is uneven, and none is left where all are
drawn (stochastic dimension gradient descent, Hu et al. 2024). A sample of k among n, none twice,
has (1 - k/n) of the variance of independent ones. Of a Hessian's diagonal it would know k entries
and put zero for the others, so there is no such estimator of it.

NOTE [hutch++]
Meyer, Musco, Musco and Woodruff 2021: a third of the products finds a basis Q of what A reaches, a
third takes the trace there exactly, a third estimates the rest, by vᵀ P A P v with P = 1 - Q Qᵀ.
tr A = tr Qᵀ A Q + tr P A P for any Q: with a basis held constant the gradients are unbiased too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import jacrev, jvp, vjp, vmap

from .curvature import gradient_of
from .diagonals import curve
from .drawing import dimensions, samples_of, signs, signs_beside_a_basis
from .functions import Function
from .operators import Estimate, Operator, Orders
from .registry import Evaluate, Inputs, Options, Unsupported, strategy

Products = Callable[[Tensor], Tensor]

_HUTCHINSON, _SAMPLED, _SKETCHED = "hutchinson", "sampled-dimensions", "hutch++"
_estimator = partial(strategy, sweep="vmap", exact=False)
_divergence = partial(_estimator, Operator.DIVERGENCE, mode="reverse", needs=["sum", "square"])
_laplacian = partial(_estimator, Operator.LAPLACIAN, mode="forward-over-forward", needs=["sum"])


def averaged(
    drawn: Tensor, options: Options, of: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """The mean of samples `[k, …]` and, for `values`, the variance of that mean.

    of: the samples are so many things, none taken twice. One sample tells nothing of its variance.
    """
    k, mean = len(drawn), drawn.mean(0)
    if not options.values:
        return mean, None
    if k == of:
        return mean, torch.zeros_like(mean)
    if k == 1:
        return mean, torch.full_like(mean, torch.nan)
    return mean, drawn.var(0) / k * (1 - k / of if of else 1)


def _pulled(f: Function, x: Tensor, args: Inputs) -> tuple[Tensor, Products]:
    """`f(x)` and `vᵀ ∂f/∂x` of every v of `[k, B, n]`, from one graph."""
    y, pull, *_ = vjp(lambda z: f(z, *args), x)

    def one(v: Tensor) -> Tensor:
        pulled: Tensor = pull(v)[0]
        return pulled

    return y, vmap(one)


def _trace(f: Function, options: Options, of: int | None) -> Evaluate:
    def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Orders:
        y, products = _pulled(f, x, args)
        trace, variance = averaged((products(probes) * probes).sum(-1), options, of)
        return Estimate(y, trace, None, variance)

    return evaluate


@_divergence(name=_HUTCHINSON, draws=signs)
def hutchinson_divergence(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate, as in FFJORD: the mean of vᵀ J v over random signs v, one graph for all."""
    return _trace(f, options, None)


@_divergence(name=_SAMPLED, draws=dimensions)
def sampled_dimensions_divergence(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: n times the mean of some of the diagonal of J, no entry taken twice."""
    return _trace(f, options, inputs[0].shape[1])


def _curvature(f: Function, options: Options, of: int | None) -> Evaluate:
    def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Orders:
        along = vmap(lambda v: curve(f, x, v, args))(probes)
        laplacian, variance = averaged(along, options, of)
        return Estimate(None, None, laplacian, variance)

    return evaluate


@_laplacian(name=_HUTCHINSON, draws=signs)
def hutchinson_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: the mean of vᵀ H v over random signs v, by `jvp` of `jvp`; no graph."""
    return _curvature(f, options, None)


@_laplacian(name=_SAMPLED, draws=dimensions)
def sampled_dimensions_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: n times the mean of some of the second derivatives, none taken twice."""
    return _curvature(f, options, inputs[0].shape[1])


@_estimator(
    Operator.HESSIAN_DIAGONAL,
    mode="forward-over-reverse",
    needs=["sum"],
    name=_HUTCHINSON,
    draws=signs,
)
def hutchinson_diagonal(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: the mean of v ∘ H v over random signs v, one `jvp` through `jacrev` each."""

    def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Orders:
        jacobian = jacrev(lambda z: f(z, *args).sum(0))
        # [k, m, B, n]
        along = vmap(lambda v: jvp(jacobian, (x,), (v,))[1] * v)(probes)
        diagonal, variance = averaged(along.movedim(1, 2), options)
        return Estimate(None, None, diagonal, variance)

    return evaluate


def _sketched(products: Products, probes: Tensor, options: Options) -> tuple[Tensor, Tensor | None]:
    """The trace by `products` of `[k, B, n]`, and its variance; see NOTE [hutch++]."""
    sketch = samples_of(options) // 3
    basis = _basis(products(probes[:sketch]))
    rest = probes[sketch:]
    rest = rest - torch.einsum("rbn,sbn,sbi->rbi", rest, basis, basis)
    along = torch.cat([basis, rest])
    forms = (products(along) * along).sum(-1)
    left, variance = averaged(forms[len(basis) :], options)
    return forms[: len(basis)].sum(0) + left, variance


def _basis(columns: Tensor) -> Tensor:
    """Of the span of `[s, B, n]`, row by row of the batch: `[min(s, n), B, n]`, orthonormal."""
    found: Tensor = torch.linalg.qr(columns.detach().movedim(0, -1)).Q
    return found.movedim(-1, 0)


def _can_sketch(options: Options) -> None:
    if options.create_graph and options.execution != "eager":
        raise Unsupported(
            "create_graph: it holds its basis constant, which a recording of it would not;"
            " execution='eager' trains"
        )
    if (k := samples_of(options)) < 3:
        raise Unsupported(
            f"samples={k}: it needs 3, to find a basis, for the trace there and for the rest;"
            " hutchinson takes 1"
        )


@_divergence(name=_SKETCHED, draws=signs_beside_a_basis)
def hutch_plus_plus_divergence(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: the trace of J exact on a sketched subspace, by random signs on the rest."""
    _can_sketch(options)

    def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Orders:
        y, products = _pulled(f, x, args)
        trace, variance = _sketched(products, probes, options)
        return Estimate(y, trace, None, variance)

    return evaluate


@_estimator(
    Operator.LAPLACIAN,
    mode="reverse-over-reverse",
    needs=["sum", "scalar"],
    name=_SKETCHED,
    draws=signs_beside_a_basis,
)
def hutch_plus_plus_laplacian(f: Function, inputs: Inputs, options: Options) -> Evaluate:
    """An estimate: the trace of H exact on a sketched subspace, by random signs on the rest."""
    _can_sketch(options)
    if (m := f(*inputs).shape[1]) != 1:
        raise Unsupported(
            f"each of the {m} outputs has a Hessian and would need a basis of its own;"
            " hutchinson takes any number of outputs"
        )

    def evaluate(x: Tensor, probes: Tensor, *args: Tensor) -> Orders:
        gradient, products = _pulled(gradient_of(f, args), x, ())
        laplacian, variance = _sketched(products, probes, options)
        wide = None if variance is None else variance[:, None]
        return Estimate(None, gradient, laplacian[:, None], wide)

    return evaluate
