"""The regime table as Markdown, with machine and versions: for a README or a job summary."""

from __future__ import annotations

import re

from . import words
from .answer import Answer, environment

_HEAD = ("operator, shape", "purpose", "use", "time", "over plain", "next best takes", "ties with")


def regimes(found: Answer) -> str:
    """The table and a line that says where the numbers come from."""
    facts = environment(found.run)
    lines = [table_row(_HEAD), table_row(["---"] * len(_HEAD))]
    several = found.advice["threads"].nunique() > 1
    order = ["purpose", "operator", "shape", "threads"]
    unit = words.second_unit([*found.advice["seconds_low"], *found.advice["seconds_high"]])
    for _, row in found.advice.sort_values(order).iterrows():
        place = [words.on_threads(row["device"], row["threads"])] if several else []
        span = words.factor_interval(row["margin_low"], row["margin_high"])
        margin = words.factor(row["margin"])
        lines.append(
            table_row(
                [
                    ", ".join([row["operator"], row["shape"], *place]),
                    str(row["purpose"]),
                    as_code(row["use"]),
                    words.span(row["seconds_low"], row["seconds_high"], unit),
                    words.factor(row["speedup"]),
                    margin if span == words.NOTHING else f"{margin} ({span})",
                    words.listed([as_code(name) for name in row["ties"]]) or words.NOTHING,
                ]
            )
        )
    source = f"{facts['processor']}, threads {facts['threads']}, torch {facts['torch']}"
    return "\n".join(
        [*lines, "", f"Measured on {source}; grid {facts['grid']}; run {facts['run']}.", ""]
    )


class MarkersError(ValueError):
    """A text without the two lines between which the table goes."""


def between_markers(text: str, table: str, name: str, marker: str = "results") -> str:
    """The text with the table between the lines `<!-- results … -->` and `<!-- /results -->`, or
    another marker's."""
    found = re.search(rf"(<!-- {marker}.*?-->\n).*?(<!-- /{marker} -->)", text, re.DOTALL)
    if not found:
        raise MarkersError(f"{name} has no lines <!-- {marker} … --> and <!-- /{marker} -->")
    return f"{text[: found.end(1)]}{table}{text[found.start(2) :]}"


def as_code(name: str) -> str:
    """A name as code, which ends at the next backtick."""
    return f"`{name.replace('`', chr(39))}`"


def table_row(cells: list[str] | tuple[str, ...]) -> str:
    """A line of a table, whatever its cells hold."""
    plain = (" ".join(cell.split("\n")).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(plain)} |"
