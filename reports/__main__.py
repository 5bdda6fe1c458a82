"""`python -m reports html | summary | export | compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The command line; building it does not import pandas."""
    top = argparse.ArgumentParser(
        prog="python -m reports",
        description="Read result files: page, summary, export, comparison.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    html = commands.add_parser("html", help="write the page and print its path")
    html.add_argument("run", help="a result file")
    html.add_argument("-o", "--output", metavar="FILE", help="default: beside the result file")
    html.add_argument("--coverage", metavar="FILE", help="a result file of bench coverage")
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
    compare = commands.add_parser("compare", help="compare two result files; times never fail")
    compare.add_argument("base", help="a result file, the earlier one")
    compare.add_argument("head", help="a result file, the later one")
    compare.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        action="append",
        default=[],
        help="write the verdicts: .json, .xml (JUnit) or .md; may be given again",
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit codes 0, 2 (a file cannot be read or written), and compare's own 1."""
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
