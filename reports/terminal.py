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
    if facts["time"] != words.NOTHING:
        console.print(Text(f"time {facts['time']}", style="dim"))
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
    for name in ("regime", "use", "next best", "over plain", "ties with"):
        number = name in ("next best", "over plain")
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    several = len(found.advice[["device", "threads"]].drop_duplicates()) > 1
    order = ["purpose", "operator", "shape", "threads"]
    for _, row in found.advice.sort_values(order).iterrows():
        place = words.on_threads(row["device"], row["threads"])
        regime = [row["operator"], row["shape"], *([place] if several else [])]
        regime += [] if row["purpose"] == "evaluate" else [row["purpose"]]
        others = len(row["ties"])
        tie = f"{others} other{'s' * (others > 1)}" if others else words.NOTHING
        table.add_row(
            Text(", ".join(regime)),
            Text(str(row["use"])),
            words.factor(row["margin"]),
            words.factor(row["speedup"]),
            Text(tie),
        )
    return table
