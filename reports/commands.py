"""What the commands do once pandas is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from .answer import answer
from .coverage import coverage
from .export import as_json, csv
from .load import ResultFileError, load
from .markdown import MarkersError, between_markers, regimes
from .page import page
from .terminal import WIDTH, summary


def html_command(given: argparse.Namespace) -> None:
    """Write the page; its path is the last line on stdout."""
    run = load(given.run)
    for warning in run.warnings:
        print(f"note: {warning}", file=sys.stderr)
    covered = coverage(load(given.coverage)) if given.coverage else None
    _write(given.output or _beside(given.run), page(answer(run), covered))


def _beside(run: str) -> Path:
    """The page's path beside the result file: `run.html` for `run.jsonl` and `run.jsonl.gz`."""
    path = Path(run)
    return (path.with_suffix("") if path.suffix == ".gz" else path).with_suffix(".html")


def summary_command(given: argparse.Namespace) -> None:
    """Print the summary."""
    console = Console()
    console.width = min(console.width if console.is_terminal else WIDTH, WIDTH)
    summary(answer(load(given.run)), console)


def export_command(given: argparse.Namespace) -> None:
    """Write what was asked for."""
    found = answer(load(given.run))
    if given.csv:
        _write(given.csv, csv(found.cases))
    if given.json:
        _write(given.json, as_json(found.run, found.cases, found.advice))
    if given.markdown:
        _write(given.markdown, regimes(found))
    if given.into:
        text = Path(given.into).read_text(encoding="utf-8")
        _write(given.into, between_markers(text, regimes(found), given.into))


def _write(path: str | Path, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
    print(path)


USAGE_ERRORS = (ResultFileError, MarkersError, OSError)

COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "html": html_command,
    "summary": summary_command,
    "export": export_command,
}
