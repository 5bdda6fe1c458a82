"""The grids that are timed: which workloads at which sizes for which operators, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def _sizes(block: Block, name: str, sizes: Iterable[int]) -> Iterator[Block]:
    """The block at each size of one parameter (`B` is one too)."""
    for value in sizes:
        if name == "B":
            yield replace(block, B=value)
        else:
            yield replace(block, params={**block.params, name: value})


def smoke() -> Iterator[Block]:
    yield Block("mlp-square", [VJP, JVP, JACOBIAN], B=4, params={"n": 8})
    scalar = Block("mlp-scalar", [GRADIENT, HVP, HESSIAN, LAPLACIAN], B=4, params={"n": 6})
    yield replace(scalar, small_estimates=True)
    yield Block("seed-square", [DIAGONAL], B=4, small_estimates=True)
    yield Block("time-conditioned-field", [DIVERGENCE], B=4, small_estimates=True)
    ways = ["coloured", "partially-separable"]
    yield Block("conv-stencil", [JACOBIAN], B=4, params={"size": 4}, strategies=ways[:1])
    yield Block("brusselator", [JACOBIAN], B=4, params={"N": 3}, strategies=ways)
    yield Block("mlp-scalar", [BILAPLACIAN], B=4, params={"n": 2})


def default() -> Iterator[Block]:
    yield from _seeds()
    yield from _first_order()
    yield from _second_order()
    yield from _sparse()
    yield from _adbench()
    yield from _ways_of_running()


def _seeds() -> Iterator[Block]:
    yield Block("seed-sum", [GRADIENT], B=16)
    yield Block("seed-pair", [VJP], B=16)
    yield Block("seed-square", [DIAGONAL], B=16)


def _first_order() -> Iterator[Block]:
    yield Block("mlp-wide", [JACOBIAN, JVP], B=16, params={"n": 512, "m": 8})
    yield Block("mlp-tall", [JACOBIAN, VJP], B=16, params={"n": 8, "m": 256})
    square = Block("mlp-square", [JACOBIAN], B=16)
    yield from _sizes(square, "n", (4, 16, 64, 192))
    yield from _sizes(replace(square, params={"n": 16}), "B", (1, 128))
    yield Block("mlp-scalar", [GRADIENT, HVP], B=64, params={"n": 64})
    yield Block("log-sum-exp", [GRADIENT], B=64, params={"n": 256})
    yield Block("lennard-jones", [GRADIENT, HVP], B=4, params={"atoms": 8})
    yield Block("attention", [GRADIENT], B=8)
    yield Block("cnn", [JACOBIAN, VJP], B=4)
    yield from _sizes(Block("time-conditioned-field", [DIVERGENCE], B=64), "d", (4, 32))


def _second_order() -> Iterator[Block]:
    scalar = Block("mlp-scalar", [HESSIAN, LAPLACIAN], B=16)
    yield from _sizes(scalar, "n", (4, 8, 16, 32))
    yield Block("mlp-deep", [LAPLACIAN], B=16)
    yield Block("mlp-tiny", [HESSIAN, DIAGONAL], B=64)
    yield Block("paper-net", [LAPLACIAN], B=4)
    yield Block("mlp-scalar", [BILAPLACIAN], B=16, params={"n": 4})
    yield Block("rosenbrock", [DIAGONAL], B=16, params={"n": 16})
    yield Block("log-sum-exp", [HESSIAN], B=16, params={"n": 16})
    yield Block("lennard-jones", [HESSIAN], B=2, params={"atoms": 6})
    yield Block("attention", [HVP, DIAGONAL], B=2)


def _sparse() -> Iterator[Block]:
    """In both layouts those that know where the zeros are, beside the fastest for a dense one."""
    dense = ["jacrev-sum", "vmap-jvp", "coloured", "partially-separable"]
    grids = Block("brusselator", [JACOBIAN], B=1, params={"N": 8}, strategies=dense)
    for block in (grids, replace(grids, workload="conv-stencil", params={"size": 12})):
        yield block
        yield replace(block, layout="sparse", strategies=())
    yield replace(grids, layout="sparse", strategies=(), execution="traced")
    yield Block("set-network", [JACOBIAN], B=4, params={}, strategies=dense[:3])
    yield Block("rosenbrock", [HESSIAN], B=4, params={"n": 32}, layout="sparse")


def _adbench() -> Iterator[Block]:
    yield Block("hand-simple", [JACOBIAN], B=1, params={"correspondences": 8})
    yield Block("hand-complicated", [JACOBIAN], B=1, params={"correspondences": 4})
    bundle = {"cameras": 2, "points": 3, "observations": 6}
    yield Block("bundle-adjustment", [JACOBIAN], B=1, params=bundle)
    mixture = {"d": 2, "components": 3, "points": 50}
    yield Block("gaussian-mixture", [GRADIENT, HVP], B=1, params=mixture)


def _large_adbench() -> Iterator[Block]:
    hand = Block("hand-simple", [JACOBIAN], B=1, params={"vertices": 544})
    yield from _sizes(hand, "correspondences", (100, 1000))
    yield from _sizes(replace(hand, workload="hand-complicated"), "correspondences", (20, 100))
    bundle = Block("bundle-adjustment", [JACOBIAN], B=1, params={"cameras": 4, "points": 40})
    yield from _sizes(bundle, "observations", (40, 160))
    mixture = Block("gaussian-mixture", [GRADIENT, HVP], B=1, params={"d": 5, "points": 200})
    yield from _sizes(mixture, "components", (5, 20))


def _ways_of_running() -> Iterator[Block]:
    square = Block("mlp-square", [JACOBIAN], B=16, params={"n": 16})
    scalar = Block("mlp-scalar", [HVP, HESSIAN, LAPLACIAN], B=16, params={"n": 8})
    yield replace(square, dtype="float64")
    yield replace(scalar, dtype="float64", operators=[HESSIAN])
    for block in (replace(square, B=4), replace(scalar, B=4)):
        yield block
        yield replace(block, execution="traced")
    for block in (square, replace(scalar, operators=[LAPLACIAN, HVP])):
        yield replace(block, create_graph=True)
    yield replace(square, chunk=4)
    yield replace(square, chunk="96KiB")
    yield replace(scalar, operators=[HESSIAN], params={"n": 16}, chunk="160KiB")
    yield from _compiled()
    yield from _captured(_compiled())


def _compiled() -> Iterator[Block]:
    """A few: each compiles for seconds, in every pass."""
    square = Block("mlp-square", [JACOBIAN], B=4, params={"n": 16}, execution="compile")
    yield replace(square, strategies=["vmap-jacrev", "jacrev-sum", "vmap-jacfwd"])
    scalar = Block("mlp-scalar", [HESSIAN], B=4, params={"n": 8}, execution="compile")
    yield replace(scalar, strategies=["fwd-rev"])
    yield replace(scalar, operators=[HVP], strategies=["forward-over-reverse"])
    yield replace(scalar, operators=[LAPLACIAN], strategies=["nested-jvp"])


def _many_compiled() -> Iterator[Block]:
    jacobians = ["loop-grad", "vmap-jacrev", "jacrev-sum", "vmap-jvp", "vmap-jacfwd"]
    square = Block("mlp-square", [JACOBIAN], B=16, execution="compile", strategies=jacobians)
    yield from _sizes(square, "n", (4, 64))
    yield Block("cnn", [JACOBIAN], B=4, execution="compile", strategies=["jacrev-sum"])
    scalar = Block("mlp-scalar", [HVP, HESSIAN, LAPLACIAN], B=16, execution="compile")
    second = ["forward-over-reverse", "reverse-over-reverse", "fwd-rev", "rev-rev", "nested-jvp"]
    yield from _sizes(replace(scalar, strategies=second), "n", (8, 32))
    yield Block("paper-net", [LAPLACIAN], B=4, execution="compile", strategies=["nested-jvp"])
    yield replace(square, params={"n": 16}, create_graph=True, strategies=["jacrev-sum"])


def _captured(compiled: Iterable[Block]) -> Iterator[Block]:
    """The same by CUDA graphs; asked of CUDA devices only."""
    for block in compiled:
        if not block.create_graph:
            yield replace(block, execution="cuda-graph")


def full() -> Iterator[Block]:
    yield from default()
    for block in default():
        if block.dtype == "float32" and block.execution in ("eager", "traced"):
            yield replace(block, dtype="float64")
        if block.execution == "eager" and not block.create_graph:
            yield replace(block, execution="traced")
    square = Block("mlp-square", [JACOBIAN], params={"n": 64})
    yield from _sizes(square, "B", (1, 4, 64, 256, 1024))
    yield from _sizes(Block("mlp-wide", [JACOBIAN], B=16, params={"m": 8}), "n", (64, 2048, 8192))
    yield from _sizes(Block("mlp-tall", [JACOBIAN], B=16, params={"n": 8}), "m", (64, 1024))
    yield Block("cnn", [JACOBIAN], B=4, params={"size": 32})
    yield from _sizes(Block("paper-net", [LAPLACIAN, HESSIAN]), "B", (1, 16, 128))
    yield from _sizes(Block("mlp-scalar", [LAPLACIAN], B=16), "n", (64, 128, 256))
    yield from _sizes(Block("mlp-scalar", [BILAPLACIAN], B=16), "n", (2, 8))
    yield from _large_adbench()
    yield from _many_compiled()
    yield from _captured(_many_compiled())
    yield from _on_threads()


def _on_threads() -> Iterator[Block]:
    """Large enough to be shared: below, a second thread only waits."""
    square = Block("mlp-square", [JACOBIAN], B=256, params={"n": 64}, threads=(1, 2))
    yield replace(square, strategies=["loop-grad", "vmap-jacrev", "jacrev-sum", "vmap-jvp"])
    scalar = Block("mlp-scalar", [LAPLACIAN], B=256, params={"n": 64}, threads=(1, 2))
    yield replace(scalar, strategies=["vmap-vhvp", "nested-jvp"])
