"""Readers of ADBench's files: what was written is read, and what is wrong is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path

import pytest
import torch
from adbench_written import (
    bundle,
    hand,
    mixture,
    model,
    numbers,
    write,
    write_bundle,
    write_hand,
    write_mixture,
    write_model,
)
from torch import Tensor

from bench.case import build
from bench.workloads import WorkloadError
from bench.workloads.adbench_files import (
    VARIABLE,
    data_file,
    read_bundle,
    read_hand,
    read_mixture,
    read_model,
)


def same(found: object, written: object) -> None:
    """Every field of two records, to the last bit."""
    for name, value in vars(written).items():
        read = getattr(found, name)
        if isinstance(value, Tensor):
            assert read.dtype == value.dtype
            assert torch.equal(read, value), name
        elif is_dataclass(value):
            same(read, value)
        else:
            assert read == value, name


def test_a_bundle_is_read_as_written(tmp_path: Path) -> None:
    same(read_bundle(write_bundle(tmp_path / "b.txt", bundle())), bundle())


def test_a_mixture_is_read_as_written(tmp_path: Path) -> None:
    same(read_mixture(write_mixture(tmp_path / "m.txt", mixture())), mixture())


@pytest.mark.parametrize("inside", [False, True])
def test_a_hand_is_read_as_written(tmp_path: Path, inside: bool) -> None:
    written = hand(inside=inside)
    folder = write_model(tmp_path / "model", written.model)
    same(read_hand(write_hand(tmp_path / "h.txt", written), folder), written)


def test_one_of_each_is_replicated(tmp_path: Path) -> None:
    one = bundle()
    parts = (one.cameras[:1], one.points[:1], one.weights[:1], one.features[:1])
    found = read_bundle(write(tmp_path / "b.txt", (2, 3, 4), *map(numbers, parts)))
    assert torch.equal(found.cameras, parts[0].repeat(2, 1))
    assert torch.equal(found.points, parts[1].repeat(3, 1))
    assert torch.equal(found.weights, parts[2].repeat(4))
    assert torch.equal(found.features, parts[3].repeat(4, 1))


def test_one_point_of_a_mixture_is_replicated(tmp_path: Path) -> None:
    m = mixture()
    parts = map(numbers, (m.alphas, m.means, m.icf, m.data[0]))
    found = read_mixture(write(tmp_path / "m.txt", (3, 2, 5), *parts, "0.7 2"))
    assert torch.equal(found.data, m.data[:1].repeat(5, 1))


def bundle_at(tmp_path: Path, *lines: str) -> object:
    return read_bundle(write(tmp_path / "x.txt", *lines))


def mixture_at(tmp_path: Path, *lines: str) -> object:
    return read_mixture(write(tmp_path / "x.txt", *lines))


def hand_at(tmp_path: Path, *lines: str) -> object:
    """Read these lines with the small model beside them."""
    return read_hand(write(tmp_path / "x.txt", *lines), write_model(tmp_path / "model", model()))


def with_model(tmp_path: Path, name: str, text: str | None) -> object:
    """Read the small model with one of its files replaced, or taken away."""
    folder = write_model(tmp_path / "model", model())
    (folder / name).unlink() if text is None else write(folder / name, text)
    return read_model(folder)


BONE = ":".join(["0"] * 32)
LATE = "\n".join(f"b{i}:{7 if i == 3 else i - 1}:{BONE}" for i in range(22))
ANGLES = " 0" * 26

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "ba-word": (
        lambda p: bundle_at(p, "1 1 1", "0.5 nope"),
        r"x.txt: line 2: 'nope' is not a number$",
    ),
    "ba-nan": (
        lambda p: bundle_at(p, "1 1 1", "nan"),
        r"x.txt: line 2: 'nan' is not a number$",
    ),
    "ba-short": (
        lambda p: bundle_at(p, "2 3 4", "0 0 0"),
        r"x.txt: 17 or 43 numbers after its sizes, not 3$",
    ),
    "ba-sizes": (
        lambda p: bundle_at(p, "2 0 4"),
        r"x.txt: starts with n m p, each a whole number above 0$",
    ),
    "ba-empty": (bundle_at, r"x.txt: starts with n m p, "),
    "gmm-short": (
        lambda p: mixture_at(p, "1 1 4", "0 0 0"),
        r"x.txt: 6 or 9 numbers after its sizes, not 3$",
    ),
    "gmm-prior": (
        lambda p: mixture_at(p, "1 1 1", "0 0 0 0 1 0.5"),
        r"x.txt: the prior's m 0\.5 is not a whole number from 0$",
    ),
    "hand-angles": (
        lambda p: hand_at(p, "1 25"),
        r"x.txt: a hand has 26 angles, not 25$",
    ),
    "hand-short": (
        lambda p: hand_at(p, "1 26", "0 0 0 0"),
        r"x.txt: 30 or 32 numbers after its sizes, not 4$",
    ),
    "hand-vertex": (
        lambda p: hand_at(p, "1 26", "7 0 0 0" + ANGLES),
        r"x.txt: vertex 7; there are 7, from 0$",
    ),
    "hand-triangle": (
        lambda p: hand_at(p, "1 26", "3 0 0 0 0 0" + ANGLES),
        r"x.txt: triangle 3; there are 3, from 0$",
    ),
    "hand-fraction": (
        lambda p: hand_at(p, "1 26", "0.5 0 0 0" + ANGLES),
        r"x.txt: vertex 0\.5; there are 7, from 0$",
    ),
    "no-bones": (
        lambda p: with_model(p, "bones.txt", None),
        r"cannot read .*bones.txt: No such file or directory$",
    ),
    "few-bones": (
        lambda p: with_model(p, "bones.txt", f"wrist:-1:{BONE}"),
        r"bones.txt: a hand has 22 bones, not 1$",
    ),
    "bone-cells": (
        lambda p: with_model(p, "bones.txt", "wrist:-1:0:0"),
        r"bones.txt: line 1: 33 numbers, not 3$",
    ),
    "bone-late": (
        lambda p: with_model(p, "bones.txt", LATE),
        r"bones.txt: line 4: a bone comes after its parent$",
    ),
    "vertex-cells": (
        lambda p: with_model(p, "vertices.txt", "0:0:0:0:0:0:0:0:2:0:1"),
        r"vertices.txt: line 1: 9 numbers and 2 a bone, not 11$",
    ),
    "vertex-bone": (
        lambda p: with_model(p, "vertices.txt", "0:0:0:0:0:0:0:0:1:22:1"),
        r"vertices.txt: bone 22; there are 22, from 0$",
    ),
    "triangle-vertex": (
        lambda p: with_model(p, "triangles.txt", "0:1:7"),
        r"triangles.txt: vertex 7; there are 7, from 0$",
    ),
    "no-triangles": (
        lambda p: with_model(p, "triangles.txt", ""),
        r"triangles.txt is empty$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_file_is_one_clear_line(tmp_path: Path, case: str) -> None:
    read, said = BAD[case]
    with pytest.raises(WorkloadError, match=said) as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


def test_bytes_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(bytes(range(256)))
    with pytest.raises(WorkloadError, match="is not a number") as raised:
        read_bundle(tmp_path / "x.txt")
    assert "\n" not in str(raised.value)


def test_no_variable_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(WorkloadError, match=r"ADBENCH_DATA is not set; let it name a folder with"):
        data_file("ba/test.txt")


def test_a_variable_that_names_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    with pytest.raises(WorkloadError, match=r"ADBENCH_DATA=/nowhere is not a folder$"):
        data_file("ba/test.txt")


def test_a_missing_file_lists_those_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(WorkloadError, match=r"no file ba/x.txt in .*; there are: none$"):
        data_file("ba/x.txt")
    write_bundle(tmp_path / "ba/own.txt", bundle())
    with pytest.raises(WorkloadError, match=r"no file ba/x.txt in .*; there are: ba/own.txt$"):
        build("bundle-adjustment", {"file": "ba/x.txt"}, None, "float64", "cpu")


@pytest.mark.parametrize("inside", [False, True])
def test_the_other_hand_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    write_model(tmp_path / "hand/model", model())
    write_hand(tmp_path / "hand/x.txt", hand(inside=inside))
    asked, right = ["hand-simple", "hand-complicated"][:: 1 if inside else -1]
    with pytest.raises(WorkloadError, match=f"^hand/x.txt holds .*; {right} takes it$"):
        build(asked, {"file": "hand/x.txt"}, None, "float64", "cpu")
