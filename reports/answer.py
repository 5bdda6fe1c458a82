"""What runs say: every table and sentence that the page and the terminal print, decided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from . import words
from .advice import advice
from .exponents import exponents
from .export import tidy
from .limits import limited
from .load import Run
from .machine import machine
from .regret import regrets
from .schema import CHOOSERS, FAULTS
from .summary import estimates, factors, own_share, statuses

STATUS_WORDS = {
    "ok": "measured and right",
    "unsupported": "refused with a reason",
    "wrong": "wrong",
    "error": "raised an error",
    "oom": "ran out of memory",
    "timeout": "ran out of time",
    "crashed": "lost their process",
    "skipped": "skipped",
}


@dataclass(frozen=True)
class Answer:
    """The tables of one or several runs: `rows` (a case in a pass), `every` (one line a case),
    `advice` (a regime), `exponents`. Their column `run` has the letter of several runs, `where` on
    what a case ran: that letter, the device, threads where there are several.

    What ranks reads `cases`, those that compete: an estimator, whose answer has a statistical
    error, is never compared with exact ones by time alone, and a chooser runs the code of another
    strategy. What choosers lose against the best is `regrets`, a line a problem."""

    runs: tuple[Run, ...]
    rows: pd.DataFrame
    every: pd.DataFrame
    advice: pd.DataFrame
    exponents: pd.DataFrame
    statuses: dict[str, int]

    @cached_property
    def cases(self) -> pd.DataFrame:
        """The cases of exact strategies, without choosers."""
        return contestants(self.every)

    @cached_property
    def estimators(self) -> pd.DataFrame:
        """The cases of estimators."""
        return self.every[~self.every["exact"].astype(bool)]

    @cached_property
    def regrets(self) -> pd.DataFrame:
        """What choosers, torch.func's defaults and a loop lose against the best."""
        return regrets(self.rows)

    @property
    def run(self) -> Run:
        """The run that is spoken of where there is one sentence."""
        return self.runs[0]

    @property
    def letters(self) -> list[str]:
        """What tells several runs apart; an empty name for one alone."""
        return letters(len(self.runs))


def contestants(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of what competes: neither estimators nor choosers."""
    there = table["exact"].astype(bool) & ~table["strategy"].isin(CHOOSERS)
    return table if there.all() else table[there]


def letters(count: int) -> list[str]:
    """`A`, `B`, …, or an empty name for one alone."""
    return [""] if count == 1 else [chr(ord("A") + k) for k in range(count)]


def answer(*runs: Run) -> Answer:
    """Everything that is said of runs; nothing of one is compared with a time of another."""
    parts = [_tables(run, name) for run, name in zip(runs, letters(len(runs)), strict=True)]
    rows, cases, chosen, powers = (
        pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
        for tables in zip(*parts, strict=True)
    )
    return Answer(tuple(runs), rows, cases, chosen, powers, statuses(cases))


def _tables(run: Run, letter: str) -> tuple[pd.DataFrame, ...]:
    table, rows = estimates(run.rows), contestants(run.rows)
    ratios, ranked = factors(rows), contestants(table)
    cases = limited(tidy(table, ratios), run)
    found = (run.rows, cases, advice(rows, ranked, ratios), exponents(ranked))
    return tuple(each.assign(run=letter, where=_where(each, letter)) for each in found)


def _where(table: pd.DataFrame, letter: str) -> list[str]:
    there = zip(table["device"], table["threads"], strict=True)
    head = f"{letter}: " if letter else ""
    return [head + words.on_threads(str(device), threads) for device, threads in there]


def verdict(found: Answer, changes: str = "") -> list[str]:
    """Four sentences: what was measured and what failed, who wins where, what changed, how sure
    it is."""
    changed = changes or "Nothing to compare with was given: no baseline, no comparison."
    return [
        f"{_measured(found)} {_failed(found)}",
        _winners(found),
        changed,
        " ".join([_noise(found), *_warned(found)]),
    ]


def _measured(found: Answer) -> str:
    passes = found.rows["pass"].nunique()
    counts = [f"{n} {STATUS_WORDS[s]}" for s, n in reversed(found.statuses.items())]
    text = f"{len(found.every)} cases in {passes} {'pass' if passes == 1 else 'passes'}"
    text += f" of {len(found.runs)} runs" if len(found.runs) > 1 else ""
    return f"{text}: {words.listed(counts)}." if counts else "No case was measured."


def _failed(found: Answer) -> str:
    faults = found.every[found.every["status"].isin(FAULTS)]
    if faults.empty:
        return "Every answer that was timed agrees with its reference; nothing crashed."
    names = words.listed(sorted(set(faults["strategy"]))[:5])
    return f"Faults in {len(faults)} cases, among them {names}: they have no times anywhere."


def _winners(found: Answer) -> str:
    here = found.advice[found.advice["purpose"] == "evaluate"]
    clear = here[here["judged"].str.startswith("winner")]
    if here.empty:
        return "Nothing was measured that could win."
    text = f"A clear winner in {len(clear)} of {len(here)} regimes, ties in the others"
    if clear.empty:
        return f"{text}."
    most = clear.sort_values("margin", ascending=False).iloc[0]
    return (
        f"{text}; the widest margin is {most['use']} for the {most['operator']} ({most['shape']}),"
        f" {words.factor(most['margin'])} before the next best."
    )


def _noise(found: Answer) -> str:
    widths = found.cases["half_width"].dropna()
    if widths.empty:
        return "With one pass there are no intervals: run at least three."
    return (
        f"Half of the times are known to ± {words.percent(widths.median())} or better"
        f" (95 % intervals from passes); one in ten is worse than"
        f" ± {words.percent(widths.quantile(0.9))}."
    )


def _warned(found: Answer) -> list[str]:
    count = sum(len(run.warnings) for run in found.runs)
    return [f"{count} warning{'s' * (count > 1)}, above."] if count else []


def environment(run: Run) -> dict[str, str]:
    """Machine, its rates, versions and commit, by name; a page without them is not written."""
    header: dict[str, Any] = run.header
    there = header["environment"]
    commit = header.get("commit")
    tree = "" if commit is None else " (modified)" if header.get("dirty") else " (clean)"
    memory = there.get("memory_bytes")
    own = own_share(run.rows, run.end.get("wall_s"))
    return {
        "run": f"{header['run']}, started {header['started']}",
        "commit": f"{commit[:10]}{tree}" if commit else "not a git checkout",
        "grid": f"{header['grid']}, {header['passes']} passes",
        "time": words.NOTHING
        if words.missing(own)
        else f"{run.end['wall_s'] / 60:.1f} min, of which the suite's own {words.percent(own)}",
        "command": " ".join(header.get("command", [])),
        "processor": f"{there.get('cpu')}, {there.get('cores')} cores",
        "memory": words.bytes_(memory) if memory else words.NOTHING,
        "GPU": _gpu(there),
        "threads": f"{_threads(run)}, pinned to core {there.get('pinned') or 'none'}",
        "torch": f"{there.get('torch')} ({there.get('blas')}, {there.get('capability', '–')})",
        "CUDA": str(there.get("cuda") or "none"),
        "TF32": _tf32(there),
        "python": str(there.get("python")),
        "system": str(there.get("os")),
        **machine(run.controls),
    }


def _threads(run: Run) -> str:
    """How many threads its cases had: the header has the most of them."""
    counts: Sequence[Any] = sorted(set(run.rows["threads"])) or [
        run.header["environment"].get("threads")
    ]
    return words.listed(list(map(str, counts)))


def _gpu(there: dict[str, Any]) -> str:
    """Its name, and how fast it may run where that was known."""
    most = there.get("gpu_limits") or {}
    said = [f"{most['sm_hz'] / 1e6:.0f} MHz"] if "sm_hz" in most else []
    said += [f"{most['power_w']} W"] if "power_w" in most else []
    name = str(there.get("gpu") or "none")
    return f"{name}, at most {words.listed(said)}" if said else name


def _tf32(there: dict[str, Any]) -> str:
    """Of products, and of convolutions, which torch lets use it by default."""
    products, convolutions = ("on" if there.get(name) else "off" for name in ("tf32", "tf32_cudnn"))
    return products if "tf32_cudnn" not in there else f"{products}, in cuDNN {convolutions}"
