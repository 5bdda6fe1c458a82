"""Index sets through convolutions: by the support of the kernel, whatever its weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch.nn.functional import unfold

from .operators import Shape
from .pattern_sets import Sets, numbered


def convolution(given: dict[str, Any], shape: Shape) -> tuple[Sets, ...] | None:
    """Of the result, `[1, C, …]`; None where there is no rule."""
    image = given["input"]
    if given["transposed"] or not _is_flat(image.shape):
        return None
    channels = shape[1] // given["groups"]
    parts = [support @ image.rows for support in _supports(given, image.shape)]
    rows = vstack([part for part in parts for _ in range(channels)], format="csr")
    return (Sets(shape, csr_array(rows)),)


def convolution_backward(
    given: dict[str, Any], shapes: tuple[Shape, ...]
) -> tuple[Sets, ...] | None:
    """Of the input's gradient alone: where the kernel, turned around, reaches."""
    pulled, image = given["grad_output"], shapes[0]
    if given["transposed"] or not isinstance(pulled, Sets) or not _is_flat(image):
        return None
    positions = prod(pulled.shape[2:])
    found = csr_array((prod(image), pulled.n), dtype=bool)
    each = pulled.shape[1] // given["groups"] * positions
    for k, support in enumerate(_supports(given, image)):
        rows = pulled.rows[k * each : (k + 1) * each]
        one, at = np.ones(each, dtype=bool), np.arange(each)
        joined = csr_array((one, (at % positions, at)), shape=(positions, each)) @ rows
        found = found + csr_array(support.T) @ joined
    empty = (Sets.empty(shape, pulled.n) for shape in shapes[1:])
    return Sets(image, csr_array(found)), *empty


def _is_flat(image: Shape) -> bool:
    return len(image) in (3, 4)


def _supports(given: dict[str, Any], image: Shape) -> Iterator[csr_array]:
    """Of each group `[positions, elements of the image]`: what the kernel covers there."""
    line = len(image) == 3
    ids = numbered(image, 1)
    kernel = tuple(given["weight"].shape[2:])
    # A line is an image of height 1.
    high = (lambda sizes, one: (one, *sizes)) if line else (lambda sizes, one: tuple(sizes))
    found = unfold(
        ids.unsqueeze(2) if line else ids,
        high(kernel, 1),
        dilation=high(given["dilation"], 1),
        padding=high(given["padding"], 0),
        stride=high(given["stride"], 1),
    )
    for covered in found[0].chunk(given["groups"]):
        at = torch.arange(covered.shape[1]).expand_as(covered)[covered > 0].numpy()
        elements = covered[covered > 0].long().numpy() - 1
        one = np.ones(len(at), dtype=bool)
        yield csr_array((one, (at, elements)), shape=(covered.shape[1], prod(image)))
