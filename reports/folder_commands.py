"""What the commands on a comparison's folder do: suspects, verdicts, waivers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path

from .comparison import exit_code
from .folder import judged, suspected
from .signflip import TooFewPairsError
from .verdict_files import as_json, junit, markdown, text
from .waivers import WaiverFileError, read_waivers, waive

USAGE_ERRORS = (TooFewPairsError, WaiverFileError)


def suspects_command(given: argparse.Namespace) -> None:
    """Print the ids of the cases that the screen of a comparison suspects, a line each."""
    for case in suspected(Path(given.folder)):
        print(case)


def verdicts_command(given: argparse.Namespace) -> int:
    """Print the verdicts on a comparison, write them into its folder; the code is `exit_code`'s."""
    folder, waivers = Path(given.folder), read_waivers(given.waivers) if given.waivers else ()
    found = waive(judged(folder), waivers, date.today())
    written = {
        "verdicts.json": as_json(found, given.title, strict=given.strict),
        "verdicts.xml": junit(found, given.title),
        "verdicts.md": markdown(found, given.title),
    }
    print(text(found))
    for name, content in written.items():
        (folder / name).write_text(content, encoding="utf-8")
    print(folder / "verdicts.json")
    return exit_code(found, strict=given.strict)


def waivers_command(given: argparse.Namespace) -> None:
    """Print each waiver of a file."""
    for waiver in read_waivers(given.file):
        print(f"{waiver.case}: up to {waiver.ceiling:.2f}× until {waiver.expires}: {waiver.reason}")


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "suspects": suspects_command,
    "verdicts": verdicts_command,
    "waivers": waivers_command,
}
