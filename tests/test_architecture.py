"""The house keeps its own rules: who imports whom, how long a module is, what starts fast."""

from __future__ import annotations

import ast
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ROOT, command, python

PACKAGES = ("strategies", "bench", "reports")
MODULES = [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]
LONGEST = 300
FUNCTION = 40

# What a package may import of its siblings; `reports` reads files and knows nobody.
ALLOWED = {
    "strategies": {"strategies"},
    "bench": {
        *("bench", "strategies", "reports.schema", "reports.verdicts"),
    },
    "reports": {"reports"},
}
PURE = ("reports/schema.py",)
# Who judges computes, and reads nothing but what it is given; waivers are a file.
JUDGES = ("signflip", "stages", "comparison", "verdicts", "waivers", "verdict_files", "power")

on_modules = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))


def imported(path: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports, relative imports resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*above, *filter(None, [node.module])])


@on_modules
def test_data_flows_one_way(path: Path) -> None:
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]]
    siblings = {name for name in imported(path) if name.partition(".")[0] in PACKAGES}
    assert {n for n in siblings if not {n, n.partition(".")[0]} & allowed} == set()


@pytest.mark.parametrize("path", [p for p in MODULES if "reports" in p.parts], ids=lambda p: p.name)
def test_reports_never_imports_torch(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported(path)} & {"torch", "functorch"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_the_standard_library_only(name: str) -> None:
    foreign = {n.partition(".")[0] for n in imported(ROOT / name)} - set(sys.stdlib_module_names)
    assert not foreign


@pytest.mark.parametrize("name", JUDGES)
def test_judges_import_numbers_and_one_another(name: str) -> None:
    libraries = {"numpy", "scipy", "pandas", *sys.stdlib_module_names}
    own = {f"reports.{other}" for other in (*JUDGES, "words")} | {"reports"}
    found = set(imported(ROOT / f"reports/{name}.py"))
    assert {n for n in found if n.partition(".")[0] not in libraries} <= own


@on_modules
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
    long = {f.name: f.end_lineno - f.lineno for f in functions if f.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION} == {}


@on_modules
def test_a_module_says_its_purpose(path: Path) -> None:
    if path.name != "conftest.py":
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_only_torchs_own_files_are_on_top() -> None:
    """The wheel holds the three packages and nothing of the tests."""
    import tomllib

    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in MODULES}
    assert set(found) == there


@pytest.mark.parametrize("package", ["bench", "reports"])
def test_help_is_instant(package: str) -> None:
    """Best of several: other processes only ever make it slower."""
    command(package, "--help")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        said = command(package, "--help")
        seconds.append(time.perf_counter() - start)
        assert said.returncode == 0
    assert min(seconds) < 0.3, statistics.median(seconds)


@pytest.mark.parametrize("package", ["bench", "reports"])
def test_help_imports_nothing_heavy(package: str) -> None:
    said = python("-X", "importtime", "-m", package, "--help")
    loaded = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib", "pytest"}


def test_reports_build_without_torch(tmp_path: Path) -> None:
    """A torch that raises on import stands before the real one."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    golden, page = ROOT / "tests/data/schema-1.jsonl", tmp_path / "page.html"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for arguments in (("html", str(golden), "-o", str(page)), ("summary", str(golden))):
        said = command("reports", *arguments, PYTHONPATH=path)
        assert said.returncode == 0, said.stderr
    assert page.read_text().startswith("<!DOCTYPE html>")
