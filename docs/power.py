"""Simulates the judge of comparisons, and writes what it finds into docs/regression-tracking.md.

OMP_NUM_THREADS=1 python docs/power.py            a minute or two; docs/images/power.svg too
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from reports.markdown import between_markers
from reports.power import Rates, normal, simulate
from reports.stages import RULES, minimum_detectable, screened

DOCS = Path(__file__).resolve().parent
SDS = (0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15)
RATIOS = (1.05, 1.10, 1.20)
SUITES, CASES = 4000, 60
HEAD = ("between-pass sd", *(f"+{100 * r - 100:.0f} %" for r in RATIOS), "MDE", "false alarms")


@dataclass(frozen=True)
class Line:
    """What was simulated at one sd: unchanged suites, planted ratios, and the median MDE."""

    sd: float
    unchanged: Rates
    changed: tuple[Rates, ...]
    mde: float


def line(sd: float) -> Line:
    """The suites at one sd; seeds are fixed."""
    changed = tuple(simulate(SUITES, sd=sd, ratio=r, cases=CASES, seed=1) for r in RATIOS)
    return Line(sd, simulate(SUITES, sd=sd, cases=CASES, seed=2), changed, _mde(sd))


def _mde(sd: float) -> float:
    suites = sd * np.sqrt(2) * normal(np.random.default_rng(3), (101, RULES.screen_pairs, CASES))
    found = [
        minimum_detectable(sd * np.sqrt(2), screened(D).test, RULES.screen_pairs) for D in suites
    ]
    return float(np.median(found))


def cells(of: Line) -> list[str]:
    """A row of the table."""
    bound = 100 * of.unchanged.false_bound()
    alarms = f"{of.unchanged.false} in {of.unchanged.suites} (at most {bound:.2f} %)"
    shares = [f"{rates.power:.2f}" for rates in of.changed]
    return [f"{100 * of.sd:g} %", *shares, f"+{100 * (of.mde - 1):.0f} %", alarms]


def table(lines: list[Line]) -> str:
    """The table with a sentence on where it is from."""
    rows = [HEAD, ["---"] * len(HEAD), *map(cells, lines)]
    said = (
        f"{SUITES:,} suites of {CASES} cases for each number, normal noise,"
        f" {RULES.screen_pairs} and {RULES.confirm_pairs} pairs; beside the number of false alarms"
        " the exact upper 95 % bound of their rate."
    )
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", said, ""])


def picture(lines: list[Line], path: Path) -> None:
    """Power against noise, a curve for each planted ratio."""
    grey = "#808080"
    style = {"svg.hashsalt": "power", "svg.fonttype": "none", "font.family": "sans-serif"}
    style |= dict.fromkeys(["text.color", "axes.labelcolor", "xtick.color", "ytick.color"], grey)
    with mpl.rc_context({**style, "axes.edgecolor": grey}):
        figure, axes = plt.subplots(figsize=(6, 3.2))
        sd = [100 * each.sd for each in lines]
        for k, (label, marker) in enumerate(zip(HEAD[1:4], "os^", strict=True)):
            axes.plot(sd, [e.changed[k].power for e in lines], marker=marker, label=label)
        axes.axhline(RULES.power, color=grey, linewidth=0.6, linestyle=":")
        axes.set(xlabel="between-pass sd, %", ylabel="share called slower", ylim=(0, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(path, bbox_inches="tight", transparent=True, metadata={"Date": None})
        plt.close(figure)


def main() -> None:
    page = DOCS / "regression-tracking.md"
    lines = [line(sd) for sd in SDS]
    text = between_markers(page.read_text(encoding="utf-8"), table(lines), page.name, "power")
    page.write_text(text, encoding="utf-8")
    picture(lines, DOCS / "images" / "power.svg")
    print(table(lines))


if __name__ == "__main__":
    main()
