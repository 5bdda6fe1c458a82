"""The page, the exports and the commands: same numbers, hostile names, degenerate runs."""

from __future__ import annotations

import csv as csv_module
import json
import re
import time
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from made_runs import GOLDEN, rows, write
from processes import ROOT, command

from reports import words
from reports.__main__ import main
from reports.answer import answer
from reports.export import as_json, csv
from reports.load import load
from reports.markdown import regimes
from reports.page import page
from reports.sections import correctness, use

HOSTILE = [
    "<script>alert(1)</script>",
    "{{7*7}}",
    "a\"b'c",
    "=1+1",
    "line\nbreak",
    "x" * 200,
    "\u202eright to left",
]


SHAPES = {"svg", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect", "pattern"}


class Elements(HTMLParser):
    """Counts elements, ids and references; collects text."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.ids, self.references = 0, [], []
        self.text: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count += 1
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href") and (value or "").startswith("#"):
                self.references.append((value or "")[1:])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Elements:
    found = Elements()
    found.feed(html)
    return found


@pytest.fixture(scope="module")
def golden() -> str:
    return page(answer(load(GOLDEN)))


def test_the_page_answers_first(golden: str) -> None:
    assert golden.index('id="use"') < golden.index('id="results"')


def test_the_page_names_machine_versions_and_commit(golden: str) -> None:
    text = " ".join(parsed(golden).text)
    for fact in ("Test CPU", "2.13.0+cpu", "0123abcd45 (clean)", "pinned to core [1]"):
        assert fact in text


def test_ids_are_unique_and_every_reference_resolves(golden: str) -> None:
    found = parsed(golden)
    assert len(set(found.ids)) == len(found.ids)
    assert set(found.references) <= set(found.ids)


def test_the_page_asks_nothing_of_the_network(golden: str) -> None:
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]+"', "", golden)
    assert not re.search(r"""(src|href)=["']https?:""", without_namespaces)
    assert "default-src 'none'" in golden


def test_the_page_carries_the_same_numbers_as_the_exports(golden: str) -> None:
    found = answer(load(GOLDEN))
    fast = found.cases.set_index("strategy").loc["fast"]
    assert words.seconds(fast["seconds"], fast["half_width"]) in golden
    in_csv = {row["strategy"]: row for row in csv_module.DictReader(csv(found.cases).splitlines())}
    assert float(in_csv["fast"]["seconds"]) == float(f"{fast['seconds']:.6g}")
    in_json = json.loads(as_json(found.runs, found.cases, found.advice))["cases"]
    seconds = dict(
        zip(in_json["columns"], next(d for d in in_json["data"] if "fast" in d), strict=True)
    )
    assert seconds["seconds"] == float(f"{fast['seconds']:.6g}")
    link = re.search(r'href="data:text/csv;charset=utf-8,([^"]+)"', golden)
    assert link
    assert unquote(unescape(link[1])) == csv(found.cases)


def test_the_markdown_carries_the_numbers_of_the_page() -> None:
    """Of every regime the time, the margin and the speed-up, in the same words."""
    found = answer(load(ROOT / "docs/published/cpu.jsonl.gz"))
    columns = {
        "time": "time",
        "next best takes": "next best takes",
        "over plain": "faster than plain",
    }
    shown = use.regimes(found)
    there = [{cell.text for cell in row} for row in shown.rows]
    table = [line.strip("| ").split(" | ") for line in regimes(found).splitlines()[:-2]]
    heads, _, *lines = table
    assert set(columns) <= set(heads)
    assert set(columns.values()) <= set(shown.heads)
    assert len(lines) == len(there)
    for line in lines:
        numbers = {line[heads.index(head)] for head in columns} - {words.NOTHING}
        assert any(numbers <= row for row in there), line


def test_a_cut_last_line_is_named_on_the_page(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", rows(lambda s, n: 1e-3, strategies=["a", "b"]))
    path.write_text(path.read_text()[:-4])
    html = page(answer(load(path)))
    assert "was cut in the middle" in " ".join(parsed(html).text)


def test_an_unknown_schema_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "r.jsonl", [], schema=99)
    assert main(["html", str(path)]) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), "schema 99" in said) == (1, True)


def test_the_reference_is_shown_with_its_own_error(golden: str) -> None:
    found = answer(load(GOLDEN))
    shown = correctness.digits(found)
    cells = [cell.text for cell in next(row for row in shown.rows if "fast" in row[0].text)]
    assert dict(zip(shown.heads, cells, strict=True))["reference's own error"] == "1e-13"
    assert "reference&#39;s own error" in golden
    (fast,) = [r for r in csv_module.DictReader(csv(found.cases).splitlines()) if "fast" in r["id"]]
    assert (float(fast["reference_error"]), float(fast["worst_entry"])) == (1e-13, 1e-6)


def test_a_file_without_the_references_error_has_a_dash(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=["a"])
    for line in lines:
        del line["error"]["bound"]
    (row,) = correctness.digits(answer(load(write(tmp_path / "r.jsonl", lines)))).rows
    assert row[-1].text == words.NOTHING


def test_a_wrong_case_has_no_time_anywhere(golden: str) -> None:
    assert "100 µs" not in golden
    assert "relative error 1.0e+00" in golden


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=HOSTILE, sizes=[4, 8, 16])
    for line in lines[::2]:
        line |= {"status": "error", "reason": "<b>no</b>", "wall_s": []}
    found = answer(load(write(tmp_path / "r.jsonl", lines)))
    html = page(found)
    assert parsed(html).scripts == parsed(page(answer(load(GOLDEN)))).scripts == 1
    assert "<b>no" not in html
    assert "{{7*7}}" in "".join(parsed(html).text)
    assert all(
        not cell.startswith("=")
        for r in csv_module.reader(csv(found.cases).splitlines())
        for cell in r
    )
    json.loads(as_json(found.runs, found.cases, found.advice))


def test_hostile_names_stay_text_in_figures_and_markdown(tmp_path: Path) -> None:
    lines = rows(lambda s, n: 1e-3, strategies=[*HOSTILE, "a|b", "`c`"], sizes=[4, 8, 16])
    found = answer(load(write(tmp_path / "r.jsonl", lines)))
    drawn = re.findall(r"<svg.*?</svg>", page(found), re.DOTALL)
    assert drawn
    for svg in drawn:
        names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert names <= SHAPES
    table = [line for line in regimes(found).splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(found.advice)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {8}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        rows(lambda s, n: 1e-3, strategies=["only"], passes=1),
        rows(lambda s, n: 1e-3, strategies=["a", "b"], status="crashed", wall_s=[]),
        rows(lambda s, n: float("nan"), strategies=["a", "b"]),
        rows(lambda s, n: 1e-9 if s == "a" else 1e3, strategies=["a", "b"]),
    ],
    ids=["no-rows", "one-of-everything", "all-failed", "nan", "extremes"],
)
def test_degenerate_runs_make_an_honest_page(tmp_path: Path, lines: list[dict]) -> None:
    html = page(answer(load(write(tmp_path / "r.jsonl", lines))))
    assert "How to read" in html
    assert "nan" not in "".join(parsed(html).text).lower().split()


def test_a_run_outside_git_says_so(tmp_path: Path) -> None:
    html = page(
        answer(
            load(write(tmp_path / "r.jsonl", rows(lambda s, n: 1, strategies=["a"]), commit=None))
        )
    )
    assert "not a git checkout" in html


def test_a_default_sized_page_stays_small(tmp_path: Path) -> None:
    lines = []
    for operator in ("jacobian", "hessian", "laplacian", "divergence"):
        names = [f"strategy-{k}" for k in range(12)]
        lines += rows(
            lambda s, n: 1e-5 * n,
            strategies=names,
            sizes=[4, 8, 16, 32, 64, 96, 128, 192, 256],
            operator=operator,
        )
    html = page(answer(load(write(tmp_path / "r.jsonl", lines))))
    assert len(lines) == 3 * 432
    assert len(html) < 1.5e6


def test_the_page_of_the_default_grid_is_built_in_ten_seconds() -> None:
    start = time.process_time()
    page(answer(load(ROOT / "docs/published/cpu.jsonl.gz")))
    assert time.process_time() - start < 10


def test_same_file_same_bytes_in_another_process(tmp_path: Path) -> None:
    pages = []
    for seed in ("1", "2"):
        target = tmp_path / f"{seed}.html"
        done = command("reports", "html", str(GOLDEN), "-o", str(target), PYTHONHASHSEED=seed)
        assert (done.returncode, done.stdout.strip()) == (0, str(target)), done.stderr
        pages.append(target.read_bytes())
    assert pages[0] == pages[1]


def test_the_summary_is_narrow_and_plain() -> None:
    done = command("reports", "summary", str(GOLDEN), NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    assert "3 cases in 2 passes" in done.stdout
    assert "wrong: jacobian/bad/" in done.stdout


def test_an_unreadable_file_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["html", str(tmp_path / "none.jsonl")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("reports: cannot read ")


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (1.4249e-3, 0.01, "1.42 ms ± 1 %"),
        (1.4249e-3, 0.12, "1.4 ms ± 12 %"),
        (2.5e-7, None, "250 ns"),
        (12.0, 0.004, "12.0 s ± 1 %"),
        (float("nan"), None, "–"),
    ],
)
def test_times_are_no_finer_than_their_interval(
    value: float, half: float | None, text: str
) -> None:
    assert words.seconds(value, half) == text


@pytest.mark.parametrize(("value", "text"), [(1.369, "1.37×"), (24.3, "24×"), (1234.0, "1,234×")])
def test_factors_have_one_form(value: float, text: str) -> None:
    assert words.factor(value) == text
