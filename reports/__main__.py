"""`python -m reports html | summary | advise | export | compare | verdicts | history | …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def parser() -> argparse.ArgumentParser:
    """The command line; building it does not import pandas."""
    top = argparse.ArgumentParser(
        prog="python -m reports",
        description="Read result files: page, summary, export, comparison, history.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pack = commands.add_parser("pack", help="write a run in fewer bytes, to be kept")
    pack.add_argument("run", help="a result file")
    pack.add_argument("-o", "--output", metavar="FILE.jsonl.gz", required=True)
    _html(commands.add_parser("html", help="write the page and print its path"))
    summary = commands.add_parser("summary", help="print the summary")
    summary.add_argument("run", help="a result file")
    export = commands.add_parser("export", help="write the table of cases")
    export.add_argument("run", help="a result file")
    export.add_argument("--csv", metavar="FILE")
    export.add_argument("--json", metavar="FILE")
    export.add_argument("--markdown", metavar="FILE", help="the regime table")
    export.add_argument(
        "--into",
        metavar="FILE",
        help="put the regime table between the lines <!-- results … --> and <!-- /results -->",
    )
    _advise(commands.add_parser("advise", help="say what to use for sizes of your own"))
    _choosing(commands.add_parser("choosing", help="write the tables of docs/choosing.md"))
    _compare(commands.add_parser("compare", help="compare two result files; times never fail"))
    _folder(commands)
    _fit(commands.add_parser("fit", help="fit the rule of auto to runs, print how well it does"))
    _history(commands.add_parser("history", help="find steps in a folder of runs; never fails"))
    return top


def _html(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "run", nargs="+", help="a result file; several are shown side by side, A, B, …"
    )
    command.add_argument("-o", "--output", metavar="FILE", help="default: beside the first run")
    with_what = command.add_mutually_exclusive_group()
    with_what.add_argument("--baseline", metavar="RUN", help="compare the first run with this one")
    with_what.add_argument(
        "--comparison", metavar="FOLDER", help="show the verdicts of python -m bench pair"
    )
    command.add_argument("--history", metavar="FOLDER", help="show the steps of a folder of runs")
    command.add_argument("--coverage", metavar="FILE", help="a result file of bench coverage")


def _advise(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", nargs="*", help="a result file; default: the published ones")
    command.add_argument("--operator", help="default: every one that was measured")
    command.add_argument("--n", type=int, help="inputs of a row")
    command.add_argument("--m", type=int, help="outputs of a row")
    command.add_argument("--batch", type=int, metavar="B", help="rows in the batch")
    command.add_argument("--dtype", metavar="float32")
    command.add_argument("--device", metavar="cpu", help="default: every one that was measured")
    command.add_argument(
        "--create-graph", action="store_true", help="the result is differentiated again"
    )
    command.add_argument("--layout", default="dense", metavar="sparse")
    command.add_argument("--execution", default="eager", metavar="eager")
    command.add_argument("--memory", metavar="8GiB", help="the most that one evaluation may take")


def _choosing(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", help="a result file, of the default grid")
    command.add_argument(
        "--beside", metavar="RUN", action="append", default=[], help="what else the rule is of"
    )
    command.add_argument("--heldout", metavar="RUN", help="of networks that the rule is not of")
    command.add_argument("--rule", metavar="FILE.json", default="strategies/rule.json")
    command.add_argument("--into", metavar="FILE.md", required=True)


def _compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("base", help="a result file, the earlier one")
    command.add_argument("head", help="a result file, the later one")
    _output(command, "write the verdicts: .json, .xml (JUnit) or .md; may be given again")


def _folder(commands: Any) -> None:
    """What is asked of the folder of a comparison that `python -m bench pair` measured."""
    suspects = commands.add_parser("suspects", help="print the cases that a screen suspects")
    suspects.add_argument("folder", help="of a comparison")
    verdicts = commands.add_parser("verdicts", help="judge a comparison; 1 where something fails")
    verdicts.add_argument("folder", help="of a comparison; the verdicts are written into it")
    verdicts.add_argument("--waivers", metavar="FILE.toml", help="slower cases that do not fail")
    verdicts.add_argument("--title", default="Comparison", help="of what is written")
    verdicts.add_argument("--strict", action="store_true", help="3 where a case is unclear")
    waivers = commands.add_parser("waivers", help="print the waivers of a file")
    waivers.add_argument("file", metavar="FILE.toml")


def _fit(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", nargs="+", help="a result file")
    command.add_argument("--into", metavar="FILE.json", help="write the rule, as auto reads it")


def _history(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", help="of result files, .gz too")
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="only cases whose id holds PART; given again, every PART",
    )
    _output(command, "write steps and cuts: .md or .json, every time: .csv; may be given again")


def _output(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("-o", "--output", metavar="FILE", action="append", default=[], help=text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit codes 0, 2 (a file cannot be read or written); compare and verdicts
    have their own."""
    given = parser().parse_args(arguments)
    # Only now: pandas takes a second to import, and --help needs none of it.
    from . import commands

    try:
        return commands.COMMANDS[given.command](given) or 0
    except commands.USAGE_ERRORS as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
