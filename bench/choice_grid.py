"""The grid that the rule of `strategy="auto"` is fitted to, beside the default one: more sizes, and
networks that are no chain of layers, for every operator, to evaluate and to train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

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

FIRST = (JACOBIAN, VJP, JVP)
SQUARE = (*FIRST, DIVERGENCE)
SCALAR = (GRADIENT, HVP, HESSIAN, DIAGONAL, LAPLACIAN)


def choice() -> Iterator[Block]:
    """Networks of each kind at a few sizes; some of them in float64, some with a graph kept."""
    yield from _chains()
    yield from _composed()
    yield from _other_functions()


def _chains() -> Iterator[Block]:
    for B, n in ((64, 6), (8, 96)):
        yield Block("mlp-square", SQUARE[1:], B=B, params={"n": n})
    yield Block("mlp-tall", [JACOBIAN], B=4, params={"n": 4, "m": 48})
    yield Block("mlp-wide", [JACOBIAN], B=32, params={"n": 96, "m": 4})
    trained = Block("mlp-scalar", SCALAR, B=32, params={"n": 6}, create_graph=True)
    yield trained
    yield Block("mlp-square", [JACOBIAN, DIVERGENCE], B=32, params={"n": 6}, create_graph=True)
    yield Block("mlp-scalar", [DIAGONAL], B=128, params={"n": 3}, dtype="float64")


def _composed() -> Iterator[Block]:
    vector = partial(Block, "gated")
    for B, n, m in ((16, 6, 6), (64, 3, 3), (8, 32, 32)):
        yield vector(SQUARE, B=B, params={"n": n, "m": m})
    for B, n, m in ((16, 48, 6), (16, 4, 40), (1, 10, 10), (16, 12, 5)):
        yield vector(FIRST[:1], B=B, params={"n": n, "m": m})
    for B, n in ((64, 2), (32, 8), (8, 30)):
        yield vector(SCALAR, B=B, params={"n": n})
    yield vector([BILAPLACIAN], B=8, params={"n": 3})
    yield vector([LAPLACIAN, DIAGONAL], B=16, params={"n": 5, "m": 3})
    yield vector(SCALAR, B=32, params={"n": 4}, create_graph=True)
    yield vector(SQUARE, B=32, params={"n": 4, "m": 4}, create_graph=True)
    double = vector(SQUARE, B=16, params={"n": 6, "m": 6}, dtype="float64")
    yield double
    yield replace(double, operators=SCALAR, params={"n": 8})
    tokens = Block("token-field", SQUARE, B=8)
    yield tokens
    yield replace(tokens, operators=[JACOBIAN, DIVERGENCE], params={"tokens": 6, "width": 8})


def _other_functions() -> Iterator[Block]:
    yield Block("cnn", [JVP], B=4)
    yield Block("cnn", FIRST, B=2, params={"size": 4})
    energies = partial(Block, "lennard-jones")
    yield energies(SCALAR, B=16, params={"atoms": 2})
    yield energies(SCALAR, B=4, params={"atoms": 9})
    yield energies([GRADIENT, HVP], B=8, params={"atoms": 4}, create_graph=True)
    yield Block("attention", SCALAR, B=4, params={"tokens": 3, "width": 6})
    yield Block("attention", [GRADIENT, HVP, LAPLACIAN], B=4, create_graph=True)
    yield Block("log-sum-exp", SCALAR, B=32, params={"n": 12})
    yield Block("rosenbrock", [GRADIENT, HVP, HESSIAN, LAPLACIAN], B=32, params={"n": 10})
    yield Block("set-network", FIRST, B=4)
    yield Block("conv-stencil", SQUARE, B=2, params={"size": 6})
    yield Block("hand-simple", [VJP, JVP], B=1, params={"correspondences": 8})
    mixture = {"d": 2, "components": 2, "points": 20}
    yield Block("gaussian-mixture", [HESSIAN, DIAGONAL, LAPLACIAN], B=1, params=mixture)


def skewed() -> Iterator[Block]:
    """Many more outputs than inputs and the other way round, which tell sizes from kinds: so that
    no rule takes a batch, or many outputs, for what only the two together say."""
    wide, tall = {"n": 256, "m": 48}, {"n": 2, "m": 24}
    yield Block("mlp-wide", [JACOBIAN], B=16, params=wide)
    yield Block("mlp-tall", [JACOBIAN, JVP], B=16, params=tall)
    yield Block("mlp-scalar", [JVP], B=32, params={"n": 8})
    yield Block("cnn", [JACOBIAN], B=32)
    for B, n, m in ((8, 128, 40), (32, 64, 16), (4, 3, 24)):
        yield Block("gated", [JACOBIAN], B=B, params={"n": n, "m": m})
    few = Block("gated", [JACOBIAN], B=4, params={"n": 4, "m": 48}, chunk=4)
    yield few
    yield replace(few, workload="mlp-tall")
    yield replace(few, workload="set-network", params={})
    yield replace(few, workload="cnn", params={})
