"""A network from images to images: a small U-Net, as denoisers and score models are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.problem import Problem
from bench.workloads.values import as_drawn, normal


class UNet(nn.Module):
    """Down by a strided convolution, up by a transposed one, and a skip: `[B, 1, 8, 8]` to same."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norm = nn.GroupNorm(2, 2 * width, affine=False)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.leave = nn.Conv2d(2 * width, 1, 3, padding=1)
        self.act = nn.SiLU()

    def forward(self, image: Tensor) -> Tensor:
        fine = self.act(self.enter(image))
        coarse = self.act(self.norm(self.middle(self.act(self.down(fine)))))
        return self.leave(torch.cat([fine, self.up(coarse)], dim=1))


def unet(
    dtype: torch.dtype, device: torch.device, generator: torch.Generator, *, batch: int = 4
) -> Problem:
    """A U-Net of two levels with GroupNorm, 1x8x8 -> 1x8x8: jacobian, divergence, vjp, jvp."""
    network = as_drawn(UNet(), dtype, device, generator)
    return Problem(network, normal((batch, 1, 8, 8), dtype, device, generator))
