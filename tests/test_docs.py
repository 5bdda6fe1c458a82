"""Every block of code in the documentation runs and prints what the page says."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import pytest

from reports.answer import answer
from reports.load import load
from reports.markdown import between_markers, regimes

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_print_what_the_page_says(page: Path) -> None:
    names: dict[str, object] = {}
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        line = page.read_text(encoding="utf-8")[: found.start()].count("\n") + 1
        test = doctest.DocTestParser().get_doctest(
            found[1], names, f"{page.name}:{line}", str(page), line
        )
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        failures = runner.run(test, out=said.append, clear_globs=False).failed
        names.update(test.globs)
        assert not failures, "".join(said)


@pytest.mark.parametrize("name", ["autograd-grad.md", "seeds.md", "README.md"])
def test_a_page_has_blocks(name: str) -> None:
    page = next(page for page in PAGES if page.name == name)
    assert BLOCK.search(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_the_readme_holds_the_table_of_the_published_run() -> None:
    """`make readme` was run after the published file or the report changed."""
    found = answer(load(ROOT / "docs/published/cpu.jsonl.gz"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between_markers(readme, regimes(found), "README.md") == readme


def test_the_power_curve_is_what_the_judge_does() -> None:
    """`python docs/power.py` was run after the judge changed: one line of it, again."""
    made = runpy.run_path(str(ROOT / "docs/power.py"))
    page = (ROOT / "docs/regression-tracking.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(made['cells'](made['line'](0.04)))} |\n" in page
