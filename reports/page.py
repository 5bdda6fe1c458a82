"""The page: one HTML file, readable from disk without network and without JavaScript."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from .answer import Answer, environment, verdict
from .blocks import Section
from .comparison import Judgement
from .export import as_json, csv
from .history import History
from .load import Run
from .sections import (
    changes,
    correctness,
    coverage,
    crossover,
    failures,
    limits,
    memory,
    reading,
    regret,
    results,
    scaling,
    stability,
    use,
)
from .sections import environment as surroundings

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Beside:
    """What a page can show beside its runs: verdicts with their title, a history, coverage."""

    changed: Judgement | None = None
    title: str = ""
    past: History | None = None
    covered: Run | None = None


def page(found: Answer, beside: Beside | None = None) -> str:
    """The whole page; same answers, same bytes."""
    beside = beside or Beside()
    loader = jinja2.FileSystemLoader(HERE / "templates")
    engine = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    engine.filters["marked"] = marked
    engine.filters["anchor"] = anchors()
    style, script = _asset("page.css"), _asset("page.js")
    return engine.get_template("page.html").render(
        title=f"Input-derivative benchmarks: {' and '.join(run.name for run in found.runs)}",
        style=Markup(style),
        script=Markup(script),
        script_hash=_hash(script),
        warnings=[warning for run in found.runs for warning in run.warnings],
        verdict=verdict(found, changes.summary(beside.changed, beside.past)),
        environments=list(zip(found.letters, map(environment, found.runs), strict=True)),
        sections=sections(found, beside),
        downloads={
            "csv": _plain("text/csv", csv(found.every)),
            "json": _packed(as_json(found.runs, found.every, found.advice, found.regrets)),
        },
    )


def sections(found: Answer, beside: Beside) -> list[Section]:
    """Every section in the order in which it is read."""
    return [
        use.section(found),
        regret.section(found),
        results.section(found),
        scaling.section(found),
        crossover.section(found),
        memory.section(found),
        changes.section(beside.changed, beside.title, beside.past),
        correctness.section(found),
        limits.section(found),
        failures.section(found),
        coverage.section(beside.covered),
        stability.section(found),
        surroundings.section(found),
        reading.section(),
    ]


def marked(text: str) -> Markup:
    """Prose with its `code` and **emphasis** as elements; all else is text."""
    plain = str(escape(text))
    plain = re.sub(r"`([^`]+)`", r"<code>\1</code>", plain)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", plain))


def anchors() -> Callable[[str], str]:
    """A function that names anchors after texts, each once on a page."""
    seen: Counter[str] = Counter()

    def anchor(text: str) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "part"
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}-{seen[name]}"

    return anchor


def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# Percent signs pack better than base64, which shifts every repetition out of step.
def _plain(kind: str, text: str) -> str:
    return f"data:{kind};charset=utf-8,{quote(text, safe='/:,;=[]{}()+-*!$?@|^')}"


def _packed(text: str) -> str:
    """Without a time in it, so that the page of a run is the same whenever it is made."""
    packed = gzip.compress(text.encode(), 9, mtime=0)
    return f"data:application/gzip;base64,{base64.b64encode(packed).decode()}"
