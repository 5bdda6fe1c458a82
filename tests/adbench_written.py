"""Small files in ADBench's formats, written from values that the tests know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from conftest import draw
from torch import Tensor

from bench.workloads.adbench_data import Bundle, Hand, HandModel, Mixture
from bench.workloads.hand import PARENTS


def numbers(values: Tensor | Iterable[float], by: str = " ") -> str:
    """Exactly, so that reading gives the same ones."""
    flat = values.flatten().tolist() if isinstance(values, Tensor) else values
    return by.join(repr(float(v)) for v in flat)


def write(path: Path, *lines: Sequence[int] | str) -> Path:
    """A line for each: whole numbers, or what `numbers` made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else " ".join(map(str, line)) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def bundle() -> Bundle:
    """Two cameras, three points, four observations; the first camera is not turned at all."""
    cameras = draw(2, 11, seed=1) * 0.1
    cameras[0, :3] = 0
    cameras[:, 5], cameras[:, 6] = -4, 1
    return Bundle(cameras, draw(3, 3, seed=2), draw(4, seed=3), draw(4, 2, seed=4))


def write_bundle(path: Path, b: Bundle) -> Path:
    sizes = (len(b.cameras), len(b.points), len(b.weights))
    return write(path, sizes, *map(numbers, (b.cameras, b.points, b.weights, b.features)))


def mixture() -> Mixture:
    """Two components in three dimensions, five points."""
    return Mixture(
        draw(2, seed=1), draw(2, 3, seed=2), draw(2, 6, seed=3), draw(5, 3, seed=4), 0.7, 2
    )


def write_mixture(path: Path, m: Mixture) -> Path:
    N, d = m.data.shape
    parts = map(numbers, (*m.alphas, *m.means, *m.icf, *m.data))
    return write(path, (d, len(m.alphas), N), *parts, f"{m.gamma!r} {m.m}")


def model() -> HandModel:
    """Seven vertices, each moved by two bones, and three triangles."""
    weights, v = torch.zeros(7, 22, dtype=torch.float64), torch.arange(7)
    weights[v, 3 * v], weights[v, 3 * v + 1] = 0.25, 0.75
    affine = torch.eye(4, dtype=torch.float64).repeat(2, 22, 1, 1)
    affine[:, :, :3] += 0.1 * draw(2, 22, 3, 4, seed=5)
    triangles = torch.tensor([[0, 1, 2], [3, 2, 1], [6, 4, 5]])
    return HandModel(PARENTS, affine[0], affine[1], draw(7, 3, seed=6), weights, triangles)


def write_model(folder: Path, m: HandModel) -> Path:
    parts = zip(m.parents, m.relative, m.inverse, strict=True)
    bones = [
        f"bone{i}:{p}:{numbers(r, ':')}:{numbers(a, ':')}" for i, (p, r, a) in enumerate(parts)
    ]
    write(folder / "bones.txt", *bones)
    write(folder / "vertices.txt", *map(_vertex, m.positions, m.weights))
    write(folder / "triangles.txt", *(":".join(map(str, t)) for t in m.triangles.tolist()))
    return folder


def _vertex(position: Tensor, weights: Tensor) -> str:
    moved = weights.nonzero().flatten().tolist()
    by = [f"{bone}:{float(weights[bone])!r}" for bone in moved]
    return ":".join([numbers(position, ":"), "0.0:0.0:1.0:0.5:0.5", str(len(moved)), *by])


def hand(*, inside: bool) -> Hand:
    """Four correspondences, to vertices or inside triangles."""
    chosen = torch.tensor([2, 0, 1, 2]) if inside else torch.tensor([5, 0, 6, 5])
    us = draw(4, 2, seed=9) if inside else None
    return Hand(model(), chosen, draw(4, 3, seed=7), draw(26, seed=8), us)


def write_hand(path: Path, h: Hand) -> Path:
    pairs = [f"{c} {numbers(p)}" for c, p in zip(h.chosen.tolist(), h.points, strict=True)]
    us = [] if h.us is None else map(numbers, h.us)
    return write(path, (len(h.chosen), 26), *pairs, *us, *map(numbers, h.theta))
