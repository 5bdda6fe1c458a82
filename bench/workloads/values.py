"""Drawing values: in float64 on the CPU, then cast, so that every dtype holds the same ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

CPU = torch.device("cpu")


def normal(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    scale: float = 1.0,
) -> Tensor:
    """Normal values of standard deviation `scale`."""
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (scale * drawn).to(dtype=dtype, device=device)


def around(
    point: Tensor,
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    scale: float = 0.1,
) -> Tensor:
    """`[batch, n]`: the point itself, then points near it."""
    aside = normal((batch, len(point)), torch.float64, CPU, generator, scale)
    aside[:1] = 0
    return (point + aside).to(dtype=dtype, device=device)


def as_drawn(
    network: nn.Module, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> nn.Module:
    """The network with weights `N(0, 1/fan_in)` and biases `N(0, 0.01)` from the generator."""
    network = network.to(dtype=dtype, device=device)
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
                shape = tuple(parameter.shape)
                drawn = normal(shape, dtype, device, generator, fan_in**-0.5)
                # The gain of a norm layer is a factor: drawn around one.
                is_gain = isinstance(module, nn.LayerNorm) and name == "weight"
                parameter.copy_(drawn + 1 if is_gain else drawn)
    return network


def float64(tensor: Tensor) -> np.ndarray:
    """The very values of a tensor, as numpy in float64."""
    return tensor.detach().cpu().double().numpy()
