"""The grids of what is counted and not timed: small cases, every strategy or every mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .block import (
    BILAPLACIAN,
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


def counters() -> Iterator[Block]:
    """Every strategy, eager and traced, to evaluate and to train, on the smallest sizes at which a
    lost vmap, a lost chunk and a needless pass are seen: nothing here is timed."""
    tall = Block("mlp-tall", [VJP, JVP, JACOBIAN], B=2, params={"n": 3, "m": 5})
    separable = Block("seed-square", [DIAGONAL], B=2, params={"n": 3})
    for block in (
        tall,
        Block("mlp-scalar", [GRADIENT, HVP, HESSIAN, LAPLACIAN], B=2, params={"n": 3}),
        separable,
        # The others have a Laplacian above, where this one refuses.
        replace(separable, operators=[LAPLACIAN], strategies=["double-backward-ones"]),
        Block("time-conditioned-field", [DIVERGENCE], B=2, params={"d": 3}),
        Block("mlp-scalar", [BILAPLACIAN], B=2, params={"n": 2}),
    ):
        for execution in ("eager", "traced"):
            every = replace(block, execution=execution, small_estimates=True)
            yield every
            yield replace(every, create_graph=True)
    yield replace(tall, operators=[JACOBIAN], chunk=2)
    yield replace(tall, operators=[JACOBIAN], chunk="8KiB", strategies=["chunked-jacrev"])
    # Other kinds of products, and operations that vmap has no rule for.
    stencil = Block("conv-stencil", [JACOBIAN], B=2, params={"size": 4}, strategies=["coloured"])
    grids = Block("brusselator", [JACOBIAN], B=2, params={"N": 3}, layout="sparse")
    valley = Block("rosenbrock", [HESSIAN], B=2, params={"n": 6}, layout="sparse")
    for block in (stencil, grids, valley):
        yield block
        yield replace(block, execution="traced")
    yield Block("cnn", [VJP, JACOBIAN], B=2)
    yield Block("attention", [GRADIENT, HVP], B=2)
    yield Block("lennard-jones", [GRADIENT, HVP], B=2, params={"atoms": 3})


# Of each operator a few of the smoke grid, every mode among them; of the traced a part.
_COUNTED = {
    VJP: ["autograd-grad", "func-vjp"],
    JVP: ["double-backward-jvp", "dual-jvp"],
    JACOBIAN: ["loop-grad", "jacrev-sum", "vmap-jacfwd", "closed-form-reverse"],
    GRADIENT: ["autograd-grad", "vmap-grad"],
    HVP: ["double-backward", "forward-over-reverse", "reverse-over-forward"],
    HESSIAN: ["loop-double-backward", "fwd-rev", "fwd-fwd"],
    LAPLACIAN: ["vmap-vhvp", "nested-jvp", "forward-laplacian"],
    DIAGONAL: ["double-backward-ones", "nested-jvp"],
    DIVERGENCE: ["loop-grad-trace", "jacrev-trace", "vmap-jvp-trace"],
    BILAPLACIAN: ["forward-laplacian", "closed-form"],
}


def instructions(smoke: Callable[[], Iterator[Block]]) -> Iterator[Block]:
    """Of the smoke grid every operator and mode, eager and traced."""
    for block in smoke():
        for operator in block.operators:
            ways = block.strategies or _COUNTED[operator]
            counted = replace(block, operators=[operator], strategies=ways)
            yield counted
            yield replace(counted, execution="traced")
