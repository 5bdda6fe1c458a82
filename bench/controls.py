"""Controls: what is measured in each pass and holds no code of ours.

They say how fast this machine launches, multiplies and copies, and whether it did so evenly: where
a control moves between passes, the machine moved, and not what was measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reports.schema import CONTROL, case_id

LAUNCHES = 1000


@dataclass(frozen=True)
class Control:
    """One control: its name, how large it is, where it runs."""

    name: str
    size: int
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1

    @property
    def axes(self) -> dict[str, Any]:
        """The coordinates as the result file writes them: those of a case of no operator."""
        return {
            **{"operator": CONTROL, "strategy": self.name, "execution": "eager"},
            **{"workload": CONTROL, "params": {}, "in_shape": [self.size]},
            **{"out_shape": [self.size], "B": self.size, "n": self.size, "m": self.size},
            **{"dtype": self.dtype, "device": self.device, "threads": self.threads},
            **{"create_graph": False, "chunk": None, "layout": "dense"},
        }

    @property
    def id(self) -> str:
        """The printable name."""
        return case_id(self.axes)


def control_from_axes(axes: Mapping[str, Any]) -> Control:
    """The control that `Control.axes` wrote."""
    return Control(axes["strategy"], axes["n"], axes["dtype"], axes["device"], axes["threads"])


@dataclass(frozen=True)
class Work:
    """What a control does: the call, and what one call counts."""

    call: Callable[[], object]
    counters: Mapping[str, int]


def launches(x: Tensor) -> Work:
    """A thousand operations, one after another: on a single number each, only the launch counts."""

    def call() -> None:
        for _ in range(LAUNCHES):
            torch.neg(x)

    return Work(call, {"ops": LAUNCHES})


def matrix_product(x: Tensor) -> Work:
    """A product of two square matrices with so many rows."""
    matrix = x.expand(len(x), len(x)).contiguous()
    return Work(lambda: torch.mm(matrix, matrix), {"flops": 2 * len(x) ** 3})


def pixel_product(x: Tensor) -> Work:
    """The same product as a convolution with kernels of one pixel, which torch leaves to another
    library: on some processors at twice the rate. Dilated, or torch would call it a product."""
    n = len(x)
    matrix = x.expand(n, n).contiguous()
    image = matrix.view(1, n, 1, n).permute(0, 3, 1, 2)
    kernel = matrix[:, :, None, None]
    return Work(lambda: torch.conv2d(image, kernel, dilation=2), {"flops": 2 * n**3})


def copy(x: Tensor) -> Work:
    """A copy within memory; what is read and what is written both count."""
    target = torch.empty_like(x)
    return Work(lambda: target.copy_(x), {"bytes": 2 * x.nbytes})


MAKERS: Mapping[str, Callable[[Tensor], Work]] = {
    "launches": launches,
    "matrix-product": matrix_product,
    "pixel-product": pixel_product,
    "copy": copy,
}


def work(control: Control) -> Work:
    """The control made ready."""
    dtype = getattr(torch, control.dtype)
    return MAKERS[control.name](torch.ones(control.size, dtype=dtype, device=control.device))


# As small and as large as the products of the default grid; a copy that no cache holds.
SIZES = (
    *(("launches", 1), ("matrix-product", 64), ("matrix-product", 512)),
    *(("pixel-product", 512), ("copy", 2**24)),
)


def controls(device: str, threads: int) -> list[Control]:
    """The controls of a run."""
    return [Control(name, size, "float32", device, threads) for name, size in SIZES]
