"""Probes of elementwise functions, reductions and products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import Draw, Layer, probe


@probe()
def polynomial(draw: Draw) -> Layer:
    """Products and a matrix product: what every network holds."""
    W = draw(4, 3)
    return lambda x: (x * x * x + x) @ W


@probe()
def trigonometric(draw: Draw) -> Layer:
    """sin, cos, exp, sqrt, log, pow, division and reductions."""
    return lambda x: torch.cat(
        [x.sin() / (2 + x.cos()), (x * x + 1).sqrt().log(), x.exp().pow(1.5).mean(-1, True)], -1
    )


@probe()
def gelu(draw: Draw) -> Layer:
    """GELU, exact and tanh."""
    return lambda x: torch.cat([F.gelu(x), F.gelu(x, approximate="tanh")], -1)


@probe()
def silu(draw: Draw) -> Layer:
    """SiLU."""
    return F.silu


@probe()
def softplus(draw: Draw) -> Layer:
    """softplus."""
    return F.softplus


@probe()
def softmax(draw: Draw) -> Layer:
    """softmax and log_softmax."""
    return lambda x: torch.cat([x.softmax(-1), x.log_softmax(-1)], -1)


@probe()
def logsumexp(draw: Draw) -> Layer:
    """logsumexp."""
    return lambda x: x.logsumexp(-1)


@probe()
def relu(draw: Draw) -> Layer:
    """ReLU and leaky ReLU, squared so that they curve."""
    return lambda x: torch.cat([F.relu(x) ** 2, F.leaky_relu(x) * x], -1)


@probe()
def where(draw: Draw) -> Layer:
    """where and clamp, each with entries on both sides and none near the seam."""
    aside = torch.tensor([2.5, -2.5, 2.5, -2.5])

    def layer(x: Tensor) -> Tensor:
        z = x + aside.to(x)
        return torch.where(z > 0, z**3, z.sin()) + torch.where(z == 0, 0.0, z.clamp(min=0)) ** 2

    return layer


@probe()
def sorting(draw: Draw) -> Layer:
    """sort, amax and cumsum."""
    return lambda x: x.sort(-1).values.cumsum(-1) * x.amax(-1, keepdim=True)


@probe()
def product(draw: Draw) -> Layer:
    """prod and cumprod."""
    return lambda x: torch.cat([x.prod(-1, keepdim=True), x.cumprod(-1)], -1)


@probe()
def spread(draw: Draw) -> Layer:
    """var and std."""
    return lambda x: torch.stack([x.var(-1), x.std(-1)], -1)


@probe()
def einsum(draw: Draw) -> Layer:
    """einsum and bmm."""
    W = draw(4, 2, 3)
    return lambda x: torch.einsum("bi,bj,ijk->bk", x, x[:, :2], W)
