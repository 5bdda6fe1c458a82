"""A reader's test: ten questions, answered out of nothing but the text of the page.

Two planted runs have different answers to each: an answer that is always the same was not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_comparisons import made
from made_runs import header, rows, write

from reports.answer import answer
from reports.load import load
from reports.page import Beside, page
from reports.verdicts import judge

CELLS, LINES = ("td", "th", "dt"), ("p", "tr", "caption", "h1", "h2", "h3", "dd", "summary", "li")


class Text(HTMLParser):
    """What is left of a page without its markup: a line a paragraph or row, tabs between cells."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped += tag in ("script", "style", "svg")

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in ("script", "style", "svg")
        self.parts.append("\t" if tag in CELLS else "\n" if tag in LINES else "")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts.append(" ".join(data.split("\n")))


def text_of(html: str) -> list[str]:
    found = Text()
    found.feed(html)
    return [line.strip() for line in "".join(found.parts).split("\n") if line.strip()]


def cells(lines: list[str], first: str, after: str = "") -> list[str]:
    """The first row below `after` whose first cell begins so."""
    start = next(k for k, line in enumerate(lines) if line.startswith(after)) if after else 0
    row = next(line for line in lines[start:] if line.startswith(first) and "\t" in line)
    return [cell.strip() for cell in row.split("\t")]


def sentence(lines: list[str], pattern: str) -> str:
    return next(found[1] for line in lines if (found := re.search(pattern, line)))


QUESTIONS: dict[str, Callable[[list[str]], str]] = {
    "Which for 512 → 8?": lambda t: cells(t, "wide Jacobian")[1],
    "Which for a training step?": lambda t: cells(t, "training step")[1],
    "Where is the crossover?": lambda t: " / ".join(
        cells(t, "jacobian", "Sizes between which")[3:5]
    ),
    "What does doubling n cost?": lambda t: cells(
        t, "laplacian: steady", "With which power of a size"
    )[7],
    "What failed, and why?": lambda t: " ".join(cells(t, "odd", "Cases without a time")[2:4]),
    "Did anything regress?": lambda t: sentence(t, r"^Compared: (.*)$"),
    "How far from the limit?": lambda t: sentence(t, r"η = (\d+ %) of the least work"),
    "What does the Hessian take in memory?": lambda t: cells(t, "Hessian")[5],
    "How sure are the times?": lambda t: sentence(t, r"known to (± \d+ %) or better"),
    "On which torch?": lambda t: sentence(t, r"torch (\S+) "),
}

ANSWERS = {
    "one": [
        *("rev", "graph-a", "loop up to n = 8 / batch from n = 16", "4.00×"),
        *("error KeyError: 'x'", "1 slower and 3 same.", "40 %", "2.00 MiB", "± 3 %", "2.13.0"),
    ],
    "other": [
        *("fwd", "graph-b", "loop up to n = 16 / batch from n = 32", "2.00×"),
        *("oom out of memory", "3 same.", "20 %", "4.00 KiB", "± 15 %", "2.12.1"),
    ],
}


def planted(folder: Path, *, other: bool) -> str:
    """The page of a run in which everything is as the answers say."""
    environment = {**header()["environment"], "torch": "2.12.1" if other else "2.13.0"}
    noise = 0.045 if other else 0.0001
    # The best of every problem is at this part of what a product of 2·10⁹ FLOP/s would take.
    eta = 0.2 if other else 0.4
    flops = lambda seconds: {"flops": 2e9 * eta * seconds, "storage_bytes": 1.0, "ops": 1}  # noqa: E731
    lines: list[dict[str, Any]] = []

    def add(
        operator: str, times: dict[str, Callable[[int], float]], sizes: list[int], **more: Any
    ) -> None:
        for name, seconds in times.items():
            for n in sizes:
                made_here = rows(
                    *(lambda s, n, of=seconds: of(n),),
                    strategies=[name],
                    sizes=[n],
                    operator=operator,
                    noise=noise,
                    **{"counters": {**flops(seconds(n)), "peak_bytes": 2**12 if other else 2**21}},
                )
                lines.extend({**line, **more} for line in made_here)

    wide = {"rev": 1e-3, "fwd": 3e-3} if not other else {"rev": 3e-3, "fwd": 1e-3}
    for name, seconds in wide.items():
        add("jacobian", {name: lambda n, s=seconds: s}, [512], m=8, out_shape=[8], workload="wide")
    at = 24 if other else 12
    add("jacobian", {"loop": lambda n: 1e-4 * n, "batch": lambda n: 1e-4 * at}, [4, 8, 16, 32])
    power = 1 if other else 2
    add("laplacian", {"steady": lambda n: 1e-5 * n**power}, [8, 16, 32, 64], m=1, out_shape=[1])
    add("hessian", {"h": lambda n: 1e-3}, [16], m=1, out_shape=[1])
    # One that does nothing but launch, so that the cost of a launch is known.
    lines[-1]["counters"]["ops"] = 1000
    best = "graph-b" if other else "graph-a"
    for name in ("graph-a", "graph-b"):
        seconds = 1e-3 if name == best else 2e-3
        trained = {"create_graph": True, "train_s": [seconds] * 3, "m": 1, "out_shape": [1]}
        add("laplacian", {name: lambda n, s=seconds: s}, [16], **trained)
    status, reason = ("oom", "out of memory") if other else ("error", "KeyError: 'x'")
    lines += rows(lambda s, n: 1, strategies=["odd"], status=status, reason=reason)
    for counters in ({"flops": 2e6}, {"bytes": 1e9}, {"ops": 1e6}):
        lines += rows(
            *(lambda s, n: 1e-3,),
            strategies=[f"control-{next(iter(counters))}"],
            operator="control",
            noise=0,
            counters=counters,
        )
    run = load(write(folder / "run.jsonl", lines, environment=environment))
    compared = judge(made({} if other else {"jacobian/rev": 1.3}, others=3))
    return page(answer(run), Beside(changed=compared, title="main → head"))


@pytest.fixture(scope="module", params=["one", "other"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    lines = text_of(planted(folder, other=request.param == "other"))
    return lines, dict(zip(QUESTIONS, ANSWERS[request.param], strict=True))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_reader_finds_the_answer(asked: Any, question: str) -> None:
    lines, answers = asked
    assert QUESTIONS[question](lines) == answers[question]


def test_no_two_answers_are_alike() -> None:
    assert not [1 for one, other in zip(*ANSWERS.values(), strict=True) if one == other]
