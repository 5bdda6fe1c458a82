"""What `make limits` compares: functions, where, and the bars of the fastest strategies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.workloads import find_workload
from strategies import Operator

Function = Callable[..., Tensor]
Made = tuple[Function, Tensor]
Make = Callable[[torch.dtype], Made]

F32, F64 = torch.float32, torch.float64
JACOBIAN, HESSIAN, LAPLACIAN = Operator.JACOBIAN, Operator.HESSIAN, Operator.LAPLACIAN
DIVERGENCE, HVP = Operator.DIVERGENCE, Operator.HVP

FUNC, PLAIN, FLOOR = "torch.func", "plain", "GEMM floor"
F, ENTRIES = "f", "zeros and entries"
# Of glibc: no block is mapped afresh, or given back, at each call.
THRESHOLDS = (
    ("MALLOC_MMAP_THRESHOLD_", str(2**30)),
    ("MALLOC_TRIM_THRESHOLD_", str(2**30)),
)


@dataclass(frozen=True)
class Bar:
    """At least so many times as fast as what it is held against, or at most so many times as slow.

    against: to be faster than, `torch.func`, one of its forms, or `plain` (the best of the work's
    plain strategies); to be near to, the floor (the method's own products of matrices), f (one call
    of it), or zeros and entries (what any dense result costs: these written into those).
    """

    strategy: str
    figure: float
    against: str = FUNC
    execution: str = "eager"
    layout: Literal["dense", "sparse"] = "dense"

    @property
    def label(self) -> str:
        usual = ("eager", "dense")
        ways = [way for way in (self.execution, self.layout) if way not in usual]
        return ", ".join([self.strategy, *ways])

    @property
    def is_cost(self) -> bool:
        return self.against in (FLOOR, F, ENTRIES)

    @property
    def unit(self) -> str:
        return " F" if self.against == F else "×"

    @property
    def text(self) -> str:
        return f"{'≤' if self.is_cost else '≥'} {self.figure}{self.unit}"


@dataclass(frozen=True)
class Work:
    """A function, where, and the bars of one operator.

    plain: strategies that torch alone has. chunk: rows at once of one more form of `torch.func`.
    environment: variables of the process that measures it; where they are not set, a child does.
    """

    name: str
    operator: Operator
    make: Make
    bars: tuple[Bar, ...]
    dtype: torch.dtype = F32
    plain: tuple[str, ...] = ()
    chunk: int | None = None
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return f"{self.operator} {self.name} {str(self.dtype).removeprefix('torch.')}"


def mlp(*widths: int, B: int) -> Make:
    """A network of these widths with tanh between its layers."""

    def make(dtype: torch.dtype) -> Made:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for into, out in itertools.pairwise(widths):
            layers += [nn.Linear(into, out), nn.Tanh()]
        return nn.Sequential(*layers[:-1]).to(dtype), torch.randn(B, widths[0], dtype=dtype)

    return make


class Summed(nn.Module):
    """A network of rows of any shape as one of vectors, with the sum of its outputs."""

    def __init__(self, network: nn.Module, inside: torch.Size) -> None:
        super().__init__()
        self.network, self.inside = network, inside

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(x.reshape(len(x), *self.inside))
        return y.reshape(len(x), -1).sum(1, True)


def known(name: str, B: int, **params: Any) -> Make:
    """A workload of the suite, summed."""

    def make(dtype: torch.dtype) -> Made:
        generator = torch.Generator().manual_seed(0)
        made = find_workload(name).build(dtype, torch.device("cpu"), generator, batch=B, **params)
        assert isinstance(made.f, nn.Module)
        return Summed(made.f, made.x.shape[1:]), made.x.flatten(1)

    return make


PAPER, TALL = (50, 768, 768, 512, 512, 1), (8, 256, 256, 256, 256, 64)
SMALL, SMALL_SCALAR = (8, 64, 64, 64, 64, 8), (3, 64, 64, 64, 64, 1)
BOTTLENECK = (784, 256, 32, 256, 784)
EAGER_JACOBIANS = ("replicate-batch", "jacrev-sum", "vmap-autograd-grad", "loop-grad", "vmap-jvp")
PLAIN_HESSIANS = ("fwd-rev", "rev-rev", "fwd-fwd", "vmap-double-backward", "chunked-fwd-rev")


def _either(name: str, operator: Operator, make: Make, *bars: Bar, **more: Any) -> list[Work]:
    """The same in both dtypes."""
    return [Work(name, operator, make, bars, dtype, **more) for dtype in (F32, F64)]


WORKS: tuple[Work, ...] = (
    *_either(
        "paper net B=128",
        LAPLACIAN,
        mlp(*PAPER, B=128),
        Bar("forward-laplacian", 2.3),
        Bar("closed-form", 2.5),
        Bar("closed-form", 1.3, FLOOR),
    ),
    *_either(
        "paper net B=128, allocator thresholds of 1 GiB",
        LAPLACIAN,
        mlp(*PAPER, B=128),
        Bar("forward-laplacian", 1.9),
        Bar("closed-form", 2.1),
        environment=THRESHOLDS,
    ),
    Work(
        "paper net B=1",
        LAPLACIAN,
        mlp(*PAPER, B=1),
        (Bar("forward-laplacian", 3.3), Bar("closed-form", 3.8)),
    ),
    Work(
        "paper net B=1",
        LAPLACIAN,
        mlp(*PAPER, B=1),
        (Bar("forward-laplacian", 2.8), Bar("closed-form", 3.0)),
        F64,
    ),
    *_either(
        "paper net B=16",
        HESSIAN,
        mlp(*PAPER, B=16),
        Bar("closed-form", 2.0, "vmap(hessian)"),
        Bar("closed-form", 1.7, PLAIN),
        plain=PLAIN_HESSIANS,
    ),
    Work(
        "8-256×4-64 B=128",
        JACOBIAN,
        mlp(*TALL, B=128),
        tuple(Bar(s, 1.4) for s in ("closed-form-forward", "cross-country")),
    ),
    Work(
        "8-256×4-64 B=128",
        JACOBIAN,
        mlp(*TALL, B=128),
        tuple(Bar(s, 1.6, "vmap(jacfwd)") for s in ("closed-form-forward", "cross-country")),
        F64,
    ),
    Work(
        "8-64×4-8 B=1",
        JACOBIAN,
        mlp(*SMALL, B=1),
        (
            Bar("closed-form-forward", 2.3, PLAIN),
            Bar("closed-form-reverse", 2.3, PLAIN),
            Bar("closed-form-reverse", 2.3, PLAIN, "traced"),
            Bar("closed-form-forward", 6.0),
            Bar("closed-form-reverse", 6.0),
            Bar("closed-form-reverse", 6.0, execution="traced"),
            Bar("closed-form-reverse", 14.0, "vmap(jacrev)", "compile"),
            Bar("vmap-jacrev", 14.0, "vmap(jacrev)", "compile"),
        ),
        plain=EAGER_JACOBIANS,
    ),
    Work(
        "3-64×4-1 B=256",
        HESSIAN,
        mlp(*SMALL_SCALAR, B=256),
        tuple(Bar(s, 5.5, "vmap(hessian)", "compile") for s in ("closed-form", "fwd-rev")),
    ),
    *_either(
        "autoencoder 784-256-32-256-784 B=4",
        JACOBIAN,
        mlp(*BOTTLENECK, B=4),
        Bar("cross-country", 7.0),
    ),
    Work(
        "1000-64×3-1 B=32",
        LAPLACIAN,
        mlp(1000, 64, 64, 64, 1, B=32),
        (Bar("rank-fold", 100.0), Bar("forward-laplacian", 15.0)),
    ),
    Work("32-64-64-32 B=256", DIVERGENCE, mlp(32, 64, 64, 32, B=256), (Bar("cyclic-fold", 9.0),)),
    Work(
        "attention 16×32 B=8",
        LAPLACIAN,
        known("attention", 8, tokens=16, width=32),
        (Bar("forward-laplacian", 2.3),),
    ),
    Work("cnn 3×16×16 B=4", LAPLACIAN, known("cnn", 4, size=16), (Bar("forward-laplacian", 3.0),)),
)

# Of these the bar is at most so many forward passes by FLOPs, which are counted.
COUNTS: tuple[Work, ...] = (
    Work(
        "64-64-64-1 B=64, FLOPs in forward passes",
        HVP,
        mlp(64, 64, 64, 1, B=64),
        tuple(
            Bar(s, 4.1, F, "traced")
            for s in ("forward-over-reverse", "reverse-over-reverse", "reverse-over-forward")
        ),
    ),
)
