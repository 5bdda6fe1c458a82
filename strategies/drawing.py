"""The random probes of estimators: drawn at each call, outside of what an execution records.

NOTE [probes]
A plan has a generator of its own, seeded when it is prepared, which goes on from call to call: the
global one is untouched, a program gives the same numbers each time it runs, and two calls of a plan
are independent. Two plans alike draw the same: to average, call one plan again. Probes are an input
of the evaluation, after x, so that a trace, a compiled or a captured graph takes fresh ones too.
Each row of the batch has its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .registry import Draw, Evaluate, Inputs, Options, Strategy

SEED = 0
# A relative error of a quarter of what one product has.
SAMPLES = 16


def samples_of(options: Options) -> int:
    """How many products are asked for."""
    return options.samples or SAMPLES


def signs(inputs: Inputs, options: Options) -> Draw:
    """Rademacher probes `[k, B, n]`: each entry 1 or -1 with even chances."""
    return _signs(inputs[0], samples_of(options))


def signs_beside_a_basis(inputs: Inputs, options: Options) -> Draw:
    """As `signs`, `[k - k // 3, B, n]`: the other third of the products is of a basis."""
    k = samples_of(options)
    return _signs(inputs[0], k - k // 3)


def _signs(x: Tensor, k: int) -> Draw:
    generator, like = _generator(x), _like(x)

    def draw() -> Tensor:
        return like(k).bernoulli_(generator=generator).mul_(2).sub_(1)

    return draw


def dimensions(inputs: Inputs, options: Options) -> Draw:
    """`√n eᵢ` for k of the n inputs, none twice: `[min(k, n), B, n]`."""
    x = inputs[0]
    generator, like, (B, n), device = _generator(x), _like(x), x.shape, x.device
    k = min(samples_of(options), n)

    def draw() -> Tensor:
        chosen = torch.rand(B, n, generator=generator, device=device).topk(k).indices
        return like(k).zero_().scatter_(-1, chosen.T[..., None], n**0.5)

    return draw


def _generator(x: Tensor) -> torch.Generator:
    return torch.Generator(x.device).manual_seed(SEED)


def _like(x: Tensor) -> Callable[[int], Tensor]:
    """`[k, B, n]` as x; x itself is not kept."""
    shape, dtype, device = x.shape, x.dtype, x.device
    return lambda k: torch.empty(k, *shape, dtype=dtype, device=device)


def with_probes(strategy: Strategy, inputs: Inputs, options: Options) -> Inputs:
    """The example inputs, for an estimator with probes after x; those of its plan stay undrawn."""
    if strategy.draws is None:
        return inputs
    return (inputs[0], strategy.draws(inputs, options)(), *inputs[1:])


def drawing(strategy: Strategy, run: Evaluate, inputs: Inputs, options: Options) -> Evaluate:
    """The evaluation as a function of `(x, *args)`, with fresh probes at each call."""
    if strategy.draws is None:
        return run
    draw = strategy.draws(inputs, options)
    return lambda x, *args: run(x, draw(), *args)
