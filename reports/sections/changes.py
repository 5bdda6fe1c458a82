"""6. Changes: verdicts of a comparison with what came before, and steps in the history of runs."""

from __future__ import annotations

from math import isfinite

from .. import words
from ..blocks import Block, Cell, Drawing, Fold, Prose, Section, Sheet, number
from ..comparison import Judgement, Verdict
from ..forest import forest
from ..history import History
from ..history_files import cut_lines, machine_lines, moved, trend_lines, when
from ..history_files import headline as history_headline
from ..svg import inline
from ..verdict_files import headline, sentence

# Lines that a forest plot can hold and still be read.
MOST = 40


def section(changed: Judgement | None, title: str, past: History | None) -> Section:
    """Verdicts worst first, then the steps."""
    blocks: list[Block] = []
    if changed is not None:
        blocks += _verdicts(changed, title)
    if past is not None:
        blocks += _history(past)
    if not blocks:
        said = (
            "Nothing to compare with was given. `python -m reports html RUN --baseline RUN`"
            " compares with a stored run, `--comparison FOLDER` shows the verdicts of"
            " `python -m bench pair`, `--history FOLDER` the steps of a folder of runs."
        )
        blocks.append(Prose(said))
    return Section("changes", "Changes", "Changes: what became slower or faster", tuple(blocks))


def summary(changed: Judgement | None, past: History | None) -> str:
    """One sentence for the top of the page; empty where nothing was compared."""
    said = [f"Compared: {headline(changed)}."] if changed else []
    said += [f"History: {history_headline(past)}."] if past else []
    return " ".join(said)


def _verdicts(changed: Judgement, title: str) -> list[Block]:
    lead = f"**{title}**: {headline(changed)}."
    blocks: list[Block] = [Prose(lead, look="finding")]
    blocks += [Prose(note, look="soft") for note in changed.notes]
    told = [verdict for verdict in changed.verdicts if verdict.word != "same"]
    drawn = [v for v in changed.verdicts if all(map(isfinite, (v.ratio, v.low, v.high)))]
    if drawn:
        blocks.append(_forest(drawn))
    if told:
        blocks.append(_sheet("Every case that is not shown to be the same", told))
    alike = [verdict for verdict in changed.verdicts if verdict.word == "same"]
    if alike:
        blocks.append(Fold(f"{len(alike)} the same", (_sheet("The same within 5 %", alike),)))
    return blocks


def _forest(drawn: list[Verdict]) -> Drawing:
    shown = sorted(drawn, key=lambda v: (v.word == "same", -abs(v.ratio - 1)))[:MOST]
    worst = max(shown, key=lambda v: abs(v.ratio - 1))
    finding = f"Furthest from 1: {worst.case}, {worst.ratio:.3f}× ({worst.word})"
    left = len(drawn) - len(shown)
    more = f" The {left} nearest to 1 are left out." if left else ""
    return Drawing(
        finding,
        inline(forest(shown), "forest", finding),
        "Time (or instructions) of the later over the earlier, with 95 % intervals." + more,
        "Right of 1 is slower. The band is ± 5 %: an interval inside it is shown to be the same.",
        _sheet("Data: ratios and intervals", shown),
    )


def _sheet(caption: str, verdicts: list[Verdict]) -> Sheet:
    rows = tuple(
        (
            Cell(verdict.case),
            Cell(
                f"{verdict.word}, waived" if verdict.waived else verdict.word,
                kind="failed" if verdict.fails else "",
            ),
            number(
                f"{verdict.ratio:.3f}×" if isfinite(verdict.ratio) else words.NOTHING, verdict.ratio
            ),
            Cell(sentence(verdict), kind="prose"),
        )
        for verdict in verdicts
    )
    return Sheet(caption, ("case", "verdict", "after / before", "numbers and reason"), rows)


def _history(past: History) -> list[Block]:
    steps = past.steps[~past.steps["control"]]
    blocks: list[Block] = [Prose(f"**History**: {history_headline(past)}.", look="finding")]
    if len(steps):
        rows = tuple(
            (
                Cell(str(step["id"])),
                number(words.factor(step["ratio"]), step["ratio"]),
                Cell(words.factor_interval(step["low"], step["high"])),
                number(f"{step['before']}, {step['after']}", None),
                Cell(when(step)),
                Cell(" ".join([str(step["machine"]), moved(step)]).strip(), kind="prose"),
            )
            for _, step in steps.iterrows()
        )
        heads = ("case", "after / before", "95 % interval", "runs", "since", "machine")
        blocks.append(Sheet("Steps: times that changed for good", heads, rows))
    said = [*trend_lines(past), *cut_lines(past), *machine_lines(past)]
    return blocks + [Prose(line, look="soft") for line in said]
