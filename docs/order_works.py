"""Prints how far the strategies for the bilaplacian are from torch's own, each beside its bar.

python docs/order_works.py [--seconds S]

One run on one pinned thread: all that is compared in a row is called in turn, and medians of CPU
seconds are taken. The peer is two Hessians of torch.func, one of the trace of the other; a weighted
Laplacian's is ⟨C, H⟩ of one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from studies import seconds_in_turn, table_row
from torch import Tensor, nn
from torch.func import hessian, vmap

from strategies import Orders, prepare, prepare_weighted_laplacian

Function = Callable[..., Tensor]

BLOCKS = 200
HEAD = ("work", "bar", "figure", "strategy", "peer")


@dataclass(frozen=True)
class Work:
    """What is compared with the peer: the strategies with the least ratio each must reach."""

    name: str
    peer: str
    make: Callable[[torch.dtype], tuple[Function, dict[str, Function], Tensor]]
    bars: dict[str, float]


def mlp(*widths: int, dtype: torch.dtype) -> nn.Sequential:
    """A network of these widths with tanh between its layers."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(widths):
        layers += [nn.Linear(into, out), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def _alone(net: nn.Module) -> Function:
    return lambda row: net(row[None])[0]


def _trace(f: Function) -> Function:
    full = hessian(f)
    return lambda z: full(z).diagonal(dim1=-2, dim2=-1).sum(-1)


def _bilaplacian(dtype: torch.dtype) -> tuple[Function, dict[str, Function], Tensor]:
    net, x = mlp(5, 768, 768, 512, 512, 1, dtype=dtype), torch.randn(16, 5, dtype=dtype)
    names = ("forward-laplacian", "closed-form")
    plans = {name: prepare("bilaplacian", net, x, strategy=name) for name in names}
    return vmap(_trace(_trace(_alone(net)))), {n: _only(plan) for n, plan in plans.items()}, x


def _weighted(dtype: torch.dtype) -> tuple[Function, dict[str, Function], Tensor]:
    net, x = mlp(50, 256, 256, 1, dtype=dtype), torch.randn(16, 50, dtype=dtype)
    root = torch.randn(50, 4, dtype=dtype)
    full = vmap(hessian(_alone(net)))
    calls = {
        name: _only(prepare_weighted_laplacian(net, x, root=root, strategy=name))
        for name in ("forward-laplacian", "closed-form")
    }
    return lambda x: (full(x) * (root @ root.mT)).sum((-2, -1)), calls, x


def _only(call: Callable[..., Tensor | Orders]) -> Function:
    def alone(x: Tensor) -> Tensor:
        found = call(x)
        assert isinstance(found, Tensor)
        return found

    return alone


WORKS = (
    Work(
        "bilaplacian 5-768-768-512-512-1 B=16",
        "two nested hessian",
        _bilaplacian,
        {"forward-laplacian": 4.5, "closed-form": 7.0},
    ),
    Work(
        "weighted laplacian 50-256-256-1 B=16, rank 4",
        "hessian",
        _weighted,
        {"forward-laplacian": 10.0, "closed-form": 15.0},
    ),
)


def lines(work: Work, dtype: torch.dtype, seconds: float) -> Iterator[str]:
    """The lines of a work; ends where a strategy and the peer do not agree."""
    peer, calls, x = work.make(dtype)
    expected = peer(x)
    for name, call in calls.items():
        apart = float((call(x) - expected).norm() / expected.norm())
        if apart > 1e3 * torch.finfo(dtype).eps:
            sys.exit(f"{work.name} by {name} is {apart:.1e} from {work.peer}")
    timed = [lambda call=call: call(x) for call in (peer, *calls.values())]
    against, *own = map(statistics.median, seconds_in_turn(timed, BLOCKS, seconds))
    title = f"{work.name} {str(dtype).removeprefix('torch.')}"
    for (name, bar), took in zip(work.bars.items(), own, strict=True):
        yield table_row(
            (
                *(title, f"≥ {bar}×", f"{against / took:.2f}×"),
                *(f"{name} {1e3 * took:.3g} ms", f"{work.peer} {1e3 * against:.3g} ms"),
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, line by line as they are measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="about so long a work")
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    print(table_row(HEAD), table_row(["---"] * len(HEAD)), sep="\n", flush=True)
    with torch.no_grad():
        for work, dtype in itertools.product(WORKS, (torch.float32, torch.float64)):
            for line in lines(work, dtype, given.seconds):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
