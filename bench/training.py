"""A training step through a plan: what `test_train` times and whose peak is counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from strategies import Plan

from .case import Subject


def training_step(plan: Plan, made: Subject) -> Callable[[], None]:
    """Plan, squared sum, gradient to the parameters, or to x where f has none."""
    f, x = made.problem.f, made.problem.x
    parameters = [p for p in f.parameters() if p.requires_grad] if hasattr(f, "parameters") else []
    start = x if parameters else x.detach().requires_grad_()
    inputs = (start, *made.inputs[1:])
    sources = parameters or [start]

    def step() -> None:
        result = plan(*inputs)
        assert isinstance(result, Tensor)
        torch.autograd.grad(result.square().sum(), sources, allow_unused=True)

    return step
