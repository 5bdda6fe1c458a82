"""The summary for a terminal: at most 100 columns, the words and numbers of the page."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import words
from .answer import Answer, environment, verdict
from .history import History
from .history_files import cut_lines, headline, machine_lines, moved, trend_lines, when
from .regret import sentences

WIDTH = 100


def summary(found: Answer, console: Console) -> None:
    """Print the verdict, what auto loses, the regime table and what has no time."""
    facts = environment(found.run)
    console.print(Text(f"{facts['run']} · commit {facts['commit']}", style="dim"))
    console.print(Text(f"torch {facts['torch']} · {facts['processor']}", style="dim"))
    if facts["time"] != words.NOTHING:
        console.print(Text(f"time {facts['time']}", style="dim"))
    for warning in found.run.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))
    console.print()
    for sentence in [*verdict(found), *sentences(found.regrets)]:
        console.print(Text(sentence))
    console.print()
    if len(found.advice):
        console.print(_regimes(found))
    failed = found.every[~found.every["status"].isin(["ok", "unsupported"])]
    for _, case in failed.iterrows():
        reason = str(case["reason"]).partition("\n")[0]
        console.print(Text(f"{case['status']}: {case['id']}: {reason}", style="red"))


def _regimes(found: Answer) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Names are never cut: what else there is breaks between its words.
    longest = max(len(word) for use in found.advice["use"] for word in str(use).split())
    for name in ("regime", "use", "next best", "over plain", "ties with"):
        number = name in ("next best", "over plain")
        least = longest if name == "use" else None
        table.add_column(name, justify="right" if number else "left", min_width=least)
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


def history_table(found: History, console: Console) -> None:
    """Print the steps, largest first, then how much was looked at, cuts and machines."""
    steps = found.steps[~found.steps["control"]]
    if len(steps):
        console.print(_stepped(found, steps))
        console.print()
    console.print(Text(headline(found)))
    machines = machine_lines(found) if len(found.machines) > 1 else []
    for line in (*trend_lines(found), *cut_lines(found), *machines):
        console.print(Text(line, style="dim"))


def _stepped(found: History, steps: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ratio", "95 % interval", "runs", "since"):
        table.add_column(name, justify="left" if name == "since" else "right", no_wrap=True)
    table.add_column("case", overflow="fold")
    for _, step in steps.iterrows():
        said = [step["id"], f"on {step['machine']}" if len(found.machines) > 1 else "", moved(step)]
        table.add_row(
            words.factor(step["ratio"]),
            words.factor_interval(step["low"], step["high"]),
            f"{step['before']}, {step['after']}",
            when(step),
            Text("\n".join(filter(None, said))),
        )
    return table
