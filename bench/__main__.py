"""`python -m bench run | list | check | coverage | counters | pair | advise`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .memory import bytes_of


def parser() -> argparse.ArgumentParser:
    """The command line; building it imports neither torch nor the strategies."""
    top = argparse.ArgumentParser(
        prog="python -m bench",
        description="Time every way of differentiating a network with respect to its input.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "measure every case in K passes and print the path of the result file"),
        ("list", "print the id of every case"),
        ("check", "compare every case with its reference; nothing is timed"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        selection(command)
        if name == "run":
            _running(command)
    text = "ask every strategy for the derivatives of every probe; find where torch is wrong"
    _coverage(commands.add_parser("coverage", help=text, description=text))
    text = "write what is exact of every case into a file, or find what differs from that file"
    _counters(commands.add_parser("counters", help=text, description=text))
    text = "compare two commits, measured in turn; 1 where something is slower, failing or removed"
    _pair(commands.add_parser("pair", help=text, description=text))
    text = "measure your own function within a minute and say which strategy to use"
    _advise(commands.add_parser("advise", help=text, description=text))
    return top


def _advise(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workload",
        required=True,
        nargs=1,
        metavar="FILE.py:FUNCTION",
        help="your own FUNCTION(dtype, device, generator) -> (f, x)",
    )
    command.add_argument(
        "--operator",
        action="append",
        default=[],
        metavar="NAME",
        help="given again, several; without it all that the shapes allow, but bilaplacian",
    )
    command.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    command.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    command.add_argument("--create-graph", action="store_true", help="to train through the result")
    command.add_argument("--passes", type=_count, default=3, metavar="K")
    command.add_argument("--results", default="results", metavar="FOLDER")
    command.add_argument(
        "--limit",
        type=_seconds,
        metavar="SECONDS",
        help="for one case in one pass; without it 15, or 120 where --operator is given",
    )
    # What is asked of a run, and not here.
    command.set_defaults(strategies=[], memory=None, resume=None)


def _counters(command: argparse.ArgumentParser) -> None:
    selection(command)
    command.set_defaults(grid="counters")
    command.add_argument(
        "--check", action="store_true", help="compare with the file; 1 for any difference"
    )
    command.add_argument(
        "--counters",
        metavar="FILE",
        help="instead of tests/counters/torch-VERSION-DEVICE.json",
    )


def _pair(command: argparse.ArgumentParser) -> None:
    command.add_argument("base", metavar="BASE", help="a commit")
    command.add_argument("head", metavar="HEAD", nargs="?", help="without it the working tree")
    selection(command)
    # By what is measured: times of smoke, or instructions of a few cases of it.
    command.set_defaults(grid=None)
    _files(command)
    command.add_argument(
        "--instructions",
        action="store_true",
        help="count instructions under valgrind instead of taking times; a grid of its own",
    )
    command.add_argument("--pairs", type=_count, default=8, metavar="K", help="of passes; 8")
    command.add_argument(
        "--screen-only",
        action="store_true",
        help="leave what the screen suspects unclear; --resume FOLDER confirms it, elsewhere too",
    )
    command.add_argument("--waivers", metavar="FILE.toml", help="slower cases that do not fail")
    command.add_argument("--strict", action="store_true", help="3 where a case is unclear")
    command.add_argument("--base-python", metavar="PATH", help="what base runs on: another torch")
    command.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="ID=RATIO",
        help="make a case of HEAD slower, to see whether that is found",
    )


def _coverage(command: argparse.ArgumentParser) -> None:
    command.add_argument("--only", action="append", default=[], metavar="PART")
    command.add_argument("--strategies", action="append", default=[], metavar="FILE.py")
    command.add_argument(
        "--execution",
        action="append",
        choices=["eager", "traced", "compile"],
        help="given again, several; without it eager and traced",
    )
    command.add_argument("--results", default="results", metavar="FOLDER")
    command.add_argument("--resume", metavar="FILE", help="go on with a coverage file")
    command.add_argument(
        "--write", action="store_true", help="write strategies/unsafe_ops.json from this run"
    )
    command.add_argument(
        "--limit", type=_seconds, default=60.0, metavar="SECONDS", help="for one cell"
    )
    command.add_argument(
        "--workers", type=_count, metavar="N", help="at once; without it one a core"
    )


def selection(command: argparse.ArgumentParser) -> None:
    """Which cases."""
    command.add_argument(
        "--grid",
        default="smoke",
        help="smoke, default, full, choice, skewed, counters or trials; without it %(default)s",
    )
    command.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="only cases whose id holds PART; given again, every PART",
    )
    command.add_argument(
        "--workload",
        action="append",
        default=[],
        metavar="FILE.py:FUNCTION",
        help="your own FUNCTION(dtype, device, generator) -> (f, x), instead of the grid's",
    )
    command.add_argument(
        "--dtype", default="float32", choices=["float32", "float64"], help="of your own workloads"
    )
    command.add_argument(
        "--strategies",
        action="append",
        default=[],
        metavar="FILE.py",
        help="your own decorated strategies, beside the known ones",
    )
    command.add_argument(
        "--threads",
        type=_counts,
        default=(),
        metavar="N[,N]",
        help="torch's threads, instead of the grid's; 1,2 measures every case with each",
    )


def _running(command: argparse.ArgumentParser) -> None:
    command.add_argument("--passes", type=_count, default=3, metavar="K")
    _files(command)


def _files(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", default="results", metavar="FOLDER")
    command.add_argument(
        "--limit", type=_seconds, default=120.0, metavar="SECONDS", help="for one case in one pass"
    )
    command.add_argument(
        "--memory", type=_bytes, metavar="BYTES", help="for a case on the CPU; 8 GiB is read too"
    )
    command.add_argument("--resume", metavar="PATH", help="go on with what is there of the same")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(part) for part in text.split(",")}))


def _bytes(text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"more than 0, not {text}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit codes are 0, 1 (a fault was found), 2 (usage), 130."""
    given = parser().parse_args(arguments)
    try:
        return _done(given)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _done(given: argparse.Namespace) -> int:
    # Only now: torch takes seconds to import, and --help needs none of it.
    from . import commands

    try:
        return commands.COMMANDS[given.command](given)
    except commands.USAGE_ERRORS as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
