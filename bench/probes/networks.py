"""Probes of layers of networks: norms, convolutions, pooling, attention, recurrence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .registry import Draw, Layer, probe


@probe()
def mlp(draw: Draw) -> Layer:
    """Linear layers and tanh."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@probe()
def layer_norm(draw: Draw) -> Layer:
    """LayerNorm."""
    return nn.LayerNorm(4)


def _unflattened(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 4)), layer)


@probe()
def group_norm(draw: Draw) -> Layer:
    """GroupNorm."""
    return _unflattened(nn.GroupNorm(1, 2))


@probe()
def instance_norm(draw: Draw) -> Layer:
    """InstanceNorm: a batch norm with statistics of each row's own."""
    return _unflattened(nn.InstanceNorm1d(2))


@probe()
def batch_norm_eval(draw: Draw) -> Layer:
    """BatchNorm in eval mode."""
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()


@probe()
def batch_norm_train(draw: Draw) -> Layer:
    """BatchNorm in train mode: rows meet."""
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()


@probe()
def rms_norm(draw: Draw) -> Layer:
    """RMSNorm."""
    return nn.RMSNorm(4)


@probe()
def dropout(draw: Draw) -> Layer:
    """Dropout in train mode: random."""
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()


@probe(n=18)
def conv(draw: Draw) -> Layer:
    """Conv2d."""
    return nn.Sequential(nn.Unflatten(1, (2, 3, 3)), nn.Conv2d(2, 2, 2))


@probe(n=9)
def conv_transpose(draw: Draw) -> Layer:
    """ConvTranspose2d."""
    return nn.Sequential(nn.Unflatten(1, (1, 3, 3)), nn.ConvTranspose2d(1, 2, 2))


@probe(n=16)
def avg_pool(draw: Draw) -> Layer:
    """AvgPool2d and adaptive average pooling."""
    return lambda x: torch.cat(
        [
            F.avg_pool2d(x.reshape(-1, 1, 4, 4), 2).flatten(1),
            F.adaptive_avg_pool2d(x.reshape(-1, 1, 4, 4), 1).flatten(1),
        ],
        -1,
    )


@probe(n=16)
def max_pool(draw: Draw) -> Layer:
    """MaxPool2d."""
    return lambda x: F.max_pool2d(x.reshape(-1, 1, 4, 4), 2)


@probe(n=9)
def interpolate(draw: Draw) -> Layer:
    """Bilinear interpolation."""
    return lambda x: F.interpolate(
        x.reshape(-1, 1, 3, 3), size=(4, 4), mode="bilinear", align_corners=False
    )


@probe()
def grid_sample(draw: Draw) -> Layer:
    """grid_sample at points made of x."""
    image = draw(1, 2, 5, 5)
    return lambda x: F.grid_sample(
        image.expand(len(x), 2, 5, 5), 0.5 * x.tanh().reshape(-1, 1, 2, 2), align_corners=False
    )


@probe(n=6)
def attention(draw: Draw) -> Layer:
    """Scaled dot-product attention, the kernel that torch picks."""
    W = draw(2, 6)

    def layer(x: Tensor) -> Tensor:
        q, k, v = (x.reshape(-1, 1, 3, 2) @ W).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    return layer


@probe(n=8)
def encoder_layer(draw: Draw) -> Layer:
    """TransformerEncoderLayer without dropout."""
    layer = nn.TransformerEncoderLayer(4, 1, 4, dropout=0.0, activation="gelu", batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (2, 4)), layer)


class _Last(nn.Module):
    """The last output of a recurrent network over a sequence `[B, T, 2]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.reshape(len(x), -1, 2))[0][:, -1]


@probe()
def lstm(draw: Draw) -> Layer:
    """LSTM."""
    return _Last(nn.LSTM(2, 3, batch_first=True))


@probe()
def gru(draw: Draw) -> Layer:
    """GRU."""
    return _Last(nn.GRU(2, 3, batch_first=True))
