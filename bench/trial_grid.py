"""The grid on which comparisons themselves are tried: twenty cases, each timed within milliseconds.

Every operator up to order two and every mode, launches and arithmetic, eager and traced; none so
long that a pass of all takes more than some seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .block import (
    DIAGONAL,
    DIVERGENCE,
    GRADIENT,
    HESSIAN,
    HVP,
    JACOBIAN,
    JVP,
    LAPLACIAN,
    VJP,
    Block,
)


def trials() -> Iterator[Block]:
    """Twenty cases. The published rates of false alarms are of these: change both together."""
    square = partial(Block, "mlp-square", B=16, params={"n": 16})
    scalar = partial(Block, "mlp-scalar", B=16, params={"n": 16})
    for strategies in (["loop-grad"], ["vmap-jacrev"], ["vmap-jvp"], ["jacrev-sum"]):
        yield square(operators=[JACOBIAN], strategies=strategies)
    yield square(operators=[JACOBIAN], strategies=["jacrev-sum"], execution="traced")
    yield square(operators=[VJP], strategies=["func-vjp"])
    yield square(operators=[JVP], strategies=["dual-jvp"])
    for strategies in (["loop-double-backward"], ["fwd-rev"]):
        yield scalar(operators=[HESSIAN], strategies=strategies)
    for strategies in (["vmap-vhvp"], ["nested-jvp"]):
        yield scalar(operators=[LAPLACIAN], strategies=strategies)
    yield scalar(operators=[LAPLACIAN], strategies=["nested-jvp"], execution="traced")
    yield Block("mlp-tiny", [LAPLACIAN], B=16, strategies=["nested-jvp"])
    yield Block("mlp-tiny", [DIAGONAL], B=16, strategies=["from-hessian"])
    yield Block("seed-sum", [GRADIENT], B=16, strategies=["autograd-grad"])
    yield Block("attention", [GRADIENT], B=8, strategies=["vmap-grad"])
    molecules = partial(Block, "lennard-jones", B=4, params={"atoms": 8})
    for strategies in (["double-backward"], ["forward-over-reverse"]):
        yield molecules(operators=[HVP], strategies=strategies)
    field = partial(Block, "time-conditioned-field", B=64, params={"d": 4})
    yield field(operators=[DIVERGENCE], strategies=["vmap-jvp-trace"])
    yield Block("cnn", [VJP], B=4, strategies=["autograd-grad"])
