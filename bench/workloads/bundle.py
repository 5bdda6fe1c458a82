"""ADBench's bundle adjustment: points seen by cameras, a Jacobian of small blocks.

F. Šrajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic differentiation tools on
some problems in computer vision and machine learning", 2018; layouts are in docs/adbench.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Problem
from .adbench_data import CAMERA, Bundle
from .adbench_files import data_file, read_bundle
from .registry import workload
from .rotation import rotate
from .values import CPU, around, normal


@workload(version=1)
def bundle_adjustment(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    cameras: int = 2,
    points: int = 5,
    observations: int = 10,
    file: str | None = None,
) -> Problem:
    """ADBench's bundle adjustment: n cameras, m points, p weights, 11n + 3m + p -> 3p; B = 1.

    A row of x is a whole problem: all cameras, all points, all weights. A row of f is the two
    residuals of each observation, then 1 − w² of each. With `file`, as `ba/test.txt` under
    `ADBENCH_DATA`, the sizes are the file's.
    """
    bundle = (
        read_bundle(data_file(file)) if file else _made(generator, cameras, points, observations)
    )
    n, m, p = len(bundle.cameras), len(bundle.points), len(bundle.weights)
    seen = torch.arange(p, device=device)
    by, of, features = seen % n, seen % m, bundle.features.to(device, dtype)

    def f(x: Tensor) -> Tensor:
        cameras, points, w = x.split([CAMERA * n, 3 * m, p], 1)
        camera, point = cameras.unflatten(1, (n, CAMERA))[:, by], points.unflatten(1, (m, 3))[:, of]
        residuals = w[:, :, None] * (_project(camera, point) - features)
        return torch.cat([residuals.flatten(1), 1 - w.square()], 1)

    start = torch.cat([part.flatten() for part in (bundle.cameras, bundle.points, bundle.weights)])
    return Problem(f, around(start, batch, dtype, device, generator))


def _project(camera: Tensor, point: Tensor) -> Tensor:
    """`[..., 11]` and `[..., 3]` to the image, `[..., 2]`.

    A camera: rotation vector, centre, focal length, principal point, two radial distortions.
    """
    turn, centre, focal, principal, radial = camera.split([3, 3, 1, 2, 2], -1)
    ahead = rotate(turn, point - centre)
    flat = ahead[..., :2] / ahead[..., 2:]
    square = flat.square().sum(-1, keepdim=True)
    stretch = 1 + radial[..., :1] * square + radial[..., 1:] * square.square()
    return flat * stretch * focal + principal


def _made(generator: torch.Generator, n: int, m: int, p: int) -> Bundle:
    """Points around the origin, seen from about four units before them, the image one wide."""

    def drawn(*shape: int, scale: float) -> Tensor:
        return normal(shape, torch.float64, CPU, generator, scale)

    looking = torch.tensor([0.0, 0, 0, 0, 0, -4, 1, 0, 0, 0, 0], dtype=torch.float64)
    cameras, points = looking + drawn(n, CAMERA, scale=0.05), drawn(m, 3, scale=0.5)
    weights, i = 1 + drawn(p, scale=0.1), torch.arange(p)
    features = _project(cameras[i % n], points[i % m]) + drawn(p, 2, scale=0.05)
    return Bundle(cameras, points, weights, features)
