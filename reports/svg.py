"""Figures inside the page: SVG with ids of its own and colours that follow the theme."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from .figures import GRID, INK, STYLE, WINNER

_THEME = {INK: "var(--ink)", GRID: "var(--line)", WINNER: "var(--best)"}


def inline(figure: Figure, prefix: str, title: str) -> Markup:
    """The figure as an `<svg>` element named by its title; the figure is closed.

    matplotlib names clip paths and markers alike in every figure: each id and each reference to it
    gets the prefix. Its own style and metadata are dropped, they would reach the whole page.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        # Tight: legends and slanted labels may reach beyond the figure.
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(href="#|url\(#)([^")]+)', rf"\1{prefix}-\2", text)
    for drawn, themed in _THEME.items():
        text = text.replace(drawn, themed)
    text = _unfixed(_unwrapped(text))
    head = f'<svg role="img" aria-label="{escape(title)}" '
    return Markup(text.replace("<svg ", head, 1).strip())


def _unwrapped(text: str) -> str:
    """Without the groups that matplotlib names, or opens, and does nothing else with: a third of
    its elements, which a page has room for only so many of."""
    found: list[str] = []
    dropped: list[bool] = []
    for part in re.split(r"(<g\b[^>]*>|</g>)", text):
        if part.startswith("<g"):
            dropped.append(bool(re.fullmatch(r'<g( id="[^"]*")?>', part)))
        gone = dropped.pop() if part == "</g>" else part.startswith("<g") and dropped[-1]
        if not gone:
            found.append(part)
    return "".join(found)


def _unfixed(text: str) -> str:
    """Without its size in points: the page scales it by its viewBox."""
    head, tail = text[: text.index(">") + 1], text[text.index(">") + 1 :]
    head = re.sub(r'\s(width|height)="[^"]*pt"', "", head)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    width = f' style="width: {float(box[1]) * 1.4:.0f}px"' if box else ""
    # Fewer decimals than matplotlib writes: a tenth of a point is as fine as any screen.
    tail = re.sub(r"(\d+\.\d)\d+", r"\1", tail)
    tail = re.sub(r" *\n *", "\n", tail)
    return head[:-1] + width + ">" + tail
