"""The table of `make limits`: its bars, its lines of small works, its children and its page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import limit_budgets
import limit_jax
import limit_lines
import limit_orders
import limit_sparse
import limit_times
import limits
import pytest
import torch
from limit_budgets import Budgeted, budgeted
from limit_lines import HEAD, RULE, Line, Part, command, lines_in, written
from limit_peers import floors
from limit_times import Disagreement, timed
from limit_works import COUNTS, FLOOR, WORKS, Bar, Work, known, mlp
from torch import Tensor, nn

from bench.counters import counters
from strategies import STRATEGIES, Operator

LAPLACIAN, JACOBIAN, HVP = Operator.LAPLACIAN, Operator.JACOBIAN, Operator.HVP
PAPER_128 = "laplacian paper net B=128"
SET = f"{PAPER_128}, allocator thresholds of 1 GiB"
TALL, SMALL = "jacobian 8-256×4-64 B=128", "jacobian 8-64×4-8 B=1 float32"
AUTOENCODER = "jacobian autoencoder 784-256-32-256-784 B=4"

# What the fastest strategies were asked for: work, strategy, bar, against.
ASKED = [
    *[
        bar
        for dtype in ("float32", "float64")
        for bar in (
            (f"{PAPER_128} {dtype}", "forward-laplacian", "≥ 2.3×", "torch.func"),
            (f"{PAPER_128} {dtype}", "closed-form", "≥ 2.5×", "torch.func"),
            (f"{PAPER_128} {dtype}", "closed-form", "≤ 1.3×", "GEMM floor"),
            (f"{SET} {dtype}", "forward-laplacian", "≥ 1.9×", "torch.func"),
            (f"{SET} {dtype}", "closed-form", "≥ 2.1×", "torch.func"),
            (f"hessian paper net B=16 {dtype}", "closed-form", "≥ 2.0×", "vmap(hessian)"),
            (f"hessian paper net B=16 {dtype}", "closed-form", "≥ 1.7×", "plain"),
            (f"{AUTOENCODER} {dtype}", "cross-country", "≥ 7.0×", "torch.func"),
        )
    ],
    ("laplacian paper net B=1 float32", "forward-laplacian", "≥ 3.3×", "torch.func"),
    ("laplacian paper net B=1 float32", "closed-form", "≥ 3.8×", "torch.func"),
    ("laplacian paper net B=1 float64", "forward-laplacian", "≥ 2.8×", "torch.func"),
    ("laplacian paper net B=1 float64", "closed-form", "≥ 3.0×", "torch.func"),
    (f"{TALL} float32", "closed-form-forward", "≥ 1.4×", "torch.func"),
    (f"{TALL} float32", "cross-country", "≥ 1.4×", "torch.func"),
    (f"{TALL} float64", "closed-form-forward", "≥ 1.6×", "vmap(jacfwd)"),
    (f"{TALL} float64", "cross-country", "≥ 1.6×", "vmap(jacfwd)"),
    (SMALL, "closed-form-forward", "≥ 2.3×", "plain"),
    (SMALL, "closed-form-reverse", "≥ 2.3×", "plain"),
    (SMALL, "closed-form-reverse, traced", "≥ 2.3×", "plain"),
    (SMALL, "closed-form-forward", "≥ 6.0×", "torch.func"),
    (SMALL, "closed-form-reverse", "≥ 6.0×", "torch.func"),
    (SMALL, "closed-form-reverse, traced", "≥ 6.0×", "torch.func"),
    (SMALL, "closed-form-reverse, compile", "≥ 14.0×", "vmap(jacrev)"),
    (SMALL, "vmap-jacrev, compile", "≥ 14.0×", "vmap(jacrev)"),
    ("hessian 3-64×4-1 B=256 float32", "closed-form, compile", "≥ 5.5×", "vmap(hessian)"),
    ("hessian 3-64×4-1 B=256 float32", "fwd-rev, compile", "≥ 5.5×", "vmap(hessian)"),
    ("laplacian 1000-64×3-1 B=32 float32", "rank-fold", "≥ 100.0×", "torch.func"),
    ("laplacian 1000-64×3-1 B=32 float32", "forward-laplacian", "≥ 15.0×", "torch.func"),
    ("divergence 32-64-64-32 B=256 float32", "cyclic-fold", "≥ 9.0×", "torch.func"),
    ("laplacian attention 16×32 B=8 float32", "forward-laplacian", "≥ 2.3×", "torch.func"),
    ("laplacian cnn 3×16×16 B=4 float32", "forward-laplacian", "≥ 3.0×", "torch.func"),
]


@pytest.fixture(autouse=True)
def _unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_lines, "one_thread", lambda: None)


def test_every_bar_is_there() -> None:
    found = [(w.title, bar.label, bar.text, bar.against) for w in WORKS for bar in w.bars]
    assert sorted(found) == sorted(ASKED)


def test_plain_strategies_are_there() -> None:
    for work in WORKS:
        assert all((work.operator, name) in STRATEGIES for name in work.plain)


def test_titles_are_told_apart() -> None:
    joined = (limit_orders, limit_sparse, limit_budgets)
    assert len(limits.PARTS) == len([*WORKS, *COUNTS, *(t for made in joined for t in made.PARTS)])


def test_a_work_with_lines_of_its_own_weighs_the_laplacian() -> None:
    work = replace(limit_orders.WEIGHTED, make=mlp(3, 4, 4, 1, B=2))
    first, second = limit_orders.weighted(work, 0.01)
    assert (first.bar, second.bar) == ("≥ 10.0×", "≥ 15.0×")
    assert {line.peer.rpartition(" ")[0].rpartition(" ")[0] for line in (first, second)} == {
        limit_orders.PEER
    }


@pytest.mark.usefixtures("jax")
def test_nested_hessians_stand_beside_the_bilaplacian() -> None:
    work = replace(limit_orders.NESTED, make=mlp(3, 4, 4, 1, B=2))
    first, second = timed(work, 0.01)
    assert (first.bar, second.bar) == ("≥ 4.5×", "≥ 7.0×")
    assert first.peer.startswith("two nested hessian")
    assert "jax nested hessian" in first.jax


def test_lines_of_budgets() -> None:
    work = Budgeted(JACOBIAN, ("chunked-jacrev",), "mlp-square", 4, ("1 B", "16 KiB"), {"n": 16})
    refused, fits = budgeted(work, 0.0)
    assert refused.figure.startswith("refused: ")
    assert (fits.work, fits.bar) == (work.title, "≤ 100 % of 16 KiB")
    assert 50 < float(fits.figure.removesuffix(" %")) <= 100


def small(*bars: Bar, operator: Operator = JACOBIAN, plain: tuple[str, ...] = ()) -> Work:
    return Work("small", operator, mlp(3, 4, 2, B=2), bars, plain=plain)


def test_lines_of_a_small_work() -> None:
    bars = (Bar("closed-form-reverse", 2.0), Bar("nobody", 3.0), Bar("loop-grad", 1.0, "plain"))
    first, second, third = timed(small(*bars, plain=("loop-grad",)), 0.01)
    assert first.bar == "≥ 2.0×"
    assert first.figure.endswith("×")
    assert first.peer.startswith("vmap(jac")
    assert second == Line("jacobian small float32", "≥ 3.0×", "not there", "nobody", "torch.func")
    assert third.peer.startswith("plain loop-grad")


@pytest.mark.parametrize("execution", ["eager", "compile"])
def test_a_refusal_is_a_line(execution: str) -> None:
    bar = Bar("closed-form", 2.0, execution=execution)
    (line,) = timed(Work("block", LAPLACIAN, known("attention", 2), (bar,)), 0.01)
    assert (line.bar, line.strategy) == ("≥ 2.0×", bar.label)
    assert line.figure.startswith("refused: ")


def test_what_disagrees_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_times, "jitted", lambda *_: {"folx": lambda: torch.ones(2, 2, 3)})
    with pytest.raises(Disagreement, match="folx is"):
        list(timed(small(Bar("closed-form-reverse", 2.0)), 0.01))


def test_the_floor_has_a_line() -> None:
    work = Work("small", LAPLACIAN, mlp(3, 4, 4, 1, B=2), (Bar("closed-form", 1.3, FLOOR),))
    (line,) = timed(work, 0.01)
    assert (line.bar, line.peer.rpartition(" ")[0][:10]) == ("≤ 1.3×", "GEMM floor")


@pytest.mark.parametrize(("dtype", "libraries"), [(torch.float32, 2), (torch.float64, 1)])
def test_the_floor_is_the_products_of_the_best_known_method(
    dtype: torch.dtype, libraries: int
) -> None:
    f, x = mlp(3, 8, 5, 6, 1, B=4)(dtype)
    # The slopes' own pass, three tangents and the sum through two layers, the last layer's sum.
    inner = 8 * 5 + 5 * 6
    adds = 4 * (3 * 8 + inner + 3 * inner + inner + 6)
    found = floors(f, x)
    assert [counters(call, ())["flops"] for call in found.values()] == [2 * adds] * libraries


def test_lines_of_a_count() -> None:
    lines = list(limits.counted(replace(COUNTS[0], make=mlp(4, 8, 8, 1, B=2)), 0.0))
    assert [line.bar for line in lines] == ["≤ 4.1 F"] * 3
    assert all(line.figure.endswith(" F") for line in lines)


def test_a_child_measures_where_the_environment_differs() -> None:
    (work,) = (work for work in WORKS if work.operator == Operator.DIVERGENCE)
    asked = replace(work, environment=(("MALLOC_TRIM_THRESHOLD_", "123456"),))
    (line,) = limits.in_surroundings(asked, 0.01)
    assert (line.work, line.bar, line.figure[-1]) == (work.title, "≥ 9.0×", "×")


def test_a_child_has_the_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    line, seen = Line("a", "≥ 1.0×", "2.00×", "ours 1 ms", "theirs 2 ms"), {}

    def run(words: list[str], env: dict[str, str], **_: object) -> SimpleNamespace:
        seen.update(env, title=words[words.index("--only") + 1])
        return SimpleNamespace(stdout=f"{HEAD}\n{RULE}\n{line}\n", stderr="", returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert list(limits.PARTS[f"{SET} float64"](0.01)) == [line]
    assert seen["title"] == f"{SET} float64"
    assert seen["MALLOC_MMAP_THRESHOLD_"] == seen["MALLOC_TRIM_THRESHOLD_"] == str(2**30)


def test_no_child_where_the_environment_is_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123456")
    monkeypatch.delattr(subprocess, "run")
    work = small(Bar("closed-form-reverse", 2.0))
    asked = replace(work, environment=(("MALLOC_TRIM_THRESHOLD_", "123456"),))
    (line,) = limits.in_surroundings(asked, 0.01)
    assert line.figure.endswith("×")


def test_a_child_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    died = SimpleNamespace(stdout="", stderr="Traceback\nkilled\n", returncode=-9)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    with pytest.raises(limits.NoLines, match="ended with -9: killed"):
        limits.PARTS[f"{SET} float32"](0.01)


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in made of torch: what is jitted says when it is ready."""

    def jit(f: Callable[..., Tensor]) -> Callable[..., SimpleNamespace]:
        return lambda *given: SimpleNamespace(block_until_ready=lambda: f(*given).detach())

    def module(name: str, **names: object) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    def trace(x: Tensor, axis1: int, axis2: int) -> Tensor:
        return x.diagonal(dim1=axis1, dim2=axis2).sum(-1)

    numpy = module("jax.numpy", asarray=torch.as_tensor, tanh=torch.tanh, trace=trace)
    func = {name: getattr(torch.func, name) for name in ("vmap", "hessian", "jacrev", "jacfwd")}
    config = SimpleNamespace(update=lambda *_: None)
    module("jax", numpy=numpy, jit=jit, config=config, **func)
    monkeypatch.setattr(limit_jax, "installed", {"jax": "0", "folx": None}.get)
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.mark.usefixtures("jax")
def test_jax_stands_beside_ours() -> None:
    (line,) = timed(small(Bar("closed-form-reverse", 2.0)), 0.01)
    first, second = line.jax.split(", ")
    assert {first.split()[2], second.split()[2]} == {"jacrev", "jacfwd"}
    assert first.partition("×")[0] <= second.partition("×")[0]


@pytest.mark.usefixtures("jax")
def test_jax_is_not_asked_for_what_it_has_no_rule_of() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid())
    assert limit_jax.jitted(JACOBIAN, network, torch.randn(2, 3)) == {}


def test_every_work_has_a_rule_for_jax() -> None:
    modules = [m for work in WORKS for m in work.make(work.dtype)[0].modules()]
    assert {type(m) for m in modules} <= set(limit_jax.RULES)


def test_only_selects(capsys: pytest.CaptureFixture[str]) -> None:
    assert limits.main(["--only", "no such work"]) == 0
    assert lines_in(capsys.readouterr().out) == []


def line_of(work: str, figure: str = "2.00×") -> Line:
    return Line(work, "≥ 1.0×", figure, "ours 1 ms", "theirs 2 ms")


def part(*lines: Line) -> Part:
    return lambda _: lines


def failing(_: float) -> Iterator[Line]:
    yield line_of("second")
    raise ValueError("of | this\nand that")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    made = tmp_path / "page.md"
    made.write_text("before\n<!-- limits: how -->\n<!-- /limits -->\nafter\n")
    return made


def test_a_part_that_fails_keeps_the_others(page: Path) -> None:
    parts = {"first": part(line_of("first")), "second": failing, "third": part(line_of("third"))}
    assert command(parts, "", ["--into", str(page)]) == 1
    first, second, third, last = lines_in(page.read_text())
    assert [line.figure for line in (first, second, last)] == ["2.00×"] * 3
    assert third.figure == "failed: ValueError: of / this"
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("-->\nafter\n")


def test_what_is_measured_again_replaces_its_lines(page: Path) -> None:
    written(page, [line_of("second"), line_of("gone"), line_of("first"), line_of("first")])
    parts = {"first": part(line_of("first", "3.00×")), "second": part(line_of("second", "4.00×"))}
    assert command(parts, "", ["--only", "first", "--into", str(page)]) == 0
    assert lines_in(page.read_text()) == [line_of("first", "3.00×"), line_of("second")]


def test_lines_of_another_machine_are_not_mixed(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(page, [line_of("first"), line_of("second")])
    monkeypatch.setattr(limit_lines, "cpu_model", lambda: "another")
    parts = {"first": part(line_of("first", "3.00×")), "second": part()}
    assert command(parts, "", ["--only", "first", "--into", str(page)]) == 2
    assert "of another machine or release: measure all works" in capsys.readouterr().err
    assert command(parts, "", ["--into", str(page)]) == 0
    assert lines_in(page.read_text()) == [line_of("first", "3.00×")]


@pytest.mark.parametrize("text", [None, "no markers"])
def test_a_page_without_markers_is_an_error(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    if text:
        page.write_text(text)
    assert command({}, "", ["--into", str(page)]) == 2
    assert capsys.readouterr().err.startswith("limits: ")
