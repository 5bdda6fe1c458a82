"""The page as a reader meets it in a browser: on disk, by keyboard, on a phone, on paper."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import NARROW, PAPER, REQUIRED, THEMES, WIDE, Theme, Visit, chromium, visit
from made_runs import GOLDEN, rows, write
from playwright.sync_api import Browser, expect
from processes import ROOT

from reports.__main__ import main
from reports.figures import looks
from reports.load import load

PUBLISHED = ROOT / "docs/published/cpu.jsonl.gz"
OPERATORS = ("jacobian", "hessian", "laplacian", "divergence")
CONTENT = ("h1, h2, h3", "table", "tbody tr", "figure", "svg[role=img]", "a[download]", "pre", "dt")

# Axe takes a minute for all rows of a page; those built alike say nothing new to it.
ONE_ROW_OF_A_KIND = """() => {
  const part = (e) => e.tagName + "." + e.getAttribute("class");
  const kinds = new Set();
  for (const body of document.querySelectorAll("tbody"))
    for (const row of [...body.rows]) {
      const kind = [...row.querySelectorAll("*")].map(part).join();
      if (kinds.has(kind) && body.rows.length > 1) row.remove();
      kinds.add(kind);
    }
}"""
IDS = "[...document.querySelectorAll('[id]')].map(e => e.id)"
REFERENCES = """() => {
  const found = [];
  for (const name of ["href", "xlink:href"])
    for (const e of document.querySelectorAll(`[${CSS.escape(name)}^="#"]`))
      found.push(e.getAttribute(name).slice(1));
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for", "headers"])
    for (const e of document.querySelectorAll(`[${name}]`))
      found.push(...e.getAttribute(name).split(/\\s+/));
  for (const found_ of document.documentElement.outerHTML.matchAll(/url\\(#([^)]+)\\)/g))
    found.push(found_[1]);
  return found;
}"""
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return [e.outerHTML.slice(0, 80), style.outlineStyle, parseFloat(style.outlineWidth)];
}"""
# The column of the sort button that has the focus: its numbers, top to bottom.
COLUMN = """() => {
  const head = document.activeElement.closest("thead th");
  if (!head || document.activeElement.tagName !== "BUTTON") return [];
  const cells = [...head.closest("table").tBodies[0].rows].map(row => row.cells[head.cellIndex]);
  return cells.map(cell => parseFloat(cell.dataset.sort)).filter(x => !Number.isNaN(x));
}"""
DIRECTION = "document.activeElement.closest('th').getAttribute('aria-sort')"
CLIPPED = """[...document.querySelectorAll("main, main *")].filter(e =>
  getComputedStyle(e).overflowX !== "visible" && e.scrollWidth > e.clientWidth
).map(e => e.outerHTML.slice(0, 120))"""
COLOURS = """[...new Set([...document.querySelectorAll("body, body *")].map(e => {
  const style = getComputedStyle(e);
  return [e.tagName, e.getAttribute("class"), style.color, style.backgroundColor].join(" ");
}))].sort()"""
WIDTH = "document.documentElement.scrollWidth"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@dataclass(frozen=True)
class Made:
    """A run, its page on disk and, with the same name but for its ending, its exports."""

    run: Path
    file: Path

    @property
    def html(self) -> bytes:
        return self.file.read_bytes()

    @property
    def look(self) -> pd.DataFrame:
        return looks(list(load(self.run).rows["strategy"].unique()))


def made_of(run: Path, folder: Path) -> Made:
    file = folder / "page.html"
    assert main(["html", str(run), "-o", str(file)]) == 0
    return Made(run, file)


def with_exports(made: Made) -> Made:
    csv, json = (str(made.file.with_suffix(ending)) for ending in (".csv", ".json"))
    assert main(["export", str(made.run), "--csv", csv, "--json", json]) == 0
    return made


# Of the module: playwright's loop would be in the way of what other tests start.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def default_grid(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return with_exports(made_of(PUBLISHED, tmp_path_factory.mktemp("default-grid")))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return with_exports(made_of(GOLDEN, tmp_path_factory.mktemp("golden")))


@pytest.fixture(params=["default_grid", "golden"])
def made(request: pytest.FixtureRequest) -> Made:
    return request.getfixturevalue(request.param)


# A missing browser.


@pytest.mark.parametrize(
    ("required", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_missing_browser_skips_and_fails_only_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(REQUIRED, required)
    with pytest.raises(outcome, match="chromium"), chromium():
        pass


# From disk.


def test_reading_it_asks_nothing_of_anyone(browser: Browser, made: Made) -> None:
    with visit(browser, made.file) as opened:
        opened.open_details()
        opened.page.keyboard.press("End")
        assert (opened.requests, opened.complaints) == ([], [])


def test_a_visit_sees_what_a_page_must_not_do(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        "<meta http-equiv='Content-Security-Policy' content=\"script-src 'none'\">"
        "<script>document.title = 'ran'</script><img src='https://example.org/a.png'>"
    )
    with visit(browser, file) as opened:
        assert opened.requests == ["https://example.org/a.png"]
        assert any("Content Security Policy" in text for text in opened.complaints)


def test_without_javascript_everything_is_there_and_seen(
    browser: Browser, made: Made, tmp_path: Path
) -> None:
    with visit(browser, made.file) as whole:
        there = {part: whole.page.locator(part).count() for part in CONTENT}
    assert all(there.values())
    for file in (made.file, without_style(made, tmp_path)):
        with visit(browser, file, java_script_enabled=False) as plain:
            plain.open_details()
            assert {part: plain.seen(part) for part in CONTENT} == there


def without_style(made: Made, folder: Path) -> Path:
    file = folder / "bare.html"
    file.write_bytes(re.sub(rb"<style>.*?</style>", b"", made.html, flags=re.DOTALL))
    return file


def test_downloads_are_the_exports_without_javascript_too(browser: Browser, made: Made) -> None:
    with visit(browser, made.file, java_script_enabled=False) as opened:
        for ending, unpacked in ((".csv", bytes), (".json.gz", gzip.decompress)):
            with opened.page.expect_download() as download:
                opened.page.locator(f'a[download$="{ending}"]').first.click()
            saved = Path(download.value.path()).read_bytes()
            exported = made.file.with_suffix(ending.removesuffix(".gz"))
            assert unpacked(saved) == exported.read_bytes()


# For everyone.


def test_axe_finds_no_violation_in_any_theme_and_width(browser: Browser, made: Made) -> None:
    found = {}
    # Axe is a script that the page's own policy would refuse.
    with visit(browser, made.file, bypass_csp=True) as opened:
        opened.open_details()
        opened.page.evaluate(ONE_ROW_OF_A_KIND)
        for theme, size in product(THEMES, (WIDE, NARROW)):
            opened.show(theme, size)
            found[theme, size] = Axe().run(opened.page)
    wrong = {each: f.generate_report() for each, f in found.items() if f.violations_count}
    assert not wrong, "\n".join(f"{each}: {report}" for each, report in wrong.items())


def test_ids_are_unique_and_every_reference_resolves(browser: Browser, made: Made) -> None:
    with visit(browser, made.file) as opened:
        ids, references = opened.page.evaluate(IDS), opened.page.evaluate(REFERENCES)
    assert len(set(ids)) == len(ids)
    assert set(references) - set(ids) == set()
    assert references


def test_the_page_never_scrolls_sideways(browser: Browser, made: Made) -> None:
    with visit(browser, made.file) as opened:
        for unfold, size in product((lambda: None, opened.open_details), (WIDE, NARROW)):
            unfold()
            opened.show("light", size)
            assert opened.page.evaluate(WIDTH) <= size[0]


def tabbed_to_a_column(opened: Visit, most: int = 400) -> list[float]:
    """The numbers of the first column whose sort button Tab reaches; each stop on the way shows."""
    for _ in range(most):
        opened.page.keyboard.press("Tab")
        element, style, width = opened.page.evaluate(FOCUS)
        assert style != "none", element
        assert width >= 1, element
        numbers = opened.page.evaluate(COLUMN)
        if len(set(numbers)) > 1:
            return numbers
    raise AssertionError(f"no column of numbers within {most} stops")


def test_a_table_is_sorted_by_keyboard(browser: Browser, made: Made) -> None:
    with visit(browser, made.file) as opened:
        numbers = sorted(tabbed_to_a_column(opened))
        for direction, expected in (("ascending", numbers), ("descending", numbers[::-1])):
            opened.page.keyboard.press("Enter")
            assert opened.page.evaluate(DIRECTION) == direction
            assert opened.page.evaluate(COLUMN) == expected


# What a view holds is in its address.


def test_your_own_sizes_find_the_nearest_measured_case(
    browser: Browser, default_grid: Made
) -> None:
    with visit(browser, default_grid.file) as opened:
        form = opened.page.locator("#finder")
        form.locator("[name=op]").select_option("jacobian")
        for name, size in (("n", 9), ("m", 240), ("B", 16)):
            form.locator(f"[name={name}]").fill(str(size))
        # Unpacking the data takes a moment.
        output = form.locator("output")
        expect(output).to_contain_text("case: mlp-tall, n = 8, m = 256, B = 16.")
        found = output.inner_text().splitlines()
        assert found[0] == "Nearest measured case: mlp-tall, n = 8, m = 256, B = 16."
        assert re.fullmatch(r"[a-z-]+: [\d.]+ µs, [\d.]+ [KM]iB at the peak", found[1])
        least = float(re.search(r"([\d.]+) KiB", found[1])[1]) / 1024
        form.locator("[name=mem]").fill(str(least / 2))
        expect(output).not_to_contain_text(found[1])
        asked, view = output.inner_text(), opened.page.url.partition("#")[2]
    with visit(browser, default_grid.file, view=view) as again:
        expect(again.page.locator("#finder output")).to_have_text(asked)


def test_results_are_filtered_and_compared_and_the_address_keeps_it(
    browser: Browser, default_grid: Made
) -> None:
    with visit(browser, default_grid.file, view="results&q=grad&vs=loop-grad") as opened:
        names = opened.page.locator("#results table.matrix tbody tr:not([hidden]) th:first-child")
        assert names.count() > 3
        assert all("grad" in name for name in names.all_text_contents())
        own = opened.page.locator("#results tr:has(th:text-is('loop-grad'))").first
        assert "(1.00× loop-grad)" in own.inner_text()
        opened.page.locator("#chooser [name=q]").fill("")
        opened.page.locator("#chooser [name=vs]").select_option("")
        assert opened.page.url.endswith("#results")
        assert opened.page.locator("#results tr[hidden]").count() == 0
        assert "loop-grad)" not in own.inner_text()


@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_can_be_chosen_and_is_kept(browser: Browser, golden: Made, theme: Theme) -> None:
    other = THEMES[1 - THEMES.index(theme)]
    with visit(browser, golden.file, color_scheme=theme) as opened:
        before = opened.page.evaluate(BACKGROUND)
        opened.page.locator("button.theme").click()
        after, view = opened.page.evaluate(BACKGROUND), opened.page.url.partition("#")[2]
    assert (before != after, view) == (True, f"theme={other}")
    with visit(browser, golden.file, view=view, color_scheme=theme) as again:
        assert again.page.evaluate(BACKGROUND) == after


def test_a_link_into_what_is_folded_opens_it(browser: Browser, default_grid: Made) -> None:
    link = "digits-agreed-with-the-reference-the-worst-case-of-each"
    with visit(browser, default_grid.file, view=link) as opened:
        assert opened.page.locator(f"#{link}").is_visible()


# On paper.


@pytest.fixture
def paper(browser: Browser, made: Made) -> Iterator[Visit]:
    with visit(browser, made.file, PAPER) as opened:
        opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        opened.page.emulate_media(media="print")
        yield opened


def test_paper_shows_all_and_clips_nothing(paper: Visit) -> None:
    assert paper.page.locator("details:not([open])").count() == 0
    assert paper.page.evaluate(CLIPPED) == []
    assert paper.page.evaluate(WIDTH) <= PAPER[0]
    assert paper.seen("nav") == 0


def test_paper_is_white_and_knows_no_theme(paper: Visit) -> None:
    colours = []
    for theme in THEMES:
        paper.page.emulate_media(media="print", color_scheme=theme)
        assert paper.page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
        colours.append(paper.page.evaluate(COLOURS))
    assert colours[0] == colours[1]


# Marks of the figures.


def luminance(red: float, green: float, blue: float) -> float:
    """Relative luminance after WCAG 2, of channels from 0 to 255."""
    channels = [c / 255 for c in (red, green, blue)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    darker, lighter = sorted((one, other))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_marks_stand_out_from_the_background(
    browser: Browser, golden: Made, default_grid: Made, theme: Theme
) -> None:
    with visit(browser, golden.file, color_scheme=theme) as opened:
        background = [float(c) for c in re.findall(r"\d+", opened.page.evaluate(BACKGROUND))]
    drawn = {c for c in default_grid.look["colour"] if c.encode() in default_grid.html}
    found = {c: contrast(luminance(*bytes.fromhex(c[1:])), luminance(*background)) for c in drawn}
    assert {colour: ratio for colour, ratio in found.items() if ratio < 3} == {}
    assert drawn


def test_colour_alone_never_tells_strategies_apart(default_grid: Made) -> None:
    assert not default_grid.look.duplicated(["marker", "dash"]).any()
    assert default_grid.look["colour"].is_unique


# Size.


def test_the_page_of_the_default_grid_is_light(default_grid: Made) -> None:
    assert len(default_grid.html) <= 1_500_000


def test_the_page_of_the_default_grid_is_sent_fast(default_grid: Made) -> None:
    assert len(gzip.compress(default_grid.html)) <= 350_000


def test_the_page_of_the_default_grid_is_laid_out_fast(
    browser: Browser, default_grid: Made
) -> None:
    with visit(browser, default_grid.file) as opened:
        assert opened.page.locator("*").count() <= 12_000


def test_the_script_of_the_page_is_small() -> None:
    assert (ROOT / "reports/assets/page.js").stat().st_size <= 10_000


def test_a_thousand_cases_open(browser: Browser, tmp_path: Path) -> None:
    lines = [
        row
        for operator in OPERATORS
        for row in rows(
            lambda s, n: 1e-5 * n,
            strategies=[f"strategy-{k}" for k in range(50)],
            sizes=[4, 8, 16, 32, 64],
            operator=operator,
        )
    ]
    many = made_of(write(tmp_path / "run.jsonl", lines), tmp_path)
    assert len({(row["operator"], row["strategy"], row["n"]) for row in lines}) == 1000
    assert len(many.html) < 5_000_000
    with visit(browser, many.file) as opened:
        assert opened.seen("h1") == 1
        assert (opened.requests, opened.complaints) == ([], [])
