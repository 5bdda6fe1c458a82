"""What a section of the page is made of: prose, tables, figures, lists; no HTML.

In prose, `code` stands between backticks and **emphasis** between two stars each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

# What an operator is looked up by: the order of every table.
OPERATORS = (
    *("gradient", "vjp", "jvp", "jacobian", "divergence"),
    *("hvp", "hessian", "hessian-diagonal", "laplacian", "bilaplacian"),
)


@dataclass(frozen=True)
class Cell:
    """One entry of a table: its text, how it sorts, and how it looks."""

    text: str
    sort: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table: a caption, column heads and rows; the first cell heads its row."""

    kind: ClassVar[str] = "sheet"
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    look: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure: the finding, the drawing, what it shows, how to read it, its data."""

    kind: ClassVar[str] = "drawing"
    finding: str
    svg: Markup
    caption: str
    reading: str
    data: Sheet


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str
    look: str = ""


@dataclass(frozen=True)
class Listing:
    """Lines of code to copy."""

    kind: ClassVar[str] = "listing"
    caption: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Names with what they mean, or with their values."""

    kind: ClassVar[str] = "terms"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finder:
    """The form that looks up the nearest measured case: choices of operators and of places."""

    kind: ClassVar[str] = "finder"
    operators: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class Chooser:
    """The form that filters the tables of results and compares them with one strategy."""

    kind: ClassVar[str] = "chooser"
    strategies: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Block, ...]
    open: bool = False


Block = Sheet | Drawing | Prose | Listing | Terms | Finder | Chooser | Fold


@dataclass(frozen=True)
class Section:
    """A section of the page: its anchor, its name in the list of sections, its title, its parts."""

    id: str
    name: str
    title: str
    blocks: tuple[Block, ...]


def ordered(names: Sequence[str]) -> list[str]:
    """Operators in the order of every table, unknown ones last."""
    there = set(names)
    return [name for name in OPERATORS if name in there] + sorted(there - set(OPERATORS))


def rank(operator: str) -> int:
    """Where an operator comes in every table."""
    return OPERATORS.index(operator) if operator in OPERATORS else len(OPERATORS)


def number(text: str, value: float | None, kind: str = "") -> Cell:
    """A cell that is aligned to the right and sorts by its value."""
    return Cell(text, value, f"number {kind}".strip())
