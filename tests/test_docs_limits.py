"""The table of `make limits`: its bars, and its lines of a small work."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from strategies import STRATEGIES, Operator

LIMITS = runpy.run_path(str(Path(__file__).parent.parent / "docs/limits.py"))
WORKS, Work, Bar, mlp = (LIMITS[name] for name in ("WORKS", "Work", "Bar", "mlp"))


def test_plain_strategies_are_there() -> None:
    for work in WORKS:
        assert all((work.operator, name) in STRATEGIES for name in work.plain)


def test_titles_are_told_apart() -> None:
    titles = [work.title for work in WORKS]
    assert len(titles) == len(set(titles))


def test_lines_of_a_small_work() -> None:
    bars = (Bar("closed-form-reverse", 2.0), Bar("nobody", 3.0), Bar("loop-grad", 1.0, "plain"))
    work = Work("small", Operator.JACOBIAN, mlp(3, 4, 2, B=2), bars, plain=("loop-grad",))
    first, second, third = LIMITS["timed"](work, 0.01)
    assert first.bar == "≥ 2.0×"
    assert first.figure.endswith("×")
    assert first.peer.startswith("vmap(jac")
    assert second.figure == "not there"
    assert third.peer.startswith("plain loop-grad")


def test_lines_of_a_count() -> None:
    (work,) = (work for work in WORKS if work.operator == Operator.HVP)
    small = replace(work, make=mlp(4, 8, 8, 1, B=2))
    lines = list(LIMITS["counted"](small))
    assert [line.bar for line in lines] == ["≤ 4.1 F"] * len(lines)
    assert all(line.figure.endswith(" F") for line in lines)


def test_only_selects(capsys: pytest.CaptureFixture[str]) -> None:
    assert LIMITS["main"](["--only", "no such work"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
