"""The Laplacian weighted by a matrix, `Σᵢⱼ Cᵢⱼ ∂²f/∂xᵢ∂xⱼ` with C = R Rᵀ: a Laplacian in as many
inputs as R has columns, by any strategy for the Laplacian.

With `g(z) = f(x + R z)` the Hessian of g at zero is `Rᵀ H R`, and its trace ⟨C, H⟩. So a diffusion
of rank k costs k tangents, however many inputs there are.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Unpack

import torch
from torch import Tensor

from .choosing import prepare
from .functions import Function
from .library import How
from .operators import Operator, Orders


def weighted_laplacian(
    f: Function, x: Tensor, *args: Tensor, root: Tensor, values: bool = False, **how: Unpack[How]
) -> Tensor | Orders:
    """`Σᵢⱼ Cᵢⱼ ∂²f/∂xᵢ∂xⱼ` of every output of a row, C = R Rᵀ: `[B, *out]`.

    root: R, `[n, k]` for all rows or `[B, n, k]`, with n inputs a row in the order of
    `x.reshape(B, n)`; of a diagonal C it is `weights.sqrt().diag()`. With create_graph gradients
    reach x, args, parameters and root. values: `first` is then by the k directions of R, `[B, k]`
    or `[B, *out, k]`.

    Errors: as `laplacian`, and `ValueError` for a root of another shape. To evaluate more than
    once, keep what `prepare_weighted_laplacian` returns.
    """
    return prepare_weighted_laplacian(f, x, *args, root=root, values=values, **how)(x, *args)


def prepare_weighted_laplacian(
    f: Function, x: Tensor, *args: Tensor, root: Tensor, values: bool = False, **how: Unpack[How]
) -> Callable[..., Tensor | Orders]:
    """`weighted_laplacian` as a function of `(x, *args)`, with the root as it is at each call."""
    _check(root, x)
    by_row = (root,) if root.dim() == 3 else ()

    def moved(z: Tensor, x: Tensor, *rest: Tensor) -> Tensor:
        if not by_row:
            return f(x + (z @ root.mT).reshape(x.shape), *rest)
        *own, R = rest
        return f(x + (R @ z[:, :, None]).reshape(x.shape), *own)

    z = torch.zeros(len(x), root.shape[-1], dtype=x.dtype, device=x.device)
    plan = prepare(Operator.LAPLACIAN, moved, z, x, *args, *by_row, values=values, **how)
    return lambda x, *args: plan(z, x, *args, *by_row)


def _check(root: Tensor, x: Tensor) -> None:
    B, n = len(x), prod(x.shape[1:])
    shape = tuple(root.shape)
    fits = shape[:-1] in ((n,), (B, n)) and len(shape) > 1 and shape[-1] > 0
    if not fits or root.dtype != x.dtype:
        raise ValueError(
            f"root must be [n, k] or [B, n, k] of {x.dtype} with B = {B} and n = {n}, not {shape}"
            f" of {root.dtype}"
        )
