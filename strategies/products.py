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
# Multiplications from which on the dearer call pays, and rows from which on the kernel that is put
# into another order does: more of them where it is turned.
_WORTH, _ROWS, _ROWS_TURNED = 2**22, 48, 256


# Without it such a convolution is slower than the product.
_ONEDNN = torch.backends.mkldnn.is_available()


def _pays(rows: Tensor, weight: Tensor) -> bool:
    """weight: `[out, k]`."""
    return (
        _ONEDNN
        and (size := rows.numel()) > _LARGE
        and size * len(weight) >= _WORTH
        and rows.dtype is torch.float32
        and rows.device.type == "cpu"
        and size >= rows.shape[-1] * (_ROWS if weight.is_contiguous() else _ROWS_TURNED)
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows Wᵀ + b`: `[…, k]` with `[out, k]` and `[out]`."""
    if not _pays(rows, weight):
        return functional.linear(rows, weight, bias)
    return _convolved(rows, weight, bias)


def by_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """`rows M`: `[…, k]` with `[k, out]`."""
    if rows.numel() <= _LARGE or not _pays(rows, weight := matrix.mT):
        return torch.matmul(rows, matrix)
    return _convolved(rows, weight, None)


def _convolved(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    image = rows.reshape(1, -1, 1, rows.shape[-1]).permute(0, 3, 1, 2)
    found = torch.conv2d(image, weight[:, :, None, None], bias, dilation=2)
    return found.permute(0, 2, 3, 1).reshape(*rows.shape[:-1], len(weight))
