"""The figure of a comparison: ratios with their intervals, a line a case."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .comparison import Verdict
from .figures import GRID, INK, STYLE

MARKS = {"slower": ">", "faster": "<", "same": "o", "unclear": "s"}


def forest(verdicts: Sequence[Verdict]) -> Figure:
    """Ratios with their intervals, a line a case, over the band of what counts as the same."""
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 0.8 + 0.24 * len(verdicts)), layout="constrained")
        axis.axvspan(1 / 1.05, 1.05, color=GRID, alpha=0.35, linewidth=0)
        axis.axvline(1, color=INK, linewidth=0.8)
        for k, verdict in enumerate(verdicts):
            filled = verdict.word in ("slower", "faster")
            axis.plot([verdict.low, verdict.high], [k, k], color=INK, linewidth=1.2)
            axis.plot(
                *(verdict.ratio, k),
                MARKS.get(verdict.word, "o"),
                color=INK,
                markerfacecolor=INK if filled else "none",
                markersize=6,
            )
        axis.set_yticks(
            range(len(verdicts)), [f"{v.case}  ({v.word})" for v in verdicts], fontsize=8
        )
        axis.set_ylim(len(verdicts) - 0.5, -0.5)
        ends = [end for verdict in verdicts for end in (verdict.low, verdict.high)]
        wide = max(ends) / min(ends) > 4
        axis.set(xlabel="after / before", xscale="log" if wide else "linear")
        ticks = mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)) if wide else mpl.ticker.MaxNLocator(6)
        axis.xaxis.set_major_locator(ticks)
        axis.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}×"))
        axis.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    return figure
