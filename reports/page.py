"""The page: one HTML file, readable from disk without network and without JavaScript."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from . import drawings, sheets
from .advice import SKEW
from .answer import Answer, environment, verdict
from .coverage import Coverage
from .export import as_json, csv

HERE = Path(__file__).parent


def page(found: Answer, covered: Coverage | None = None) -> str:
    """The whole page, with coverage where a run of it is given; same answers, same bytes."""
    loader = jinja2.FileSystemLoader(HERE / "templates")
    engine = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style, script = _asset("page.css"), _asset("page.js")
    return engine.get_template("page.html").render(
        title=f"Input-derivative benchmarks: {found.run.name}",
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        warnings=found.run.warnings,
        verdict=verdict(found),
        environment=environment(found.run),
        advice=sheets.advice(found),
        lines=_lines(found),
        skew=SKEW,
        results=sheets.results(found),
        scaling=drawings.scaling(found),
        exponents=sheets.exponents(found),
        heat=drawings.heat(found),
        memory=drawings.memory(found),
        digits=sheets.digits(found),
        failures=sheets.failures(found),
        coverage=covered,
        strategies=sheets.strategies(found),
        workloads=sheets.workloads(found),
        downloads={
            "csv": _data("text/csv", csv(found.cases)),
            "json": _data("application/json", as_json(found.run, found.cases, found.advice)),
        },
    )


def _asset(name: str) -> str:
    return (HERE / "assets" / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _lines(found: Answer) -> list[str]:
    return list(dict.fromkeys(found.advice.sort_values(["purpose", "operator"])["line"]))
