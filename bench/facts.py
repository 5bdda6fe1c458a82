"""What an arm of a comparison is, as a process that imports its code sees it.

`python -m bench.facts SOURCE TOP HELD [--grid …] …` prints one line of JSON: the cases, what the
run line says of strategies, workloads, versions and code. SOURCE is the folder that `strategies`
must come from, TOP the repository, HELD the arm's copy of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .__main__ import selection
from .guard import proven

# Of this checkout in both arms.
COMMON = ("__main__", "__mp_main__", "bench", "reports")


def main(source: str, top: str, held: str, *arguments: str) -> int:
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
    specs = [*given.strategies, *(spec.rpartition(":")[0] for spec in given.workload)]
    line["code"] = code(Path(top).resolve(), Path(held).resolve(), specs)
    print(json.dumps({"cases": [case.axes for case in found], "line": line}))
    return 0


def code(top: Path, held: Path, specs: Sequence[str] = ()) -> str:
    """A digest of the files of the arm's copy that were loaded, the specs among them; empty where
    none was. End where a module came from the repository, whose files are those of neither commit.
    """
    files = {
        name: Path(file).resolve()
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in COMMON
        and isinstance(file := getattr(module, "__file__", None), str)
    }
    for name, file in files.items():
        if file.is_relative_to(top) and not _anothers(file, held):
            sys.exit(f"module {name} came from {file}, not from the commit")
    # Files of strategies and workloads are run without becoming modules by name.
    loaded = {*files.values(), *(Path(spec).resolve() for spec in specs)}
    own = sorted(file for file in loaded if file.is_relative_to(held) and file.is_file())
    whole = [(str(file.relative_to(held)), file.read_bytes()) for file in own]
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:16] if whole else ""


def _anothers(file: Path, held: Path) -> bool:
    """Whether a file in the repository's folder is the arm's, or of a python that is kept there."""
    kept = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    return any(map(file.is_relative_to, [held, *kept])) or "site-packages" in file.parts


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
