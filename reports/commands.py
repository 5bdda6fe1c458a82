"""What the commands do once pandas is there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from .answer import answer
from .compare import compare
from .comparison import Judgement, exit_code
from .coverage import coverage
from .export import as_json, csv
from .load import ResultFileError, load
from .markdown import MarkersError, between_markers, regimes
from .page import page
from .terminal import WIDTH, summary
from .verdict_files import FORMS, text


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


def compare_command(given: argparse.Namespace) -> int:
    """Print and write the comparison of two result files; 1 only for what fails now or is gone."""
    # Before anything is read, so that a wrong name costs nothing.
    forms = {path: _form(path) for path in given.output}
    found = compare(load(given.base), load(given.head))
    code = exit_code(found)
    if code == 2:
        print(f"reports: {found.notes[-1]}", file=sys.stderr)
    else:
        print(text(found))
    for path, form in forms.items():
        _write(path, form(found, f"{given.base} → {given.head}"))
    return code


def _form(path: str) -> Callable[[Judgement, str], str]:
    ending = Path(path).suffix
    if ending not in FORMS:
        raise ResultFileError(f"{path}: its ending says the form, one of {', '.join(FORMS)}")
    return FORMS[ending]


def _write(path: str | Path, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
    print(path)


USAGE_ERRORS = (ResultFileError, MarkersError, OSError)

# A command without an exit code of its own is 0.
COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "html": html_command,
    "summary": summary_command,
    "export": export_command,
    "compare": compare_command,
}
