"""Probes: one layer each, small and in float64, to see which strategies torch lets through it.

A layer `[B, n] -> [B, …]` gets a smooth readout to as many outputs as the operator wants, so that
no derivative vanishes: `y = (g + 0.1 g²) R` with `g = h + 0.3 h²`. The operations of the readout
are in every probe, so that what goes wrong in one is the layer's doing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..problem import Problem
from ..workloads.registry import Workload
from ..workloads.values import as_drawn, normal

Layer = Callable[[Tensor], Tensor]
Draw = Callable[..., Tensor]

PREFIX = "probe-"
B = 3

PROBES: dict[str, Workload] = {}
INPUTS: dict[str, int] = {}


def probe(n: int = 4, at: float | None = None) -> Callable[[Callable[..., Layer]], Any]:
    """Register a layer's recipe, a function of `draw(*shape)`; `at`: every x is this number."""

    def register(make: Callable[[Draw], Layer]) -> Callable[[Draw], Layer]:
        name = PREFIX + make.__name__.strip("_").replace("_", "-")

        def build(
            dtype: torch.dtype,
            device: torch.device,
            generator: torch.Generator,
            *,
            batch: int = B,
            m: int = 2,
        ) -> Problem:
            def draw(*shape: int) -> Tensor:
                return normal(shape, dtype, device, generator, scale=0.7)

            x, layer = draw(batch, n), make(draw)
            if isinstance(layer, nn.Module):
                as_drawn(layer, dtype, device, generator)
            x = x if at is None else torch.full_like(x, at)
            with torch.no_grad():
                width = layer(x.clone()).reshape(batch, -1).shape[1]
            return Problem(_read_out(layer, draw(width, m)), x)

        PROBES[name] = Workload(name, (make.__doc__ or "").strip(), 1, build)
        INPUTS[name] = n
        return make

    return register


def _read_out(layer: Layer, weights: Tensor) -> Layer:
    def f(x: Tensor) -> Tensor:
        h = layer(x).reshape(len(x), -1)
        g = h + 0.3 * h * h
        return (g + 0.1 * g * g) @ weights

    return f
