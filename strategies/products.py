"""Products of many rows with one matrix, by the faster of the libraries that torch is built with.

NOTE [products of float32 on CPUs]
`torch.mm` goes to MKL, which takes no AVX-512 on processors of other makers than its own: half the
rate. Convolutions of float32 go to oneDNN, which does. A product is a convolution with a kernel of
one pixel: the rows are the pixels of an image, channels last, so that nothing is copied. torch
sends such a kernel to MKL again unless it is dilated, which of one pixel changes nothing, and the
image is large. `docs/limits.py` measures both rates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Numbers in the rows above which torch takes oneDNN (`use_mkldnn` of its Convolution.cpp).
_LARGE = 20480
# Multiplications, and rows, from which on the dearer call and the reordered kernel pay.
_WORTH, _ROWS = 2**22, 128


def _pays(rows: Tensor, out: int) -> bool:
    # Not where gradients must pass: the backward of a convolution has no such way.
    return (
        (size := rows.numel()) > _LARGE
        and size * out >= _WORTH
        and size >= _ROWS * rows.shape[-1]
        and rows.dtype is torch.float32
        and rows.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows Wᵀ + b`: `[…, k]` with `[out, k]` and `[out]`."""
    if not _pays(rows, len(weight)):
        return functional.linear(rows, weight, bias)
    k = rows.shape[-1]
    image = rows.reshape(1, -1, 1, k).permute(0, 3, 1, 2)
    found = torch.conv2d(image, weight[:, :, None, None], bias, dilation=2)
    return found.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(weight))


def by_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """`rows M`: `[…, k]` with `[k, out]`."""
    if not _pays(rows, matrix.shape[1]):
        return torch.matmul(rows, matrix)
    return linear(rows, matrix.mT)
