"""Measures what choosing costs on networks that no rule was fitted to.

python docs/regret.py [--passes K] [--only NAME …] [--results FOLDER] [--resume FILE]

Every exact strategy for the networks and operators of tests/heldout, and what chooses among them,
in K passes and one result file, whose path is printed; `python -m reports summary FILE` says how
far the choices are from the best. The command that was interrupted goes on with --resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.asked import require
from bench.case import Case
from bench.commands import USAGE_ERRORS
from bench.grid import Block, cases
from bench.run_command import measured
from bench.workloads import load_workload
from reports.schema import CHOOSERS
from strategies import find, load_installed

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import heldout

GRID = "heldout"


def asked(names: Sequence[str], device: str) -> list[Case]:
    """The cases of these networks: each exact strategy of the operators that they are asked for,
    and the choosers."""
    known = {name: load_workload(heldout.spec(name)).name for name in names}
    blocks = [Block(known[name], heldout.OPERATORS[name]) for name in names]
    found = cases(blocks, device=device, choosers=CHOOSERS)
    return [c for c in found if c.strategy in CHOOSERS or find(c.operator, c.strategy).exact]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--passes", type=int, default=8, metavar="K")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", action="append", choices=list(heldout.RECIPES), default=[])
    parser.add_argument("--results", default="results", metavar="FOLDER")
    parser.add_argument("--resume", metavar="FILE", help="go on with a run that was interrupted")
    parser.set_defaults(strategies=[], memory=None, limit=60.0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the path of the result file."""
    given = parsed(arguments)
    names = given.only or list(heldout.RECIPES)
    given.workload = [heldout.spec(name) for name in names]
    try:
        require(given.device)
        load_installed()
        outcome = measured(given, asked(names, given.device), GRID)
    except USAGE_ERRORS as error:
        print(f"regret: {error}", file=sys.stderr)
        return 2
    if outcome.interrupted:
        print(
            f"regret: interrupted; the same with --resume {outcome.path} goes on", file=sys.stderr
        )
    else:
        print(outcome.path)
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
