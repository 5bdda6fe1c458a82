"""Result files made to order: planted times, names and failures, for the tests of reports."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "data" / "schema-1.jsonl"
Seconds = Callable[[str, int], float]


def header() -> dict[str, Any]:
    """The golden file's header."""
    return json.loads(GOLDEN.read_text(encoding="utf-8").splitlines()[0])


def rows(
    seconds: Seconds,
    *,
    strategies: Sequence[str],
    sizes: Iterable[int] = (16,),
    passes: int = 3,
    operator: str = "jacobian",
    noise: float = 0.01,
    **fields: Any,
) -> list[dict[str, Any]]:
    """One ok row for each strategy, size and pass; the times are `seconds(strategy, size)`."""
    draw = random.Random(0)
    return [
        {
            "kind": "row",
            **{"operator": operator, "strategy": strategy, "workload": "net", "params": {"n": n}},
            **{"in_shape": [n], "out_shape": [n], "B": 4, "n": n, "m": n, "pass": k},
            **{"status": "ok", "prepare_s": 0.01, "first_s": 0.01},
            "wall_s": [seconds(strategy, n) * (1 + draw.gauss(0, noise))] * 3,
            "counters": {"ops": 10, "peak_bytes": 1000 * n},
            "error": {
                "relative": 1e-7,
                "elementwise": 1e-7,
                "digits": 7,
                "tolerance": 1e-4,
                "bound": 1e-13,
                "method": "closed form",
            },
            **fields,
        }
        for k in range(passes)
        for strategy in strategies
        for n in sizes
    ]


def write(path: Path, lines: Iterable[dict[str, Any]], **changed: Any) -> Path:
    """A result file of these rows, with its header and its end."""
    whole = [{**header(), **changed}, *lines, {"kind": "end", "rows": 0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in whole), encoding="utf-8")
    return path
