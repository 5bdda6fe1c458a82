"""The summary as CSV and JSON: the numbers of the page to six digits, as result files have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from .load import Run
from .summary import payback

# A spreadsheet would run a cell that begins with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

COLUMNS = [
    *("where", "id", "operator", "way", "strategy", "chosen", "execution", "workload", "params"),
    "B",
    *(
        "n",
        "m",
        "dtype",
        "device",
        "threads",
        "create_graph",
        "chunk",
        "layout",
        "status",
        "reason",
        "K",
    ),
    *("seconds", "low", "high", "half_width", "evaluate_s", "train_s", "prepare_s", "first_s"),
    "pays_back_calls",
    *("forward_s", "forward_passes", "forward_passes_low", "forward_passes_high"),
    *("factor", "factor_low", "factor_high", "speedup", "speedup_low", "speedup_high"),
    *(
        "flops",
        "forward_flops_ratio",
        "floor_flops",
        "floor_s",
        "eta",
        "peak_bytes",
        "ops",
        "digits",
        "relative_error",
        "worst_entry",
        "tolerance",
    ),
    *("reference", "reference_error"),
]
# Of a run with estimators.
PRECISION = ["exact", "samples", "std_error"]


def tidy(table: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
    """One line a case with its factors: what is exported, and what the page prints."""
    whole = table.merge(factors.drop(columns="contest"), on="id", how="left")
    return whole.merge(payback(table), on="id", how="left")


def columns(cases: pd.DataFrame) -> list[str]:
    """What is exported of each case."""
    return COLUMNS if cases["exact"].all() else [*COLUMNS, *PRECISION]


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers to six significant digits: no interval is finer, and the page carries the files."""
    floats = table.select_dtypes(include="float").columns
    return table.assign(**{name: table[name].map(_six) for name in floats})


def _six(value: float) -> float:
    return float(f"{value:.6g}")


def csv(cases: pd.DataFrame) -> str:
    """One line a case; text that a spreadsheet would run is quoted with an apostrophe."""
    plain = _rounded(cases[columns(cases)]).assign(params=cases["params"].map(json.dumps))
    texts = plain.select_dtypes(include=["object", "string"]).columns
    plain[texts] = plain[texts].map(_defused)
    return plain.to_csv(index=False, lineterminator="\n")


def _defused(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_json(
    runs: Sequence[Run],
    cases: pd.DataFrame,
    advice: pd.DataFrame,
    regrets: pd.DataFrame | None = None,
) -> str:
    """The runs' headers, their cases, their advice, and where there are choosers their regrets;
    numbers that are not there are null."""
    regretted = {} if regrets is None or regrets.empty else {"regrets": _columns(regrets)}
    whole = {
        "runs": [run.header for run in runs],
        "warnings": [warning for run in runs for warning in run.warnings],
        "cases": _columns(cases[columns(cases)]),
        "advice": _columns(advice),
        **regretted,
    }
    return json.dumps(whole, allow_nan=False, separators=(",", ":")) + "\n"


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    """`{"columns": […], "data": [[…], …]}`: names once, since the page carries the file."""
    # Through pandas, which turns its own numbers into JSON's and what is missing into null.
    split = json.loads(_rounded(table).to_json(orient="split", double_precision=15))
    return {"columns": split["columns"], "data": split["data"]}
