"""10. Coverage: which strategy gets through which layer, on this torch."""

from __future__ import annotations

import pandas as pd

from .. import words
from ..blocks import Block, Cell, Fold, Prose, Section, Sheet, ordered
from ..load import Run

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


_LEAD = (
    "Every strategy is asked for the derivatives of small functions of one layer each, in float64,"
    " and compared with values alone (torch {torch}: {counts}). **fallback** is right, but torch"
    " looped over the directions; **refused** gave a reason; **WRONG** is silently wrong in torch,"
    " which `prepare` refuses where the table of unsafe operations names it."
)


def section(run: Run | None) -> Section:
    """Where torch is wrong, then a matrix an operator."""
    if run is None:
        said = "No run of `python -m bench coverage` was given (`--coverage FILE`)."
        return _section((Prose(said),))
    rows = run.rows.assign(word=[_word(row) for _, row in run.rows.iterrows()])
    counts = rows["word"].value_counts()
    said = ", ".join(f"{counts[word]} {word}" for word in sorted(counts.index))
    wrong = _wrong(rows)
    blocks: list[Block] = [
        Prose(_LEAD.format(torch=run.header["environment"]["torch"], counts=said)),
        wrong if wrong.rows else Prose("Nothing is silently wrong."),
    ]
    for operator in ordered(list(rows["operator"])):
        matrix = _matrix(operator, rows[rows["operator"] == operator])
        blocks.append(Fold(operator, (matrix,)))
    return _section(tuple(blocks))


def _section(blocks: tuple[Block, ...]) -> Section:
    title = "Coverage: which strategy gets through which layer"
    return Section("coverage", "Coverage", title, blocks)


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
    caption = f"{operator}: layer by strategy (eager / traced where they differ)"
    return Sheet(caption, ("layer", *names), tuple(lines), look="matrix")


def _cell(keyed: dict[tuple[str, str, str], str], workload: str, name: str) -> Cell:
    found = [keyed.get((workload, name, execution)) for execution in ("eager", "traced")]
    there = list(dict.fromkeys(word for word in found if word))
    kind = "failed" if "WRONG" in there else "soft" if there != ["ok"] else ""
    return Cell(" / ".join(there) or words.NOTHING, kind=kind)
