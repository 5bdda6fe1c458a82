"""7. Correctness: how far each strategy is from a reference that is none."""

from __future__ import annotations

from .. import words
from ..answer import Answer
from ..blocks import Block, Cell, Fold, Prose, Section, Sheet, number

_LEAD = (
    "Every case is compared, whole, with a reference that is no strategy and uses no automatic"
    " differentiation, before it is timed. A wrong case has no time anywhere."
)


def section(found: Answer) -> Section:
    """The fewest digits, then every strategy at its worst."""
    table = digits(found)
    blocks: list[Block] = [Prose(_LEAD)]
    if table.rows:
        worst = found.cases.loc[found.cases["digits"].astype(float).idxmin()]
        said = f"Fewest digits agreed: {words.digits(worst['digits'])}, {worst['id']}."
        blocks += [Prose(said), Fold("Digits by strategy", (table,))]
    else:
        blocks.append(Prose("Nothing was compared."))
    return Section("correctness", "Correctness", "Correctness", tuple(blocks))


def digits(found: Answer) -> Sheet:
    """Each strategy at its worst case."""
    there = found.cases[found.cases["digits"].notna()]
    rows = []
    for (operator, name, dtype), group in there.groupby(
        ["operator", "strategy", "dtype"], sort=False
    ):
        worst = group.loc[group["digits"].astype(float).idxmin()]
        rows.append(
            (
                Cell(f"{operator}: {name}"),
                Cell(str(dtype)),
                number(str(len(group)), len(group)),
                number(words.digits(worst["digits"]), worst["digits"]),
                *(_error(worst[column]) for column in ("relative_error", "worst_entry")),
                _error(worst["tolerance"]),
                Cell(str(worst["reference"])),
                _error(worst["reference_error"]),
            )
        )
    heads = (
        *("strategy", "dtype", "cases", "fewest digits", "error", "worst entry", "allowed"),
        *("reference there", "reference's own error"),
    )
    return Sheet("Digits agreed with the reference, the worst case of each", heads, tuple(rows))


def _error(value: float | None) -> Cell:
    known = value is not None and value == value
    return number(f"{value:.0e}" if known else words.NOTHING, value if known else None)
