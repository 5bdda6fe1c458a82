"""The table of sparse Jacobians: its works, and its lines of a small one."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from strategies import STRATEGIES, Operator

MADE = runpy.run_path(str(Path(__file__).parent.parent / "docs/sparse_works.py"))
WORKS, Work, Bar = (MADE[name] for name in ("WORKS", "Work", "Bar"))


def test_strategies_are_there_and_titles_told_apart() -> None:
    assert all((Operator.JACOBIAN, bar.strategy) in STRATEGIES for w in WORKS for bar in w.bars)
    assert len({work.title for work in WORKS}) == len(WORKS)


def test_lines_of_a_small_work() -> None:
    bars = (
        Bar("coloured", 2.0, execution="traced"),
        Bar("coloured", 3.0, "f"),
        Bar("coloured", 1.5, "zeros and entries", layout="dense"),
        Bar("coloured", 4.0, "loop-grad"),
        Bar("partially-separable", 5.0),
    )
    found = [
        line.strip("| ").split(" | ")
        for line in MADE["lines"](Work("conv-stencil", {"size": 4}, bars), 0.01)
    ]
    assert [line[0] for line in found] == ["conv-stencil size=4"] * 5
    assert [line[1] for line in found] == ["≥ 2×", "≤ 3 F", "≤ 1.5×", "≥ 4×", "≥ 5×"]
    assert [line[2][-1] for line in found[:4]] == ["×", "F", "×", "×"]
    assert "refused: jacobian by partially-separable: f gathers no input twice" in found[4][2]
    assert [line[4].split()[0] for line in found[1:4]] == ["f", "zeros", "loop-grad"]


def test_only_selects(capsys: pytest.CaptureFixture[str]) -> None:
    assert MADE["main"](["--only", "no such work"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
