"""Figures: a tidy table in, a matplotlib figure out; nothing is decided here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from . import words

# Drawn in these, replaced by the page's own colours so that the dark theme reaches the figures.
INK, GRID, WINNER = "#123456", "#654321", "#135246"
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h"]
# What never reaches beyond its axes: a clipped line is one more element of the page.
INSIDE: dict[str, Any] = {"clip_on": False}
# Decades of an axis below which ticks at powers of ten alone would be too few.
CLOSE = 2.0
# Seven, without a factor in common with the markers: the first 77 strategies differ without colour.
DASHES: list[tuple[float, ...] | str] = [
    *("", (4, 1.5), (1, 1), (3, 1.25, 1.5, 1.25), (5, 1, 1, 1)),
    *((1, 3), (9, 2)),
]

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "input-derivatives",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def looks(names: list[str]) -> pd.DataFrame:
    """Colour, marker and dash of each strategy, the same in every figure of every page part.

    The index holds the names; they are given from the sorted list, so that a filter changes none.
    """
    names = sorted(names)
    colours = sns.husl_palette(max(len(names), 1), s=0.85, l=0.58)
    # Neighbours in the alphabet compete most often: they get colours far apart.
    order = [(7 * k) % max(len(names), 1) if len(names) % 7 else k for k in range(len(names))]
    return pd.DataFrame(
        {
            "colour": [to_hex(colours[k]) for k in order],
            "marker": [MARKERS[k % len(MARKERS)] for k in range(len(names))],
            "dash": [DASHES[k % len(DASHES)] for k in range(len(names))],
        },
        index=names,
    )


def scaling(points: pd.DataFrame, look: pd.DataFrame) -> Figure:
    """Log-log small multiples: time against size, a panel for each workload and size.

    points: `panel`, `size`, `way`, `strategy`, `value`, `seconds`, `estimate` (False: one pass).
    """
    with mpl.rc_context(STYLE):
        panels = list(dict.fromkeys(points["panel"]))
        figure, axes = _grid(len(panels), columns=3, size=(3.6, 3.0))
        for axis, panel in zip(axes, panels, strict=True):
            _scaling_panel(axis, points[points["panel"] == panel], look)
            axis.set_title(panel, fontsize=10, loc="left")
        _legend(figure, points, look)
    return figure


def _as(style: pd.Series) -> dict[str, Any]:
    """How the line of a strategy is drawn."""
    return {
        "color": style["colour"],
        "marker": style["marker"],
        "dashes": style["dash"] or (None, None),
        **{"markersize": 4, "linewidth": 1.3, **INSIDE},
    }


def _scaling_panel(axis: plt.Axes, points: pd.DataFrame, look: pd.DataFrame) -> None:
    for _, line in points[points["estimate"]].groupby("way"):
        axis.plot(line["value"], line["seconds"], **_as(look.loc[line["strategy"].iloc[0]]))
    each = points[~points["estimate"]]
    colours = [look.loc[name, "colour"] for name in each["strategy"]]
    axis.scatter(each["value"], each["seconds"], s=4, c=colours, alpha=0.5, linewidths=0, **INSIDE)
    axis.set(xscale="log", yscale="log", xlabel=points["size"].iloc[0], ylabel="time")
    _in_words(axis.yaxis, words.seconds)
    _shade_launches(axis, points)
    axis.set_xticks(sorted(points["value"].unique()))
    axis.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    _no_minor_ticks(axis)
    axis.grid(True, which="major")


def _in_words(axis: Any, say: Callable[[float], str]) -> None:
    """Of a logarithmic axis the numbers as the tables have them, without zeros at their ends."""
    least, most = axis.get_view_interval()
    base, steps = (2.0, (1.0,)) if say is words.bytes_ else (10.0, (1.0, 2.0, 5.0))
    wide = np.log10(most / least) > CLOSE
    axis.set_major_locator(
        mpl.ticker.LogLocator(base=base, subs=steps[:1] if wide else steps, numticks=6)
    )
    axis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda value, _: re.sub(r"\.0+(?= )", "", say(value)))
    )
    axis.set_minor_locator(mpl.ticker.NullLocator())


def _no_minor_ticks(axis: plt.Axes) -> None:
    """Of a logarithmic axis eight a decade, each an element of the page."""
    for each in (axis.xaxis, axis.yaxis):
        each.set_minor_locator(mpl.ticker.NullLocator())


def _shade_launches(axis: plt.Axes, points: pd.DataFrame) -> None:
    """Grey up to the last size at which every drawn time is bound by launches."""
    bound = points[points["estimate"]].groupby("value")["bound"].all()
    sizes = bound.index.to_numpy(dtype=float)
    last = int(bound.cumprod().sum())
    if last:
        end = np.sqrt(sizes[last - 1] * sizes[last]) if last < len(sizes) else sizes[-1] * 1.2
        axis.axvspan(sizes[0] / 1.2, end, color=GRID, alpha=0.25, linewidth=0)


def _legend(figure: Figure, points: pd.DataFrame, look: pd.DataFrame) -> None:
    ways = points.drop_duplicates("way").sort_values("way")
    handles = [
        mpl.lines.Line2D([0, 1], [0, 0], label=row["way"], **_as(look.loc[row["strategy"]]))
        for _, row in ways.iterrows()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def profile(shares: pd.DataFrame, look: pd.DataFrame) -> Figure:
    """Performance profiles: share of problems within a factor of the best, a panel an operator.

    shares: `panel`, `strategy`, `tau`, `share`.
    """
    with mpl.rc_context(STYLE):
        panels = list(dict.fromkeys(shares["panel"]))
        figure, axes = _grid(len(panels), columns=3, size=(3.6, 2.8))
        for axis, panel in zip(axes, panels, strict=True):
            for name, line in shares[shares["panel"] == panel].groupby("strategy", sort=False):
                # Of eleven markers, each an element too, three tell lines apart.
                axis.plot(line["tau"], line["share"], **_as(look.loc[str(name)]), markevery=5)
            axis.set(xscale="log", xlabel="within τ times the best", ylabel="share of problems")
            axis.set_ylim(-0.03, 1.03)
            _no_minor_ticks(axis)
            axis.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
            axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, 0, " %"))
            axis.set_title(panel, fontsize=10, loc="left")
            axis.grid(True, which="major")
        _legend(figure, shares.assign(way=shares["strategy"]), look)
    return figure


def _grid(count: int, *, columns: int, size: tuple[float, float]) -> tuple[Figure, list[plt.Axes]]:
    """So many panels, in rows of at most `columns`."""
    columns = min(columns, count)
    rows = -(-count // columns)
    whole = size[0] * columns, size[1] * rows
    figure, axes = plt.subplots(rows, columns, figsize=whole, squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def winners(cells: pd.DataFrame) -> Figure:
    """The fastest way by inputs and outputs, a panel for each place: a letter, the darker the wider
    its margin, hatched where it ties.

    cells: `n`, `m`, `where`, `way`, `margin`, `tie`.
    """
    with mpl.rc_context(STYLE):
        places = list(dict.fromkeys(cells["where"]))
        across, down = sorted(cells["n"].unique()), sorted(cells["m"].unique())
        size = (1.6 + 0.5 * len(across), 1.2 + 0.42 * len(down))
        figure, axes = _grid(len(places), columns=2, size=size)
        letter = {way: chr(ord("a") + k) for k, way in enumerate(sorted(set(cells["way"])))}
        for axis, where in zip(axes, places, strict=True):
            for _, cell in cells[cells["where"] == where].iterrows():
                _winner(axis, cell, across.index(cell["n"]), down.index(cell["m"]), letter)
            axis.set(xlim=(-0.5, len(across) - 0.5), ylim=(-0.5, len(down) - 0.5), title=where)
            axis.set_xticks(range(len(across)), [f"{n:g}" for n in across])
            axis.set_yticks(range(len(down)), [f"{m:g}" for m in down])
            axis.set(xlabel="inputs of a row (n)", ylabel="outputs of a row (m)")
        said = "   ".join(f"{sign}  {way}" for way, sign in letter.items())
        figure.supxlabel(said, fontsize=9, color=INK)
    return figure


def _winner(axis: plt.Axes, cell: pd.Series, x: int, y: int, letter: dict[str, str]) -> None:
    # A margin of two is as dark as it gets; the letter stays readable on all of them.
    depth = 0.12 + 0.38 * min(1.0, float(np.log2(cell["margin"])))
    box = mpl.patches.Rectangle(
        (x - 0.5, y - 0.5),
        *(1, 1),
        facecolor=WINNER,
        alpha=depth,
        hatch="///" if cell["tie"] else None,
        edgecolor=GRID,
    )
    axis.add_patch(box)
    axis.text(x, y, letter[cell["way"]], ha="center", va="center", fontsize=11, weight="bold")


def time_and_memory(points: pd.DataFrame, look: pd.DataFrame) -> Figure:
    """Time against peak memory on log axes, a panel for each contest; lower left is better.

    points: `panel`, `way`, `strategy`, `seconds`, `peak_bytes`, `rank`, `named` (so is written).
    """
    with mpl.rc_context(STYLE):
        panels = list(dict.fromkeys(points["panel"]))
        figure, axes = _grid(len(panels), columns=2, size=(5.2, 3.4))
        for axis, panel in zip(axes, panels, strict=True):
            for _, row in points[points["panel"] == panel].iterrows():
                style = look.loc[row["strategy"]]
                where = row["seconds"], row["peak_bytes"]
                axis.plot(*where, style["marker"], color=style["colour"], markersize=6, **INSIDE)
                said = f"{row['rank']} {row['way']}" if row["named"] else str(row["rank"])
                axis.annotate(said, where, xytext=(5, 4), textcoords="offset points", fontsize=8)
            axis.set(xscale="log", yscale="log", xlabel="time", ylabel="memory at the peak")
            axis.margins(0.2)
            _in_words(axis.xaxis, words.seconds)
            _in_words(axis.yaxis, words.bytes_)
            axis.set_title(panel, fontsize=10, loc="left")
            axis.grid(True, which="major")
    return figure
