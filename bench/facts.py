"""What an arm of a comparison is, as a process that imports its code sees it.

`python -m bench.facts SOURCE [--grid …] [--only …] …` prints one line of JSON: the cases, and what
the run line says of strategies, workloads and versions. SOURCE is the folder that `strategies` must
come from.
"""

from __future__ import annotations

import argparse
import json
import sys

from .__main__ import selection
from .guard import proven


def main(source: str, *arguments: str) -> int:
    """Print the facts; end with one line where the arm cannot be asked."""
    proven(source)
    # Only now: these import `strategies`, from wherever it comes.
    from strategies import CONTRACT

    from .commands import USAGE_ERRORS, NothingSelected, selected
    from .environment import environment
    from .header import described

    parser = argparse.ArgumentParser()
    selection(parser)
    given = parser.parse_args(arguments)
    try:
        found = selected(given)
    except NothingSelected:
        found = []
    except USAGE_ERRORS as error:
        sys.exit(str(error))
    line = {"contract": CONTRACT, **described(found)}
    line["environment"] = environment(given.device, 1, [])
    print(json.dumps({"cases": [case.axes for case in found], "line": line}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
