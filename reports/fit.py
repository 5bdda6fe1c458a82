"""The rule of `strategy="auto"`, fitted to runs: which strategies to try, in which order, by what
is asked, where and at which sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .answer import contestants
from .divisions import Entry, features, fitted, left_out, losses_of
from .load import Run
from .orders import FAILED, Array, Losses, mean
from .summary import estimates

# After these the next strategy of a list is tried.
_REFUSED = ("unsupported", "skipped")
# What a strategy may need of an operator's shapes alone.
_OF_SHAPE = {"scalar", "square"}
# Runs have few contests to train, or of sparse results: what a plain one counts beside those.
BORROWED = 0.1
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


class FitError(ValueError):
    """Runs that no rule can be fitted to; the message says why."""


@dataclass(frozen=True)
class Regret:
    """Time over that of the best: the geometric mean, each workload counting the same, and the
    worst contest's; nan where nothing is judged."""

    mean: float
    worst: float


@dataclass(frozen=True)
class Fitted:
    """The lists of an operator for a purpose on a device, and how well they do: `own` on the
    contests that they are fitted to, `others` on each workload by a rule fitted to all others."""

    device: str
    purpose: str
    operator: str
    entries: tuple[Entry, ...]
    contests: int
    workloads: int
    own: Regret
    others: Regret


@dataclass(frozen=True)
class Source:
    """A run that a device's lists are fitted to, and how many contests it gave."""

    device: str
    run: str
    processor: str
    torch: str
    grid: str
    contests: int


def fit(runs: Sequence[Run]) -> tuple[list[Fitted], list[Source]]:
    """The rule from these runs; `FitError` where no exact strategy has a time in them."""
    cases = [_cases(run) for run in runs]
    table = pd.concat(cases, ignore_index=True)
    table = table[table.groupby("contest")["seconds"].transform("count") > 0]
    if table.empty:
        raise FitError("no case of an exact strategy, run eagerly, is ok: nothing to fit to")
    known = {key: each for run in runs for key, each in run.header.get("strategies", {}).items()}
    keys = table[["device", "purpose", "operator"]].drop_duplicates().to_numpy().tolist()
    found = [_fitted(table, known, *key) for key in sorted(keys)]
    sources = [
        _source(run, *each)
        for run, some in zip(runs, cases, strict=True)
        for each in some.groupby("device")
    ]
    return found, sources


def _source(run: Run, device: str, cases: pd.DataFrame) -> Source:
    there = run.header.get("environment", {})
    processor = there.get("cpu") if device == "cpu" else there.get("gpu")
    said = (str(processor), str(there.get("torch")), str(run.header.get("grid")))
    return Source(device, run.name, *said, cases["contest"].nunique())


def _cases(run: Run) -> pd.DataFrame:
    """One line a case that a rule may take, with its contest and its purpose."""
    rows = contestants(run.rows)
    table = estimates(rows[rows["execution"] == "eager"])
    chunks = ["" if pd.isna(chunk) else f" chunk={chunk}" for chunk in table["chunk"]]
    purposes = [
        _purpose(*how)
        for how in zip(table["create_graph"], table["layout"], table["chunk"], strict=True)
    ]
    return table.assign(contest=run.name + " " + table["contest"] + chunks, purpose=purposes)


def _purpose(create_graph: bool, layout: str, chunk: object) -> str:
    """What lists are told apart by: to evaluate or to train, and how the result is wanted."""
    words = ["train" if create_graph else "evaluate"]
    words += ["sparse"] if layout == "sparse" else []
    words += [] if pd.isna(chunk) else ["chunked"]
    return " ".join(words)


def _fitted(
    table: pd.DataFrame, known: Mapping[str, Any], device: str, purpose: str, operator: str
) -> Fitted:
    there = table[(table["device"] == device) & (table["operator"] == operator)]
    mine = there[there["purpose"] == purpose]
    names = _names(mine, known, operator)
    cases = mine if purpose == "evaluate" else pd.concat([mine, _lent(there, mine, names)])
    contests = cases.drop_duplicates("contest").set_index("contest").sort_index()
    own = (contests["purpose"] == purpose).to_numpy()
    losses = _losses(cases, contests, names, known, np.where(own, 1.0, BORROWED))
    sizes = {name: contests[name].to_numpy(float) for name in ("n", "m", "B")}
    given = features(sizes | {"bytes": contests["dtype"].map(BYTES).to_numpy(float)})
    entries = tuple(fitted(losses, given))
    found = (losses_of(entries, losses, given), left_out(losses, given))
    regrets = [_regret(losses.of(own), values[own]) for values in found]
    counts = (int(own.sum()), contests.loc[own, "workload"].nunique())
    return Fitted(device, purpose, operator, entries, *counts, *regrets)


def _lent(there: pd.DataFrame, mine: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The plain cases of these strategies, as if those that cannot train had refused there too."""
    lent = there[(there["purpose"] == "evaluate") & there["strategy"].isin(names)].copy()
    barred = set(mine.loc[mine["reason"].str.startswith("create_graph"), "strategy"])
    lent.loc[lent["strategy"].isin(barred), ["status", "seconds"]] = "unsupported", np.nan
    return lent[lent.groupby("contest")["seconds"].transform("count") > 0]


def _names(mine: pd.DataFrame, known: Mapping[str, Any], operator: str) -> tuple[str, ...]:
    """Every exact strategy of the operator; of a sparse or chunked result those that gave one."""
    if mine["purpose"].iloc[0] not in ("evaluate", "train"):
        return tuple(sorted(set(mine.loc[mine["status"] == "ok", "strategy"])))
    own = [each for each in known.values() if each["operator"] == operator and each["exact"]]
    return tuple(dict.fromkeys([*(each["name"] for each in own), *sorted(set(mine["strategy"]))]))


def _losses(
    cases: pd.DataFrame,
    contests: pd.DataFrame,
    names: Sequence[str],
    known: Mapping[str, Any],
    shares: Array,
) -> Losses:
    """See `Losses`; what did not refuse and was not ok loses `FAILED`."""
    cells = cases.pivot(index="contest", columns="strategy", values=["seconds", "status"])
    seconds = cells["seconds"].reindex(index=contests.index, columns=names).astype(float)
    status = cells["status"].reindex(index=contests.index, columns=names)
    loss = np.log(seconds.div(seconds.min(axis=1), axis=0))
    failed = status.notna() & ~status.isin(["ok", *_REFUSED])
    operator = contests["operator"].iloc[0]
    needs = {name: known.get(f"{operator}/{name}", {}).get("needs", ["rows"]) for name in names}
    return Losses(
        tuple(names),
        loss.mask(failed, FAILED).to_numpy(float),
        status.notna().to_numpy(bool),
        tuple(contests["workload"]),
        shares,
        frozenset(name for name, each in needs.items() if set(each) <= _OF_SHAPE),
    )


def _regret(losses: Losses, values: Array) -> Regret:
    known = values[~np.isnan(values)]
    if not len(known):
        return Regret(np.nan, np.nan)
    return Regret(float(np.exp(mean(losses, values))), float(np.exp(known.max())))
