"""Posing a hand's skinned mesh by 26 angles, all bones and vertices at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .adbench_data import ANGLES, BONES, HandModel
from .rotation import rotate

FINGERS = 5


def poser(model: HandModel, dtype: torch.dtype, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`theta: [B, 26]` to the places of all vertices, `[B, V, 3]`.

    theta: the whole hand's rotation vector and shift, then of each finger the bend and the spread
    of its second bone and the bends of the third and the fourth. All vertices are posed, wanted or
    not, as in ADBench.
    """
    levels = _levels(model.parents)
    order = [bone for level in levels for bone in level]
    bends, spreads = (index[order].to(device) for index in _angles())
    about_x, about_z = _about(1, 2).to(device, dtype), _about(0, 1).to(device, dtype)
    relative, skin = model.relative[order].to(device, dtype), _skin(model, order).to(device, dtype)
    above = [_above(before, level, model.parents).to(device) for before, level in pairwise(levels)]

    def posed(theta: Tensor) -> Tensor:
        still = torch.cat([theta, torch.zeros_like(theta[:, :1])], 1)
        turns = _turn(about_z, still[:, spreads]) @ _turn(about_x, still[:, bends])
        bones = _chained((relative @ turns).split([len(level) for level in levels], 1), above)
        places = bones[:, :, :3].transpose(1, 2).flatten(2) @ skin
        return rotate(theta[:, None, :3], places.mT) + theta[:, None, 3:6]

    return posed


def _levels(parents: Sequence[int]) -> list[list[int]]:
    """The bones by their depth in the tree: those of a level move together."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [[b for b, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


def _above(before: Sequence[int], level: Sequence[int], parents: Sequence[int]) -> Tensor:
    """Where in the level before a bone's parent is."""
    return torch.tensor([before.index(parents[bone]) for bone in level])


def _chained(levels: Sequence[Tensor], above: Sequence[Tensor]) -> Tensor:
    """From each bone's transform `[B, …, 4, 4]` in its parent's frame to that in the hand's."""
    found = [levels[0]]
    for level, parents in zip(levels[1:], above, strict=True):
        found.append(found[-1][:, parents] @ level)
    return torch.cat(found, 1)


def _skin(model: HandModel, order: Sequence[int]) -> Tensor:
    """`[22 · 4, V]`: Σ_b w_vb T_b T_b⁰⁻¹ (p_v, 1) is linear in the bones' transforms T."""
    ones = torch.ones(len(model.positions), 1, dtype=torch.float64)
    at_rest = torch.einsum("bij,vj->bvi", model.inverse, torch.cat([model.positions, ones], 1))
    return torch.einsum("vb,bvi->biv", model.weights, at_rest)[order].flatten(0, 1)


def _angles() -> tuple[Tensor, Tensor]:
    """Which of theta bends and which spreads each bone; 26, one past the end, where none does."""
    bends, spreads = torch.full((BONES,), ANGLES), torch.full((BONES,), ANGLES)
    for finger in range(FINGERS):
        bone, angle = 2 + 4 * finger, 6 + 4 * finger
        bends[bone : bone + 3] = torch.tensor([angle, angle + 2, angle + 3])
        spreads[bone] = angle + 1
    return bends, spreads


def _about(i: int, j: int) -> Tensor:
    """`[3, 16]`: a turn in the plane of axes i and j is `K₀ + cos K₁ + sin K₂`."""
    found = torch.zeros(3, 4, 4, dtype=torch.float64)
    found[0].fill_diagonal_(1)
    found[0, [i, j], [i, j]] = 0
    found[1, [i, j], [i, j]] = 1
    found[2, j, i], found[2, i, j] = 1, -1
    return found.flatten(1)


def _turn(about: Tensor, angle: Tensor) -> Tensor:
    """`[B, 22]` to the homogeneous `[B, 22, 4, 4]`."""
    parts = torch.stack([torch.ones_like(angle), angle.cos(), angle.sin()], -1)
    return (parts @ about).unflatten(-1, (4, 4))
