"""Readers of ADBench's text files (Šrajer, Kukelova & Fitzgibbon 2018), into float64 on the CPU.

The files themselves are no part of this project: `ADBENCH_DATA` names a folder that holds them,

    ba/*.txt  hand/*.txt  hand/model/{bones,vertices,triangles}.txt  gmm/*.txt

NOTE [formats]
Numbers apart by blanks, except in hand/model, where colons part them and a line is a record.

    ba     n m p, 11 numbers a camera, 3 a point, 1 a weight, 2 a feature: one of each, replicated
           n, m, p and p times, or all of them
    hand   N 26, then N lines `index x y z`, then for the complicated variant 2 N barycentric
           coordinates, then 26 angles; the index is that of a vertex, or else of a triangle
    gmm    d k N, then k weights, k means of d, k factors of d (d + 1) / 2, N points of d (or one,
           replicated), and the Wishart prior's γ and m
    bones      name:parent:4×4 relative to the parent:4×4 inverse of the absolute one, by rows
    vertices   x:y:z:3 of a normal:2 of a texture:count:(bone:weight) count times
    triangles  three vertices
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor

from .adbench_data import ANGLES, BONES, CAMERA, Bundle, Hand, HandModel, Mixture
from .registry import WorkloadError

VARIABLE = "ADBENCH_DATA"


def data_folder() -> Path:
    """The folder that `ADBENCH_DATA` names."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise WorkloadError(
            f"{VARIABLE} is not set; let it name a folder with ba/, hand/ and gmm/ of ADBench,"
            " or leave `file` out: the workload then makes its own data"
        )
    if not Path(named).is_dir():
        raise WorkloadError(f"{VARIABLE}={named} is not a folder")
    return Path(named)


def data_file(name: str) -> Path:
    """The file of that name under `ADBENCH_DATA`, as `ba/test.txt`."""
    folder = data_folder()
    path = folder / name
    if not path.is_file():
        there = sorted(str(p.relative_to(folder)) for p in folder.glob("*/*.txt"))
        raise WorkloadError(f"no file {name} in {folder}; there are: {', '.join(there) or 'none'}")
    return path


def read_bundle(path: Path) -> Bundle:
    """Bundle adjustment, see NOTE [formats]."""
    (n, m, p), values = _header(path, ("n", "m", "p"))
    one, each = [CAMERA, 3, 1, 2], [CAMERA * n, 3 * m, p, 2 * p]
    parts = values.split(_fitting(path, len(values), [one, each]))
    cameras, points, weights, features = (
        part.reshape(-1, width).expand(count, width).contiguous()
        for part, width, count in zip(parts, one, (n, m, p, p), strict=True)
    )
    return Bundle(cameras, points, weights[:, 0], features)


def read_mixture(path: Path) -> Mixture:
    """A Gaussian mixture, see NOTE [formats]."""
    (d, k, N), values = _header(path, ("d", "k", "N"))
    head = [k, k * d, k * d * (d + 1) // 2]
    sizes = _fitting(path, len(values), [[*head, d, 2], [*head, N * d, 2]])
    alphas, means, icf, data, prior = values.split(sizes)
    return Mixture(
        alphas,
        means.reshape(k, d),
        icf.reshape(k, -1),
        data.reshape(-1, d).expand(N, d).contiguous(),
        float(prior[0]),
        int(_indices(path, prior[1:], "the prior's m")),
    )


def read_hand(path: Path, model_folder: Path) -> Hand:
    """Hand tracking, simple or complicated, see NOTE [formats]."""
    model = read_model(model_folder)
    (N, angles), values = _header(path, ("N", "angles"))
    if angles != ANGLES:
        raise WorkloadError(f"{path}: a hand has {ANGLES} angles, not {angles}")
    sizes = _fitting(path, len(values), [[4 * N, 0, ANGLES], [4 * N, 2 * N, ANGLES]])
    pairs, us, theta = values.split(sizes)
    pairs = pairs.reshape(N, 4)
    kind, count = ("triangle", len(model.triangles)) if len(us) else ("vertex", len(model.weights))
    chosen = _indices(path, pairs[:, 0], kind, count)
    return Hand(model, chosen, pairs[:, 1:], theta, us.reshape(N, 2) if len(us) else None)


def read_model(folder: Path) -> HandModel:
    """The skinned mesh in `bones.txt`, `vertices.txt`, `triangles.txt`, see NOTE [formats]."""
    bones = folder / "bones.txt"
    rows = [_numbers(bones, i, cells[1:], 33) for i, cells in _records(bones)]
    if len(rows) != BONES:
        raise WorkloadError(f"{bones}: a hand has {BONES} bones, not {len(rows)}")
    table = torch.stack(rows)
    parents = (_indices(bones, table[:, 0] + 1, "parent", BONES + 1) - 1).tolist()
    if late := [i for i, parent in enumerate(parents) if parent >= i]:
        raise WorkloadError(f"{bones}: line {late[0] + 1}: a bone comes after its parent")
    positions, weights = _vertices(folder / "vertices.txt")
    mesh = folder / "triangles.txt"
    corners = torch.stack([_numbers(mesh, i, cells, 3) for i, cells in _records(mesh)])
    return HandModel(
        tuple(parents),
        table[:, 1:17].reshape(-1, 4, 4),
        table[:, 17:].reshape(-1, 4, 4),
        positions,
        weights,
        _indices(mesh, corners, "vertex", len(positions)),
    )


def _vertices(path: Path) -> tuple[Tensor, Tensor]:
    """Positions `[V, 3]` and weights `[V, 22]`."""
    lines = _records(path)
    positions, weights = [], torch.zeros(len(lines), BONES, dtype=torch.float64)
    for row, (i, cells) in zip(weights, lines, strict=True):
        numbers = _numbers(path, i, cells)
        if len(numbers) < 9 or len(numbers) != 9 + 2 * numbers[8]:
            raise WorkloadError(f"{path}: line {i}: 9 numbers and 2 a bone, not {len(numbers)}")
        positions.append(numbers[:3])
        row[_indices(path, numbers[9::2], "bone", BONES)] = numbers[10::2]
    return torch.stack(positions), weights


def _header(path: Path, names: tuple[str, ...]) -> tuple[list[int], Tensor]:
    """The sizes that a file starts with, and all numbers after them."""
    lines = _text(path).split("\n")
    numbers = [_numbers(path, i, line.split()) for i, line in enumerate(lines, start=1)]
    values = torch.cat(numbers)
    head = values[: len(names)]
    if len(head) < len(names) or not all(float(v).is_integer() and v >= 1 for v in head):
        raise WorkloadError(f"{path}: starts with {' '.join(names)}, each a whole number above 0")
    return [int(v) for v in head], values[len(names) :]


def _fitting(path: Path, count: int, layouts: list[list[int]]) -> list[int]:
    """The layout whose sizes add up to what there is."""
    for layout in layouts:
        if sum(layout) == count:
            return layout
    wanted = " or ".join(str(sum(layout)) for layout in layouts)
    raise WorkloadError(f"{path}: {wanted} numbers after its sizes, not {count}")


def _records(path: Path) -> list[tuple[int, list[str]]]:
    """The number and the cells of each line that is not empty."""
    lines = enumerate(_text(path).split("\n"), start=1)
    found = [(i, line.split(":")) for i, line in lines if line.strip()]
    if not found:
        raise WorkloadError(f"{path} is empty")
    return found


def _text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise WorkloadError(f"cannot read {path}: {error.strerror}") from error


def _numbers(path: Path, line: int, cells: list[str], count: int | None = None) -> Tensor:
    """The cells as finite float64 numbers, `count` of them where that is given."""
    if count is not None and len(cells) != count:
        raise WorkloadError(f"{path}: line {line}: {count} numbers, not {len(cells)}")
    found = []
    for cell in cells:
        try:
            found.append(float(cell))
        except ValueError:
            found.append(math.nan)
        if not math.isfinite(found[-1]):
            raise WorkloadError(f"{path}: line {line}: {cell!r} is not a number")
    return torch.tensor(found, dtype=torch.float64)


def _indices(path: Path, values: Tensor, what: str, below: int | None = None) -> Tensor:
    """The values as whole numbers from 0, below a count where that is given."""
    whole = values.long()
    bad = (whole != values) | (whole < 0)
    if below is not None:
        bad = bad | (whole >= below)
    if bad.any():
        there = " is not a whole number from 0" if below is None else f"; there are {below}, from 0"
        raise WorkloadError(f"{path}: {what} {float(values[bad][0]):g}{there}")
    return whole
