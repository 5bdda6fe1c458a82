"""Coverage as tables: which strategy gets through which layer, on this torch."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from . import words
from .load import Run
from .sheets import OPERATORS, Cell, Sheet

# What a cell of the matrix says of a row's status.
WORDS = {
    "ok": "ok",
    "unsupported": "refused",
    "wrong": "WRONG",
    "error": "error",
    "oom": "error",
    "timeout": "error",
    "crashed": "error",
    "skipped": "error",
}
PREFIX = "probe-"


@dataclass(frozen=True)
class Coverage:
    """A coverage run as the page shows it."""

    torch: str
    counts: dict[str, int]
    wrong: Sheet
    matrices: tuple[Sheet, ...]


def coverage(run: Run) -> Coverage:
    """The tables of a coverage run."""
    rows = run.rows.assign(word=[_word(row) for _, row in run.rows.iterrows()])
    there = [name for name in OPERATORS if name in set(rows["operator"])]
    counts = rows["word"].value_counts()
    return Coverage(
        str(run.header["environment"]["torch"]),
        {word: int(counts[word]) for word in sorted(counts.index)},
        _wrong(rows),
        tuple(_matrix(name, rows[rows["operator"] == name]) for name in there),
    )


def _word(row: pd.Series) -> str:
    fallbacks = (row["counters"] or {}).get("fallbacks", 0)
    return "fallback" if row["status"] == "ok" and fallbacks else WORDS[row["status"]]


def _wrong(rows: pd.DataFrame) -> Sheet:
    """Layer by layer and operator by operator, which strategies are silently wrong."""
    lines = []
    found = rows[rows["word"] == "WRONG"]
    for (workload, operator), group in found.groupby(["workload", "operator"], sort=True):
        guarded = (group["guarded"] == "unsupported").all()
        lines.append(
            (
                Cell(str(workload).removeprefix(PREFIX)),
                Cell(str(operator)),
                Cell(words.listed(sorted(set(group["strategy"]))), kind="prose"),
                Cell("refused" if guarded else "WRONG", kind="" if guarded else "failed"),
            )
        )
    heads = ("layer", "operator", "silently wrong", "prepare says")
    return Sheet("Where torch is silently wrong", heads, tuple(lines))


def _matrix(operator: str, rows: pd.DataFrame) -> Sheet:
    """Layers down, strategies across; eager, and behind a stroke traced where it differs."""
    names = list(dict.fromkeys(rows["strategy"]))
    keyed = {
        (row["workload"], row["strategy"], row["execution"]): row["word"]
        for _, row in rows.iterrows()
    }
    lines = []
    for workload in sorted(set(rows["workload"])):
        cells = [_cell(keyed, workload, name) for name in names]
        lines.append((Cell(workload.removeprefix(PREFIX)), *cells))
    return Sheet(operator, ("layer", *names), tuple(lines))


def _cell(keyed: dict[tuple[str, str, str], str], workload: str, name: str) -> Cell:
    found = [keyed.get((workload, name, execution)) for execution in ("eager", "traced")]
    there = list(dict.fromkeys(word for word in found if word))
    kind = "failed" if "WRONG" in there else "soft" if there != ["ok"] else ""
    return Cell(" / ".join(there) or words.NOTHING, kind=kind)
