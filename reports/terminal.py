"""The summary for a terminal: at most 100 columns, the words and numbers of the page."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import words
from .answer import Answer, environment, verdict

WIDTH = 100


def summary(found: Answer, console: Console) -> None:
    """Print the verdict, the regime table and what has no time."""
    facts = environment(found.run)
    console.print(Text(f"{facts['run']} · commit {facts['commit']}", style="dim"))
    console.print(Text(f"torch {facts['torch']} · {facts['processor']}", style="dim"))
    for warning in found.run.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))
    console.print()
    for sentence in verdict(found):
        console.print(Text(sentence))
    console.print()
    if len(found.advice):
        console.print(_regimes(found))
    failed = found.cases[~found.cases["status"].isin(["ok", "unsupported"])]
    for _, case in failed.iterrows():
        reason = str(case["reason"]).partition("\n")[0]
        console.print(Text(f"{case['status']}: {case['id']}: {reason}", style="red"))


def _regimes(found: Answer) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("regime", "use", "next best takes", "faster than plain", "ties with"):
        number = name in ("next best takes", "faster than plain")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for _, row in found.advice.sort_values(["purpose", "operator", "shape"]).iterrows():
        unusual = [v for v in (row["execution"], row["purpose"]) if v not in ("eager", "evaluate")]
        tie = f"{len(row['ties'])} others" if len(row["ties"]) > 1 else "".join(row["ties"])
        table.add_row(
            Text(" ".join([f"{row['operator']}, {row['shape']}, {row['device']}", *unusual])),
            Text(str(row["use"])),
            words.factor(row["margin"]),
            words.factor(row["speedup"]),
            Text(tie or words.NOTHING),
        )
    return table
