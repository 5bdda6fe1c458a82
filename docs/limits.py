"""Prints how far the fastest strategies are from torch's own, each figure beside its bar.

python docs/limits.py [--only PART …] [--seconds S]

One run on one pinned thread: all that is compared in a row is called in turn, and medians of CPU
seconds are taken, so that whoever shares the machine stays out of them. Unless a bar names another
one, the peer is the faster of what `torch.func` has for the derivative (`vmap(hessian(f))`,
`vmap(jacrev(f))`, `vmap(jacfwd(f))`, and their traces).
A strategy that the registry does not hold is printed as "not there".
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from studies import seconds_in_turn
from torch import Tensor, nn
from torch.func import hessian, jacfwd, jacrev, vmap

from bench.counters import counters
from bench.workloads import find_workload
from strategies import STRATEGIES, Operator, Orders, Plan, Unsupported, prepare, strategies_for
from strategies.functions import row

Function = Callable[..., Tensor]
Made = tuple[Function, Tensor]

F32, F64 = torch.float32, torch.float64
JACOBIAN, HESSIAN, LAPLACIAN = Operator.JACOBIAN, Operator.HESSIAN, Operator.LAPLACIAN
DIVERGENCE, HVP = Operator.DIVERGENCE, Operator.HVP

FUNC = "torch.func"
# At most, where the calls are short.
BLOCKS = 400
PLAIN = "plain"


@dataclass(frozen=True)
class Bar:
    """At least so many times as fast as the peer; of the operator HVP: at most so many forward
    passes by FLOPs.

    against: `torch.func`, one of its forms, or `plain`: the best of the work's plain strategies.
    """

    strategy: str
    figure: float
    against: str = FUNC
    execution: str = "eager"


@dataclass(frozen=True)
class Work:
    """A function, where, and the bars of one operator. plain: strategies that torch alone has."""

    name: str
    operator: Operator
    make: Callable[[torch.dtype], Made]
    bars: tuple[Bar, ...]
    dtype: torch.dtype = F32
    plain: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.operator} {self.name} {str(self.dtype).removeprefix('torch.')}"


def mlp(*widths: int, B: int) -> Callable[[torch.dtype], Made]:
    """A network of these widths with tanh between its layers."""

    def make(dtype: torch.dtype) -> Made:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for into, out in itertools.pairwise(widths):
            layers += [nn.Linear(into, out), nn.Tanh()]
        return nn.Sequential(*layers[:-1]).to(dtype), torch.randn(B, widths[0], dtype=dtype)

    return make


def known(name: str, B: int, **params: Any) -> Callable[[torch.dtype], Made]:
    """A workload of the suite, with the sum of its outputs where there are several."""

    def make(dtype: torch.dtype) -> Made:
        generator = torch.Generator().manual_seed(0)
        made = find_workload(name).build(dtype, torch.device("cpu"), generator, batch=B, **params)
        inside = made.x.shape[1:]
        f = lambda x: made.f(x.reshape(len(x), *inside)).reshape(len(x), -1).sum(1, True)  # noqa: E731
        return f, made.x.flatten(1)

    return make


PAPER, TALL = (50, 768, 768, 512, 512, 1), (8, 256, 256, 256, 256, 64)
SMALL, SMALL_SCALAR = (8, 64, 64, 64, 64, 8), (3, 64, 64, 64, 64, 1)
BOTTLENECK = (784, 256, 32, 256, 784)
EAGER_JACOBIANS = ("replicate-batch", "jacrev-sum", "vmap-autograd-grad", "loop-grad", "vmap-jvp")


def _both(
    *works: tuple[str, Operator, Callable[[torch.dtype], Made], tuple[Bar, ...]],
) -> list[Work]:
    return [Work(*work, dtype=dtype) for work in works for dtype in (F32, F64)]


WORKS: tuple[Work, ...] = (
    *_both(
        (
            "paper net B=128",
            LAPLACIAN,
            mlp(*PAPER, B=128),
            (Bar("forward-laplacian", 2.3), Bar("closed-form", 2.5)),
        ),
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
    *(
        Work(
            "paper net B=16",
            HESSIAN,
            mlp(*PAPER, B=16),
            (Bar("closed-form", 2.0, "vmap(hessian)"), Bar("closed-form", 1.7, PLAIN)),
            dtype,
            ("fwd-rev", "rev-rev", "fwd-fwd", "vmap-double-backward", "chunked-fwd-rev"),
        )
        for dtype in (F32, F64)
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
            Bar("closed-form-forward", 6.0),
            Bar("closed-form-reverse", 6.0),
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
    *_both(
        (
            "autoencoder 784-256-32-256-784 B=4",
            JACOBIAN,
            mlp(*BOTTLENECK, B=4),
            (Bar("cross-country", 7.0),),
        ),
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
    Work(
        "64-64-64-1 B=64, FLOPs in forward passes",
        HVP,
        mlp(64, 64, 64, 1, B=64),
        tuple(
            Bar(s, 4.1, execution="traced")
            for s in ("forward-over-reverse", "reverse-over-reverse", "reverse-over-forward")
        ),
    ),
)


def _trace(matrix: Function) -> Function:
    return lambda x: matrix(x).diagonal(dim1=-2, dim2=-1).sum(-1)


def forms(work: Work, f: Function) -> dict[str, Function]:
    """What `torch.func` has for the operator."""
    one = row(f)
    first = {"vmap(jacrev)": vmap(jacrev(one)), "vmap(jacfwd)": vmap(jacfwd(one))}
    second = {"vmap(hessian)": vmap(hessian(one))}
    found: dict[Operator, dict[str, Function]] = {
        JACOBIAN: first,
        HESSIAN: second,
        LAPLACIAN: {name: _trace(form) for name, form in second.items()},
        DIVERGENCE: {"vmap(jacrev)": _trace(first["vmap(jacrev)"])},
    }
    return found[work.operator]


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    work: str
    bar: str
    figure: str
    strategy: str
    peer: str

    def __str__(self) -> str:
        return f"| {self.work} | {self.bar} | {self.figure} | {self.strategy} | {self.peer} |"


HEAD = Line("work", "bar", "figure", "strategy", "peer")


def seconds_of(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median CPU seconds of a call of each, all called in turn for about so long."""
    found = seconds_in_turn(list(calls.values()), BLOCKS, seconds)
    return {name: statistics.median(times) for name, times in zip(calls, found, strict=True)}


def _label(bar: Bar) -> str:
    return bar.strategy if bar.execution == "eager" else f"{bar.strategy}, {bar.execution}"


def planned(work: Work, f: Function, x: Tensor) -> tuple[dict[str, Plan], dict[str, str]]:
    """The plan of every bar by its label, and the notes of what it took or why there is none."""
    plans: dict[str, Plan] = {}
    notes: dict[str, str] = {}
    for bar in work.bars:
        label = _label(bar)
        if (work.operator, bar.strategy) not in STRATEGIES:
            notes[label] = "not there"
        elif label not in plans:
            start = time.perf_counter()
            try:
                plans[label] = prepare(
                    work.operator, f, x, strategy=bar.strategy, execution=bar.execution
                )
            except Unsupported as refusal:
                notes[label] = f"refused: {refusal}"
            if bar.execution == "compile":
                notes[label] = f", compiled in {time.perf_counter() - start:.0f} s"
    return plans, notes


def checked(plan: Plan, form: Function, x: Tensor) -> None:
    """Stop where a plan and torch's own do not agree."""
    found, expected = plan(x), form(x)
    assert not isinstance(found, Orders)
    apart = (found.reshape(-1) - expected.reshape(-1)).norm() / expected.norm()
    if apart > 1e3 * torch.finfo(x.dtype).eps:
        sys.exit(f"{plan.operator} by {plan.strategy} is {apart:.1e} from torch.func")


def timed(work: Work, seconds: float) -> Iterator[Line]:
    """The lines of a work whose figures are ratios of times."""
    f, x = work.make(work.dtype)
    plans, notes = planned(work, f, x)
    own = forms(work, f) if plans else {}
    for plan in plans.values():
        checked(plan, next(iter(own.values())), x)
    there = {s.name for s in strategies_for(work.operator)}
    plain = [s for s in work.plain if s in there and plans]
    calls: dict[str, Callable[[], object]] = {n: lambda c=c: c(x) for n, c in own.items()}
    calls |= {f"plain {s}": _called(prepare(work.operator, f, x, strategy=s), x) for s in plain}
    calls |= {name: _called(plan, x) for name, plan in plans.items()}
    with torch.no_grad():
        took = seconds_of(calls, seconds) if plans else {}
    peers = {FUNC: list(own), PLAIN: [f"plain {s}" for s in plain], **{n: [n] for n in own}}
    for bar in work.bars:
        label = _label(bar)
        if label not in plans:
            yield Line(work.title, f"≥ {bar.figure}×", notes[label], label, bar.against)
            continue
        peer = min(peers[bar.against], key=took.__getitem__)
        yield Line(
            work.title,
            f"≥ {bar.figure}×",
            f"{took[peer] / took[label]:.2f}×",
            f"{label} {1e3 * took[label]:.3g} ms{notes.get(label, '')}",
            f"{peer} {1e3 * took[peer]:.3g} ms",
        )


def _called(plan: Plan, x: Tensor) -> Callable[[], object]:
    return lambda: plan(x)


def counted(work: Work) -> Iterator[Line]:
    """The lines of a work whose figures are FLOPs in forward passes."""
    f, x = work.make(work.dtype)
    with torch.no_grad():
        forward = counters(f, (x,))["flops"]
    for bar in work.bars:
        plan = prepare(work.operator, f, x, x, strategy=bar.strategy, execution=bar.execution)
        figure = counters(plan, (x, x))["flops"] / forward
        yield Line(work.title, f"≤ {bar.figure} F", f"{figure:.2f} F", _label(bar), "f")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], help="part of a work's title")
    parser.add_argument("--seconds", type=float, default=20.0, help="about so long a work")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    print(HEAD, "|---|---|---|---|---|", sep="\n", flush=True)
    for work in WORKS:
        if all(part in work.title for part in given.only):
            for line in counted(work) if work.operator == HVP else timed(work, given.seconds):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
