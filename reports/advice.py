"""Which strategy should I use: winners by regime, with margin, ties and a line to copy.

NOTE [honest winners]
The least of many noisy numbers is too small. A winner is therefore picked on the odd passes and
judged on the even ones, and the other way round; where the two disagree, or the interval of the
ratio to the next best reaches one, there is no winner but a tie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from . import words
from .schema import LOOPS
from .summary import by_pass, interval

# Four times as many outputs as inputs is tall, four times as many inputs wide.
SKEW = 4
COLUMNS = [
    *("operator", "shape", "device", "threads", "purpose", "execution", "use", "margin"),
    *(
        "margin_low",
        "margin_high",
        "next_best",
        "ties",
        "judged",
        "cases",
        "seconds_low",
        "seconds_high",
    ),
    *("peak_bytes", "nearest", "line", "speedup"),
]


def shape_class(n: int, m: int) -> str:
    """What a row's shape is called: scalar, tall, wide or square."""
    if m == 1:
        return "scalar"
    if m >= SKEW * n:
        return "tall"
    return "wide" if n >= SKEW * m else "square"


def regimes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what a reader chooses by: `shape` and `purpose` (evaluate or train)."""
    shapes = [shape_class(n, m) for n, m in zip(table["n"], table["m"], strict=True)]
    purposes = ["train" if trains else "evaluate" for trains in table["create_graph"]]
    return table.assign(shape=shapes, purpose=purposes)


def advice(rows: pd.DataFrame, table: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
    """One line a regime: the strategy to use there, by how much, and how sure."""
    ok = regimes(table[table["status"] == "ok"])
    ok = ok.merge(factors[["id", "speedup"]], on="id", how="left")
    keys = ["operator", "shape", "device", "threads", "purpose", "execution"]
    plain = ok[ok["strategy"] == ok["operator"].map(LOOPS)]["contest"]
    found = [
        _answer(rows, _asked_of_all(group, plain), dict(zip(keys, key, strict=True)))
        for key, group in ok.groupby(keys)
    ]
    return pd.DataFrame([row for row in found if row], columns=COLUMNS)


def _asked_of_all(group: pd.DataFrame, plain: pd.Series) -> pd.DataFrame:
    """Without the contests that were asked of a few strategies alone, which the plain way is not
    among: who solved all would be one of those few. Nor those of sparse results, if any is not."""
    whole = group[group["contest"].isin(plain)]
    group = whole if len(whole) else group
    dense = group[group["layout"] == "dense"]
    return dense if len(dense) else group


def _answer(
    rows: pd.DataFrame, group: pd.DataFrame, regime: dict[str, Any]
) -> dict[str, Any] | None:
    logs = _mean_logs(rows, group)
    if logs.empty:
        return None
    order = logs.mean().sort_values().index
    use, others = order[0], list(order[1:])
    mine = group[group["way"] == use]
    row = regime | {"use": use, "cases": group["contest"].nunique(), "judged": "", "ties": []}
    row |= {"seconds_low": mine["seconds"].min(), "seconds_high": mine["seconds"].max()}
    row |= {"peak_bytes": mine["peak_bytes"].max(), "nearest": mine["contest"].iloc[0]}
    row |= {"speedup": float(np.exp(np.log(mine["speedup"]).mean())), "line": line(mine.iloc[0])}
    if others:
        row |= margin(logs, use, others)
    return row


def _mean_logs(rows: pd.DataFrame, group: pd.DataFrame) -> pd.DataFrame:
    """`[pass, way]`: log seconds, averaged over the regime's contests; only of ways that solved
    all of them, so that none is spared a hard one."""
    tables = []
    for contest, cases in group.groupby("contest", sort=False):
        tables.append(by_pass(rows[rows["id"].isin(cases["id"])], str(contest)))
    ways = set.intersection(*(set(t.columns) for t in tables))
    shared = sorted(ways)
    return sum((t[shared] for t in tables[1:]), tables[0][shared]) / len(tables)


def margin(logs: pd.DataFrame, use: str, others: list[str]) -> dict[str, Any]:
    """The ratio of the next best to the winner with its interval, and who ties with it."""
    ratios = {name: interval(logs[name] - logs[use]) for name in others}
    mean, low, high = ratios[others[0]]
    ties = [name for name, (_, least, _) in ratios.items() if not least > 0]
    row: dict[str, Any] = {"next_best": others[0], "margin": np.exp(mean)}
    row |= {"margin_low": np.exp(low), "margin_high": np.exp(high)}
    if len(logs) < 2:
        return row | {"judged": "one pass: not judged", "ties": []}
    picked = {half: logs[logs.index % 2 == half].mean().idxmin() for half in set(logs.index % 2)}
    judged = set(picked.values()) == {use}
    if not judged:
        ties = sorted({*ties, *picked.values()} - {use})
    verdict = "tie" if ties else "winner on odd and on even passes"
    return row | {"judged": verdict, "ties": ties}


def line(case: pd.Series) -> str:
    """The call to copy, with the imports it needs."""
    operator = str(case["operator"]).replace("-", "_")
    direction = ", v" if case["operator"] in ("vjp", "jvp", "hvp") else ""
    options = [f'strategy="{case["strategy"]}"']
    if case["execution"] != "eager":
        options.append(f'execution="{case["execution"]}"')
    if not pd.isna(case["chunk"]):
        said = words.chunk(case["chunk"])
        options.append(f'chunk="{said}"' if isinstance(case["chunk"], str) else f"chunk={said}")
    if case["create_graph"]:
        options.append("create_graph=True")
    if (layout := case.get("layout", "dense")) != "dense":
        options.append(f'layout="{layout}"')
    call = f"{operator}(f, x{direction}, {', '.join(options)})"
    return f"from strategies import {operator}; {call}"
