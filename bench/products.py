"""The products of the best known method, timed alone: this machine's rate at a case's shapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import cache, partial
from math import ceil

import torch
from torch import Tensor

from strategies.memory import collector_off

from . import measure
from .brackets import Product
from .case import Subject
from .device import Device, waiting
from .floors import Floor, floor
from .forward import Rounds, problem_name

Call = Callable[[], object]

# A round is short: the products differ from pass to pass by less than what is measured by them.
ROUND_S = 1e-3
# Numbers of one factor or result at a time: what stays in a processor's cache, what a GPU has room
# for.
LARGEST: Mapping[str, int] = {"cpu": 2**20, "cuda": 2**28}


def floor_of(made: Subject) -> Floor | None:
    """The floor of a case whose problem declares its layers; of exact strategies alone, since an
    estimate may cost less. Raises `ValueError` where f's rows are not as wide as it declares."""
    case, layers = made.case, made.problem.layers
    if layers is None or case.layout != "dense" or not made.strategy().exact:
        return None
    sizes = case.axes["n"], case.axes["m"]
    if sizes != (layers.widths[0], layers.widths[-1]):
        raise ValueError(
            f"{case.workload} declares layers of {layers.widths} units, and its rows have"
            f" {sizes[0]} inputs and {sizes[1]} outputs"
        )
    return floor(case.operator, layers, case.B, made.problem.x.element_size())


def products_seconds(
    made: Subject, least: Floor, device: Device, known: dict[str, Rounds]
) -> Rounds:
    """The rounds of the products, one after another into memory that is there; once for all cases
    of an operator on a problem, in `known`."""
    name = f"{made.case.operator} {problem_name(made.case)}"
    if name not in known:
        known[name] = _timed(waiting(_one_by_one(least, made), device))
    return known[name]


# Outside of the calls, as f itself.
@torch.no_grad()
def _timed(call: Callable[[], None]) -> Rounds:
    iterations = max(1, ceil(ROUND_S / measure.warm_up(call).call_s))
    # Nothing is allocated, so there is nothing to collect before.
    with collector_off():
        return measure.rounds(call, measure.Sizing(measure.LEAST_ROUNDS, iterations))


def _one_by_one(least: Floor, made: Subject) -> Callable[[], None]:
    x = made.problem.x
    new = partial(torch.ones, dtype=x.dtype, device=x.device)
    # Those of one shape share their memory.
    factor, result = cache(new), cache(new)
    calls: list[Call] = []
    for product in least.products:
        count, left, right, out = parts(product, LARGEST[x.device.type])
        calls += [_fastest(ways(factor(left), factor(right), result(out)))] * count

    def run() -> None:
        for call in calls:
            call()

    return run


def ways(left: Tensor, right: Tensor, out: Tensor) -> list[Call]:
    """Of one product, by each library that torch has for it.

    On a CPU a float32 convolution with kernels of one pixel is the same product, and goes to
    another library than `torch.mm`; its dilation, which changes nothing, keeps it from being taken
    for one.
    """
    multiply = torch.bmm if left.dim() == 3 else torch.mm
    found: list[Call] = [lambda: multiply(left, right, out=out)]
    if left.dim() == 2 and left.dtype == torch.float32 and left.device.type == "cpu":
        image = left.view(1, len(left), 1, -1).permute(0, 3, 1, 2)
        kernel = right.mT[:, :, None, None].contiguous()
        found.append(lambda: torch.conv2d(image, kernel, dilation=2))
    return found


def _fastest(calls: list[Call]) -> Call:
    return min(calls, key=_seconds)


def _seconds(call: Call) -> float:
    """The least of three, after one that warms up."""
    call()
    found = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


Shape = tuple[int, ...]


def parts(product: Product, largest: int) -> tuple[int, Shape, Shape, Shape]:
    """In how many parts a product is made so that no factor or result of one, a layer's weights
    aside, has more numbers than that; and the shapes of both factors and of the result."""
    rows, inner, columns, batch = astuple(product)
    if batch > 1:
        count, part = _even(batch, max(rows * inner, inner * columns, rows * columns), largest)
        return count, (part, rows, inner), (part, inner, columns), (part, rows, columns)
    count, part = _even(rows, max(inner, columns), largest)
    return count, (part, inner), (inner, columns), (part, columns)


def _even(number: int, each: int, largest: int) -> tuple[int, int]:
    """So many parts of one size."""
    count = ceil(number / max(1, largest // each))
    return count, ceil(number / count)
