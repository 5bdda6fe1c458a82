"""ADBench's hand tracking: how far a skinned mesh, posed by 26 numbers, is from given points.

F. Šrajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic differentiation tools on
some problems in computer vision and machine learning", 2018; layouts are in docs/adbench.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..problem import Problem
from .adbench_data import ANGLES, BONES, Hand, HandModel
from .adbench_files import data_file, data_folder, read_hand
from .posing import FINGERS, poser
from .registry import WorkloadError, workload
from .rotation import rotate
from .values import CPU, around, normal

# Wrist, four bones a finger, forearm.
PARENTS = (-1, *(p for k in range(FINGERS) for p in (0, 4 * k + 1, 4 * k + 2, 4 * k + 3)), 0)


@workload(version=1)
def hand_simple(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    correspondences: int = 8,
    vertices: int = 88,
    file: str | None = None,
) -> Problem:
    """ADBench's hand: 26 pose parameters of a skinned mesh -> offsets of N vertices, 3N.

    With `file`, as `hand/test.txt` under `ADBENCH_DATA`, the sizes are the file's.
    """
    hand = _read(file) if file else _made(generator, correspondences, vertices)
    if hand.us is not None:
        raise WorkloadError(f"{file} holds coordinates in triangles; hand-complicated takes it")
    posed = poser(hand.model, dtype, device)
    chosen, points = hand.chosen.to(device), hand.points.to(device, dtype)

    def f(theta: Tensor) -> Tensor:
        return (points - posed(theta)[:, chosen]).flatten(1)

    return Problem(f, around(hand.theta, batch, dtype, device, generator))


@workload(version=1)
def hand_complicated(
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
    *,
    batch: int = 1,
    correspondences: int = 8,
    vertices: int = 88,
    file: str | None = None,
) -> Problem:
    """ADBench's hand, coordinates in N triangles before the 26 pose parameters: 2N + 26 -> 3N.

    With `file` the sizes are the file's.
    """
    hand = _read(file) if file else _in_triangles(_made(generator, correspondences, vertices))
    if hand.us is None:
        raise WorkloadError(f"{file} holds no coordinates in triangles; hand-simple takes it")
    posed = poser(hand.model, dtype, device)
    corners, points = hand.model.triangles[hand.chosen].to(device), hand.points.to(device, dtype)

    def f(x: Tensor) -> Tensor:
        us, places = x[:, :-ANGLES].unflatten(1, (-1, 2)), posed(x[:, -ANGLES:])
        return (points - _inside(us, places[:, corners])).flatten(1)

    start = torch.cat([hand.us.flatten(), hand.theta])
    return Problem(f, around(start, batch, dtype, device, generator))


def _inside(us: Tensor, corners: Tensor) -> Tensor:
    """The points `[B, N, 3]` at barycentric `us: [B, N, 2]` in triangles `[B, N, 3, 3]`."""
    u, v = us[..., :1], us[..., 1:]
    first, second, third = corners.unbind(2)
    return u * first + v * second + (1 - u - v) * third


def _read(file: str) -> Hand:
    return read_hand(data_file(file), data_folder() / "hand" / "model")


def _made(generator: torch.Generator, N: int, V: int) -> Hand:
    """A hand of 22 bones and V vertices, some of which were seen near where they really are."""
    model = _model(generator, V)
    truth = normal((ANGLES,), torch.float64, CPU, generator, scale=0.3)
    chosen = torch.randint(V, (N,), generator=generator)
    noise = normal((N, 3), torch.float64, CPU, generator, scale=0.005)
    seen = poser(model, torch.float64, CPU)(truth[None])[0, chosen] + noise
    guess = truth + normal((ANGLES,), torch.float64, CPU, generator, scale=0.1)
    return Hand(model, chosen, seen, guess)


def _in_triangles(hand: Hand) -> Hand:
    """The same points, looked for in the triangles that start at the vertices seen."""
    chosen = hand.chosen % len(hand.model.triangles)
    us = torch.full((len(chosen), 2), 1 / 3, dtype=torch.float64)
    return replace(hand, chosen=chosen, us=us)


def _model(generator: torch.Generator, V: int) -> HandModel:
    """Vertices around the bones at rest; each follows its bone by 0.7 and the bone's parent."""
    relative = _bones(generator)
    absolute: list[Tensor] = []
    for parent, bone in zip(PARENTS, relative, strict=True):
        absolute.append(bone if parent < 0 else absolute[parent] @ bone)
    rest, v = torch.stack(absolute), torch.arange(V)
    own, above = v % BONES, torch.tensor(PARENTS).clamp(min=0)[v % BONES]
    weights = torch.zeros(V, BONES, dtype=torch.float64)
    weights[v, own] += 0.7
    weights[v, above] += 0.3
    positions = rest[own, :3, 3] + normal((V, 3), torch.float64, CPU, generator, scale=0.01)
    triangles = torch.stack([v[:-2], v[1:-1], v[2:]], 1)
    return HandModel(PARENTS, relative, rest.inverse(), positions, weights, triangles)


def _bones(generator: torch.Generator) -> Tensor:
    """`[22, 4, 4]`, in metres: fingers side by side, 3 cm a bone, each turned a little."""
    shift = torch.zeros(BONES, 3, dtype=torch.float64)
    shift[1:-1, 1] = 0.03
    shift[1:-1:4] = torch.tensor([[0.02 * (k - 2), 0.05, 0.0] for k in range(FINGERS)]).double()
    shift[-1, 1] = -0.1
    turn = normal((BONES, 1, 3), torch.float64, CPU, generator, scale=0.2)
    found = torch.eye(4, dtype=torch.float64).repeat(BONES, 1, 1)
    found[:, :3, :3] = rotate(turn, torch.eye(3, dtype=torch.float64)[None]).mT
    found[:, :3, 3] = shift
    return found
