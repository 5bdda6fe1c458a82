"""Figures: a tidy table in, a matplotlib figure out; nothing is decided here."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

# Drawn in these, replaced by the page's own colours so that the dark theme reaches the figures.
INK, GRID = "#123456", "#654321"
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">"]
# Seven, without a factor in common with the markers: the first 63 strategies differ without colour.
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
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.6 * columns, 3.0 * rows), squeeze=False, layout="constrained"
        )
        for axis, panel in zip(axes.flat, panels, strict=False):
            _scaling_panel(axis, points[points["panel"] == panel], look)
            axis.set_title(panel, fontsize=10, loc="left")
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        _legend(figure, points, look)
    return figure


def _scaling_panel(axis: plt.Axes, points: pd.DataFrame, look: pd.DataFrame) -> None:
    for way, line in points[points["estimate"]].groupby("way"):
        style = look.loc[line["strategy"].iloc[0]]
        axis.plot(
            *(line["value"], line["seconds"]),
            color=style["colour"],
            marker=style["marker"],
            markersize=4,
            linewidth=1.3,
            dashes=style["dash"] or (None, None),
            label=str(way),
        )
    each = points[~points["estimate"]]
    colours = [look.loc[name, "colour"] for name in each["strategy"]]
    axis.scatter(each["value"], each["seconds"], s=4, c=colours, alpha=0.5, linewidths=0)
    axis.set(xscale="log", yscale="log", xlabel=points["size"].iloc[0], ylabel="seconds")
    axis.set_xticks(sorted(points["value"].unique()))
    axis.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axis.grid(True, which="major")


def _legend(figure: Figure, points: pd.DataFrame, look: pd.DataFrame) -> None:
    ways = points.drop_duplicates("way").sort_values("way")
    handles = [
        mpl.lines.Line2D(
            *([0, 1], [0, 0]),
            color=look.loc[row["strategy"], "colour"],
            marker=look.loc[row["strategy"], "marker"],
            markersize=4,
            dashes=look.loc[row["strategy"], "dash"] or (None, None),
            label=row["way"],
        )
        for _, row in ways.iterrows()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def slow_down(factors: pd.DataFrame) -> Figure:
    """A heat table: ways down, contests across, the factor to the best of each contest.

    factors: `way`, `problem`, `factor`; a case without a time is left empty.
    """
    with mpl.rc_context(STYLE):
        table = factors.pivot_table(index="way", columns="problem", values="factor", sort=False)
        table = table.loc[np.log(table).mean(axis=1).sort_values().index]
        figure, axis = plt.subplots(
            figsize=(2.6 + 0.62 * table.shape[1], 1.6 + 0.26 * table.shape[0]), layout="constrained"
        )
        sns.heatmap(
            table,
            ax=axis,
            norm=LogNorm(1, max(30.0, float(table.max().max()))),
            cmap=sns.color_palette("ch:s=.25,rot=-.25,light=.95,dark=.25", as_cmap=True),
            annot=table.map(_short).to_numpy(),
            fmt="",
            annot_kws={"fontsize": 8},
            cbar=False,
            linewidths=0.5,
        )
        axis.set(xlabel="", ylabel="")
        axis.tick_params(length=0)
        axis.set_xticklabels(axis.get_xticklabels(), rotation=40, ha="right", fontsize=8)
        axis.set_yticklabels(axis.get_yticklabels(), rotation=0, fontsize=9)
    return figure


def _short(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def time_and_memory(points: pd.DataFrame, look: pd.DataFrame) -> Figure:
    """Time against peak memory on log axes, a panel for each contest; lower left is better.

    points: `panel`, `way`, `strategy`, `seconds`, `peak_bytes`, `named` (its name is written).
    """
    with mpl.rc_context(STYLE):
        panels = list(dict.fromkeys(points["panel"]))
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(5.2 * columns, 3.4 * rows), squeeze=False, layout="constrained"
        )
        for axis, panel in zip(axes.flat, panels, strict=False):
            for _, row in points[points["panel"] == panel].iterrows():
                style = look.loc[row["strategy"]]
                where = row["seconds"], row["peak_bytes"]
                axis.plot(*where, style["marker"], color=style["colour"], markersize=6)
                if row["named"]:
                    axis.annotate(
                        row["way"], where, xytext=(5, 4), textcoords="offset points", fontsize=8
                    )
            axis.set(xscale="log", yscale="log", xlabel="seconds", ylabel="bytes at the peak")
            axis.margins(0.2)
            axis.set_title(panel, fontsize=10, loc="left")
            axis.grid(True, which="major")
        for axis in axes.flat[len(panels) :]:
            axis.remove()
    return figure
