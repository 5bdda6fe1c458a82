"""What the commands do once pandas is there."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from . import folder_commands
from .advise import advise
from .advise_text import text as advise_text
from .answer import answer
from .asked import AdviseError, asked_for, published
from .choosing import costs_table, regret_table, rule_table
from .compare import compare
from .comparison import Judgement, exit_code
from .export import as_json, csv
from .fit import FitError, fit
from .history import History, HistoryError
from .history_files import FORMS as HISTORY_FORMS
from .history_files import read
from .load import ResultFileError, Run, load
from .markdown import MarkersError, between_markers, regimes
from .packing import packed
from .page import Beside, page
from .rule_file import as_json as rule_json
from .rule_file import quality
from .terminal import WIDTH, history_table, summary
from .verdict_files import FORMS, VerdictFileError, text
from .verdict_files import read as read_verdicts


def html_command(given: argparse.Namespace) -> None:
    """Write the page; its path is the last line on stdout."""
    runs = [load(path) for path in given.run]
    _note(runs)
    changed, title = _changed(given, runs[0])
    past = _past(given.history) if given.history else None
    covered = load(given.coverage) if given.coverage else None
    beside = Beside(changed, title, past, covered)
    _write(given.output or _beside(given.run[0]), page(answer(*runs), beside))


def _note(runs: Sequence[Run]) -> None:
    for warning in (warning for run in runs for warning in run.warnings):
        print(f"note: {warning}", file=sys.stderr)


def _changed(given: argparse.Namespace, run: Run) -> tuple[Judgement | None, str]:
    """What the first run is compared with: a stored run, or the verdicts of a comparison."""
    if given.comparison:
        folder = Path(given.comparison)
        return read_verdicts(folder / "verdicts.json" if folder.is_dir() else folder)
    if given.baseline:
        return compare(load(given.baseline), run), f"{given.baseline} → {run.path}"
    return None, ""


def _past(folder: str, only: Sequence[str] = ()) -> History:
    found, notes = read(folder, only)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return found


def _beside(run: str) -> Path:
    """The page's path beside the result file: `run.html` for `run.jsonl` and `run.jsonl.gz`."""
    path = Path(run)
    return (path.with_suffix("") if path.suffix == ".gz" else path).with_suffix(".html")


def summary_command(given: argparse.Namespace) -> None:
    """Print the summary."""
    summary(answer(load(given.run)), _console())


def _console() -> Console:
    console = Console()
    console.width = min(console.width if console.is_terminal else WIDTH, WIDTH)
    return console


def export_command(given: argparse.Namespace) -> None:
    """Write what was asked for."""
    found = answer(load(given.run))
    if given.csv:
        _write(given.csv, csv(found.every))
    if given.json:
        _write(given.json, as_json(found.runs, found.every, found.advice, found.regrets))
    if given.markdown:
        _write(given.markdown, regimes(found))
    if given.into:
        text = Path(given.into).read_text(encoding="utf-8")
        _write(given.into, between_markers(text, regimes(found), given.into))


def advise_command(given: argparse.Namespace) -> None:
    """Print what to use for the sizes that are given."""
    asked = asked_for(given)
    runs = [load(path) for path in given.run or published()]
    print(advise_text(advise(runs, asked), asked), end="")


def choosing_command(given: argparse.Namespace) -> None:
    """Put the tables of choosing between the lines of their markers."""
    run, beside = load(given.run), [load(path) for path in given.beside]
    found, rule = answer(run), json.loads(Path(given.rule).read_text(encoding="utf-8"))
    judged = [("default grid", found)]
    judged += [("held-out networks", answer(load(given.heldout)))] if given.heldout else []
    text = Path(given.into).read_text(encoding="utf-8")
    for marker, table in (
        ("regret", regret_table(*judged)),
        ("rule", rule_table(rule, answer(run, *beside))),
        ("costs", costs_table(found)),
    ):
        text = between_markers(text, table, given.into, marker)
    _write(given.into, text)


def pack_command(given: argparse.Namespace) -> None:
    """Write the run in fewer bytes."""
    Path(given.output).write_bytes(packed(given.run))
    print(given.output)


def compare_command(given: argparse.Namespace) -> int:
    """Print and write the comparison of two result files; 1 only for what fails now or is gone."""
    # Before anything is read, so that a wrong name costs nothing.
    forms = {path: _form(path, FORMS) for path in given.output}
    found = compare(load(given.base), load(given.head))
    code = exit_code(found)
    if code == 2:
        print(f"reports: {found.notes[-1]}", file=sys.stderr)
    else:
        print(text(found))
    for path, form in forms.items():
        _write(path, form(found, f"{given.base} → {given.head}"))
    return code


def history_command(given: argparse.Namespace) -> None:
    """Print and write the steps of a folder's runs: notes, so the exit code is 0 with them too."""
    forms = {path: _form(path, HISTORY_FORMS) for path in given.output}
    found = _past(given.folder, given.only)
    history_table(found, _console())
    for path, form in forms.items():
        _write(path, form(found, f"History of {given.folder}"))


def fit_command(given: argparse.Namespace) -> None:
    """Print how well the rule does that is fitted to runs, and write it."""
    runs = [load(path) for path in given.run]
    _note(runs)
    rule, sources = fit(runs)
    print(quality(rule))
    if given.into:
        _write(given.into, rule_json(rule, sources))


Found = TypeVar("Found")


def _form(
    path: str, forms: Mapping[str, Callable[[Found, str], str]]
) -> Callable[[Found, str], str]:
    ending = Path(path).suffix
    if ending not in forms:
        raise ResultFileError(f"{path}: its ending says the form, one of {', '.join(forms)}")
    return forms[ending]


def _write(path: str | Path, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
    print(path)


USAGE_ERRORS = (
    AdviseError,
    FitError,
    HistoryError,
    MarkersError,
    OSError,
    ResultFileError,
    VerdictFileError,
    *folder_commands.USAGE_ERRORS,
)

# A command without an exit code of its own is 0.
COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "html": html_command,
    "pack": pack_command,
    "summary": summary_command,
    "export": export_command,
    "advise": advise_command,
    "choosing": choosing_command,
    "compare": compare_command,
    **folder_commands.COMMANDS,
    "history": history_command,
    "fit": fit_command,
}
