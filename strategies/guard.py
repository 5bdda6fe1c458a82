"""What must still hold when a plan is called: shapes, dtypes, devices and the modules of f."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from .registry import Inputs


class PlanMismatch(ValueError):
    """A plan was called with inputs, or on a function, other than it was prepared for."""


@dataclass(frozen=True)
class Guard:
    """What must be as it was when the plan was prepared: shapes, dtypes, devices and modules.

    Tensors that are rebound in a closure outside a module cannot be seen.
    """

    inputs: tuple[tuple[torch.Size, torch.dtype, torch.device, torch.layout], ...]
    modules: tuple[tuple[dict, str, object, Module], ...]

    def check(self, inputs: Inputs) -> None:
        """Raise `PlanMismatch` at the first difference (a few microseconds, on every call)."""
        if len(inputs) != len(self.inputs):
            raise PlanMismatch(f"the plan takes {len(self.inputs)} tensors, got {len(inputs)}")
        for k, (tensor, kind) in enumerate(zip(inputs, self.inputs, strict=True)):
            if not isinstance(tensor, Tensor):
                raise PlanMismatch(f"input {k} is of type {type(tensor).__name__}, not a tensor")
            if (tensor.shape, tensor.dtype, tensor.device, tensor.layout) != kind:
                raise PlanMismatch(
                    f"input {k} is {describe(tensor)}, the plan was prepared for"
                    f" {describe_as(*kind)}; prepare again"
                )
        for where, name, expected, module in self.modules:
            if where.get(name) is not expected:
                raise PlanMismatch(
                    f"{name!r} of {type(module).__name__} was replaced since the plan was"
                    " prepared (in-place updates are fine); prepare again"
                )


def guard(inputs: Inputs, modules: tuple[Module, ...]) -> Guard:
    """Remember the inputs' kinds and, of each module, its mode, parameters, buffers, children."""
    return Guard(
        tuple((t.shape, t.dtype, t.device, t.layout) for t in inputs),
        tuple(
            (where, name, where[name], module)
            for module in modules
            for where, names in (
                (module.__dict__, ["training"]),
                (module._parameters, list(module._parameters)),
                (module._buffers, list(module._buffers)),
                (module._modules, list(module._modules)),
            )
            for name in names
        ),
    )


def describe(tensor: Tensor) -> str:
    return describe_as(tensor.shape, tensor.dtype, tensor.device, tensor.layout)


def describe_as(
    shape: torch.Size,
    dtype: torch.dtype,
    device: torch.device,
    layout: torch.layout = torch.strided,
) -> str:
    sparse = "" if layout == torch.strided else f", {str(layout).removeprefix('torch.')}"
    return f"{tuple(shape)} {str(dtype).removeprefix('torch.')} on {device}{sparse}"
