"""After 1: what `auto` loses against the best strategy, and what it is worth."""

from __future__ import annotations

import pandas as pd

from .. import figures, words
from ..answer import Answer
from ..blocks import Block, Cell, Drawing, Prose, Section, Sheet, number, rank
from ..points import problem
from ..regret import (
    CHOICES,
    LOOP,
    TORCH_FUNC,
    WITHIN,
    counted,
    sentences,
    shares,
    summary,
    with_interval,
)
from ..schema import CHOOSERS
from ..svg import inline

MOST = 10
_NONE = (
    "No row of `auto-rule` or `auto-race` is in this run: nothing is known of what `auto` loses."
)
_LEAD = (
    "**Regret** is the time of a choice over that of the best eager strategy of the same problem,"
    " which is picked on odd passes and judged on even ones, and the other way round: so a choice"
    ' that is the best has 1.00×, give or take noise. `auto-rule` is `strategy="auto"`,'
    " `auto-race` the same with `race=True`; preparing is not part of either time. A problem that"
    " was left without an answer is counted, and is in no mean. The worst of many is partly noise:"
    " its interval says how much."
)


def section(found: Answer) -> Section:
    """Each choice in one line, then by operator, then where choosers lose most."""
    table = found.regrets
    blocks: tuple[Block, ...] = (Prose(_NONE),)
    if len(table):
        said = tuple(Prose(text, look="finding") for text in sentences(table))
        judged = table[table["regret"].notna()]
        drawn = (_drawing(table), by_operator(table), worst(table)) if len(judged) else ()
        without = silent(table)
        blocks = (*said, Prose(_LEAD), overall(table), *drawn)
        blocks += (without,) if without.rows else ()
    return Section("regret", "Regret of auto", "Regret: what auto loses against the best", blocks)


def overall(table: pd.DataFrame) -> Sheet:
    """A line a choice and place."""
    lines = summary(table)
    several = lines["where"].nunique() > 1
    rows = tuple(
        (
            Cell(f"{line['choice']} ({line['where']})" if several else str(line["choice"])),
            number(f"{line['judged']} of {line['problems']}", line["judged"]),
            _interval(line, "mean", "low", "high"),
            *(number(words.factor(line[name]), line[name]) for name in ("median", "tenth")),
            _interval(line, "worst", "worst_low", "worst_high"),
            *_within(line),
            _interval(line, "speedup", "speedup_low", "speedup_high"),
        )
        for _, line in lines.iterrows()
    )
    heads = (
        *("choice", "problems", "geometric mean", "median", "one in ten above", "worst"),
        *(f"within {tau:g}×" for tau in WITHIN),
        "speed-up over torch.func",
    )
    return Sheet("Regret of each choice", heads, rows, look="short")


def _interval(line: pd.Series, value: str, low: str, high: str) -> Cell:
    return number(with_interval(line, value, low, high), line[value])


def _within(line: pd.Series) -> list[Cell]:
    if not line["judged"]:
        return [number(words.NOTHING, None)] * len(WITHIN)
    return [number(f"{100 * k / line['judged']:.0f} %", k / line["judged"]) for k in line["within"]]


def _drawing(table: pd.DataFrame) -> Drawing:
    drawn = shares(table).rename(columns={"where": "panel", "choice": "strategy"})
    finding = _finding(drawn)
    wide = drawn.pivot_table(index=["panel", "strategy"], columns="tau", values="share", sort=False)
    several = drawn["panel"].nunique() > 1
    rows = tuple(
        (
            Cell(f"{name} ({panel})" if several else str(name)),
            *(number(f"{100 * share:.0f} %", share) for share in line),
        )
        for (panel, name), line in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    )
    heads = ("choice", *(f"within {tau:g}×" for tau in wide.columns))
    return Drawing(
        finding,
        inline(figures.profile(drawn, figures.looks(list(CHOICES))), "regret", finding),
        "The share of problems that a choice solves within τ times the best. A problem that a"
        " chooser left without an answer is never solved; what torch.func's default or the loop"
        " refuses, or was not asked, is left out of its line.",
        "Higher is better: the further to the left a line reaches the top, the less there is to"
        " regret.",
        Sheet("Data: share of problems within a factor of the best", heads, rows),
    )


def _finding(drawn: pd.DataFrame) -> str:
    near = drawn[drawn["tau"] == WITHIN[1]].drop_duplicates("strategy")
    said = [f"{row['strategy']} {100 * row['share']:.0f} %" for _, row in near.iterrows()]
    return f"Of the problems within {WITHIN[1]:g}× of the best: {words.listed(said)}"


def by_operator(table: pd.DataFrame) -> Sheet:
    """Of each operator the mean of every choice, and what choosers took."""
    lines = summary(table, ("where", "operator", "choice")).set_index(
        ["where", "operator", "choice"]
    )
    groups = table.groupby(["where", "operator"], sort=False)
    several = table["where"].nunique() > 1
    asked = [name for name in CHOOSERS if name in set(table["choice"])]
    rows = []
    for (where, operator), own in sorted(groups, key=lambda found: rank(str(found[0][1]))):
        of = {name: lines.loc[where, operator, name] for name in own["choice"].unique()}
        took = [counted(own.loc[own["choice"] == name, "took"]) for name in asked]
        rows.append(
            (
                Cell(f"{operator} ({where})" if several else str(operator)),
                number(str(own["contest"].nunique()), own["contest"].nunique()),
                *(_mean(of.get(name)) for name in (*asked, TORCH_FUNC, LOOP)),
                *(Cell(text, kind="soft prose") for text in took),
            )
        )
    means = (*asked, TORCH_FUNC, LOOP)
    heads = ("operator", "problems", *means, *(f"{name} took" for name in asked))
    caption = "Regret by operator, geometric means, and what was taken in how many problems"
    return Sheet(caption, heads, tuple(rows), look="short")


def _mean(line: pd.Series | None) -> Cell:
    if line is None or not line["judged"]:
        return number(words.NOTHING, None)
    return _interval(line, "mean", "low", "high")


def worst(table: pd.DataFrame) -> Sheet:
    """Where choosers lose most, the worst first."""
    own = table[table["choice"].isin(CHOOSERS) & table["regret"].notna()]
    own = own.sort_values("regret", ascending=False, kind="stable").head(MOST)
    rows = tuple(
        (
            Cell(_problem(row)),
            Cell(str(row["choice"])),
            _interval(row, "regret", "low", "high"),
            Cell(str(row["took"])),
            Cell(str(row["best"])),
        )
        for _, row in own.iterrows()
    )
    heads = ("problem", "choice", "regret", "took", "best")
    return Sheet("Where auto loses most", heads, rows, look="short")


def _problem(row: pd.Series) -> str:
    chunk = f" chunk={row['chunk']}" if row["chunk"] else ""
    return f"{row['operator']}, {problem(row['contest'])}{chunk}"


def silent(table: pd.DataFrame) -> Sheet:
    """Problems that some strategy solves and a chooser does not; those of one reason in a line."""
    own = table[table["choice"].isin(CHOOSERS) & (table["status"] != "ok")]
    own = own.assign(reason=[str(reason).partition("\n")[0] for reason in own["reason"]])
    rows = tuple(
        (
            Cell(_problem(group.iloc[0])),
            number(str(len(group)), len(group)),
            Cell(choice),
            Cell(status, kind="failed"),
            Cell(reason, kind="prose"),
        )
        for (choice, status, reason), group in own.groupby(
            ["choice", "status", "reason"], sort=False
        )
    )
    heads = ("problem, the first", "problems", "choice", "status", "reason")
    return Sheet("Without an answer where a strategy has one", heads, rows)
