"""History in and out: a folder of result files read, the history as Markdown, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import words
from .cuts import facts, fingerprint
from .history import (
    LEAST,
    PENALTY,
    SIDE,
    History,
    HistoryError,
    history,
    points,
)
from .load import ResultFileError, load

VERSION = 1
# A job summary of GitHub takes 1 MiB; a line is some 200 bytes.
MOST = 500


def read(folder: str | Path, only: Sequence[str] = ()) -> tuple[History, tuple[str, ...]]:
    """The history of a folder's result files, `.gz` too, and a note for each file left out.

    only: cases whose id holds every part; controls always. Raises `HistoryError`.
    """
    if not Path(folder).is_dir():
        raise HistoryError(f"{folder}: no such folder")
    times: dict[str, pd.DataFrame] = {}
    machines, notes = {}, []
    for path in sorted(p for p in Path(folder).iterdir() if not p.name.startswith(".")):
        try:
            name, found, machine = _read(path)
        except ResultFileError as error:
            notes.append(f"left out: {error}")
            continue
        if name in times:
            notes.append(f"left out: {path} is run {name} once more")
            continue
        times[name] = found
        machines[fingerprint(machine)] = machine
    return history(_chosen(times, folder, only), machines), tuple(notes)


def _read(path: Path) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    run = load(path)
    absent = [name for name in ("run", "started") if not run.header.get(name)]
    if absent:
        raise ResultFileError(f"{path}: its run line lacks {words.listed(absent)}")
    found = points(run)
    if found["control"].all():
        raise ResultFileError(f"{path} holds no times")
    return run.name, found, facts(run)


def _chosen(
    times: dict[str, pd.DataFrame], folder: str | Path, only: Sequence[str]
) -> list[pd.DataFrame]:
    if not times:
        raise HistoryError(f"{folder} holds no result files with times")
    tables = [
        table[table["control"] | table["id"].map(lambda case: all(part in case for part in only))]
        for table in times.values()
    ]
    if all(table["control"].all() for table in tables):
        raise HistoryError(f"no case in {folder} has an id that holds {words.listed([*only])}")
    return tables


def headline(found: History) -> str:
    """How many steps, series, runs, cuts, and series that are too short for a step."""
    cases = found.series[~found.series["control"]]
    short, gaps = (cases["runs"] < 2 * SIDE).sum(), (cases["missing"] > 0).sum()
    counted = [
        _count((~found.steps["control"]).sum(), "step"),
        f"{len(cases)} series",
        _count(found.points["run"].nunique(), "run"),
        _count(len(grouped_cuts(found)), "cut"),
        f"{short} series shorter than {2 * SIDE} runs",
        f"{gaps} with gaps",
    ]
    return ", ".join(counted)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def when(row: Any, commit: bool = True) -> str:
    """`2026-01-11 0123abcd`: a day and a commit, with a + where files differed from it."""
    day = str(row["started"])[:10]
    return f"{day} {str(row['commit'])[:8]}{'+' if row.get('dirty') else ''}" if commit else day


def moved(step: Any) -> str:
    """The controls that step with a case, or an empty text."""
    names = [f"{_control(case)} {words.factor(ratio)}" for case, ratio in step["moved"]]
    return f"the machine moved too: {words.listed(names)}" if names else ""


def _control(case: str) -> str:
    """`matrix-product B=512`: there are controls of one name and several sizes."""
    parts = case.split("/")
    return " ".join([parts[1], *(part for part in parts if part.startswith("B="))])


def grouped_cuts(found: History) -> pd.DataFrame:
    """One line for each reason and run, with how many series of cases it cuts."""
    cuts = found.cuts[~found.cuts["control"]]
    keys = ["started", "commit", "run", "machine", "why"]
    return cuts.groupby(keys, sort=False).size().rename("series").reset_index()


def cut_lines(found: History) -> list[str]:
    """One sentence for each cut."""
    return [
        f"cut at {when(cut)}: {cut['why']} ({cut['series']} series)"
        for _, cut in grouped_cuts(found).iterrows()
    ]


def trends(found: History) -> pd.DataFrame:
    """Series of cases without a step whose trend is as large as one, largest first."""
    keys = ["id", "machine", "segment"]
    stepped = pd.MultiIndex.from_frame(found.steps[keys])
    series = found.series[~found.series["control"]]
    without = series[~pd.MultiIndex.from_frame(series[keys]).isin(stepped)]
    clear = (without["trend_low"] > 1) | (without["trend_high"] < 1)
    size = np.log(without["trend"].astype(float)).abs()
    chosen = size[clear & (size >= np.log(LEAST))].sort_values(ascending=False, kind="stable")
    return without.loc[chosen.index]


def trend_lines(found: History) -> list[str]:
    """One sentence for each trend without a step."""
    return [
        f"trend {words.factor(row['trend'])} "
        f"({words.factor_interval(row['trend_low'], row['trend_high'])}) "
        f"in {row['runs']} runs, no step: {row['id']}"
        for _, row in trends(found).iterrows()
    ]


def machine_lines(found: History) -> list[str]:
    """One sentence for each machine, where there are several."""
    runs = found.points.groupby("machine", sort=False)["run"].nunique()
    return [
        f"machine {name}: {_machine(found, name)}; {_count(n, 'run')}" for name, n in runs.items()
    ]


def _machine(found: History, name: object) -> str:
    own = found.machines[str(name)]
    where = [own["cpu"], f"{own['cores']} cores", own["gpu"], f"torch {own['torch']}"]
    return ", ".join(str(part) for part in [*where, f"Python {own['python']}"] if part)


_HEAD = ("after / before", "95 % interval", "runs", "since", "case", "on", "beside")


def markdown(found: History, title: str) -> str:
    """Headline, steps, largest first, cuts and machines."""
    steps = found.steps[~found.steps["control"]]
    lines = [f"# {title}", "", f"**{headline(found)}**", ""]
    if len(steps):
        lines += [_row(_HEAD), _row(["---"] * len(_HEAD))]
        lines += [_step(step) for _, step in steps.head(MOST).iterrows()]
    lines += [f"and {len(steps) - MOST} more"] if len(steps) > MOST else []
    said = [*trend_lines(found)[:MOST], *cut_lines(found)[:MOST], *machine_lines(found)]
    return "\n".join([*lines, "", *(f"- {line}" for line in said), ""])


def _step(step: Any) -> str:
    return _row(
        [
            words.factor(step["ratio"]),
            words.factor_interval(step["low"], step["high"]),
            f"{step['before']}, {step['after']}",
            when(step),
            f"`{step['id']}`",
            step["machine"],
            moved(step),
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def as_json(found: History, title: str) -> str:
    """Rules, machines, series, cuts and steps; numbers that are not there are null."""
    tables = {"series": found.series, "cuts": found.cuts, "steps": found.steps}
    whole = {
        "version": VERSION,
        "title": title,
        "rules": {"penalty": PENALTY, "least": LEAST, "runs_a_side": SIDE},
        "runs": found.points["run"].nunique(),
        "machines": found.machines,
        # Through pandas, which turns its own numbers into JSON's and what is missing into null.
        **{
            name: json.loads(table.to_json(orient="records", double_precision=15))
            for name, table in tables.items()
        },
    }
    return json.dumps(whole, allow_nan=False, indent=1) + "\n"


def csv(found: History, title: str) -> str:
    """Every time, a line each, with the series that it belongs to."""
    return found.points.to_csv(index=False, lineterminator="\n")


# By the ending of a file's name.
FORMS: dict[str, Callable[[History, str], str]] = {".md": markdown, ".json": as_json, ".csv": csv}
