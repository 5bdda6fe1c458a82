"""What ADBench's problems are made of, in float64 on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# Numbers that describe a camera; bones of a hand, and the angles (three are shifts) that pose it.
CAMERA = 11
BONES = 22
ANGLES = 26


@dataclass(frozen=True)
class Bundle:
    """`cameras: [n, 11]`, `points: [m, 3]`, `weights: [p]`, `features: [p, 2]`.

    Observation i is of point i mod m by camera i mod n.
    """

    cameras: Tensor
    points: Tensor
    weights: Tensor
    features: Tensor


@dataclass(frozen=True)
class HandModel:
    """A skinned mesh: `parents` and, of each bone, `relative` and `inverse: [22, 4, 4]`;
    `positions: [V, 3]`, `weights: [V, 22]`, `triangles: [T, 3]`."""

    parents: tuple[int, ...]
    relative: Tensor
    inverse: Tensor
    positions: Tensor
    weights: Tensor
    triangles: Tensor


@dataclass(frozen=True)
class Hand:
    """What is fitted: `chosen: [N]` vertices to `points: [N, 3]`, at the angles `theta: [26]`.

    With `us: [N, 2]` a chosen one is a triangle, and us are coordinates in it.
    """

    model: HandModel
    chosen: Tensor
    points: Tensor
    theta: Tensor
    us: Tensor | None = None


@dataclass(frozen=True)
class Mixture:
    """`alphas: [k]`, `means: [k, d]`, `icf: [k, d (d + 1) / 2]`, `data: [N, d]`; the prior's γ, m.

    icf: of each inverse covariance's triangular factor the log-diagonal, then what is below it,
    column by column.
    """

    alphas: Tensor
    means: Tensor
    icf: Tensor
    data: Tensor
    gamma: float
    m: int
