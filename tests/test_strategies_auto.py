"""The rule of auto: what it may look at, that its table is whole, and what it says of itself."""

from __future__ import annotations

import builtins
import random
import re
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import ROOT

from reports.divisions import FEATURES, features
from strategies import STRATEGIES, Operator, Strategy, Unsupported, auto, prepare, strategies_for
from strategies.auto import RULE, TABLE, Regime, because, candidates
from strategies.rule import Condition, read

SIZES = [(1, 1, 1), (3, 2, 64), (2, 300, 4), (300, 2, 4), (64, 64, 4096)]
HOW = [(False, False, False), (True, False, False), (False, True, False), (True, False, True)]
on_operators = pytest.mark.parametrize("operator", list(Operator))


def regimes(device: str = "cpu") -> list[Regime]:
    return [
        Regime(*sizes, dtype, device, *how)
        for sizes in SIZES
        for dtype in (torch.float32, torch.float64)
        for how in HOW
    ]


def ours(operator: Operator) -> dict[str, Strategy]:
    """The exact strategies of the package itself, by name."""
    there = [s for s in strategies_for(operator) if s.exact]
    return {s.name: s for s in there if s.prepare.__module__.startswith("strategies.")}


@pytest.mark.parametrize("device", RULE)
def test_every_name_of_the_table_is_a_strategy_and_stands_once(device: str) -> None:
    """Where it is not, a strategy was renamed or removed: fit the table to a run with the new."""
    for (_, operator), entries in RULE[device].entries.items():
        for entry in entries:
            assert set(entry.take) <= set(ours(Operator(operator)))
            assert len(set(entry.take)) == len(entry.take)


@on_operators
@pytest.mark.parametrize("purpose", ["evaluate", "train"])
def test_every_strategy_is_in_the_table(purpose: str, operator: Operator) -> None:
    """Where one is not, it is new: fit the table to a run that measures it."""
    entries = RULE["cpu"].entries.get(
        (purpose, operator), RULE["cpu"].entries["evaluate", operator]
    )
    for entry in entries:
        assert set(entry.take) == set(ours(operator))


@pytest.mark.parametrize("device", RULE)
def test_the_last_entry_of_each_holds_always(device: str) -> None:
    """Each reads as the opposite of all before it, and nothing else."""
    for entries in RULE[device].entries.values():
        own = [entry.conditions[-1] for entry in entries[:-1]]
        assert entries[-1].conditions == tuple(condition.opposite() for condition in own)


@on_operators
def test_one_entry_holds_for_each_regime(operator: Operator) -> None:
    for regime in regimes():
        sizes = {"n": regime.n, "m": regime.m, "B": regime.B, "bytes": regime.dtype.itemsize}
        for entries in (e for (_, of), e in RULE["cpu"].entries.items() if of == operator):
            holding = [e for e in entries if all(c.holds(sizes) for c in e.conditions)]
            assert len(holding) == 1


@on_operators
def test_only_the_regime_is_looked_at(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no clock and no chance: the same list whenever it is asked for."""

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("the rule looked at something")

    before = [candidates(operator, regime) for regime in regimes()]
    for module, name in ((builtins, "open"), (time, "perf_counter"), (random, "random")):
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(Path, "read_text", forbidden)
    assert [candidates(operator, regime) for regime in regimes()] == before


@on_operators
def test_the_list_is_whole_and_ends_with_what_takes_any_rows(operator: Operator) -> None:
    there = ours(operator)
    for regime in regimes():
        if not (regime.sparse or regime.chunked):
            names = [name for name in candidates(operator, regime) if name in there]
            assert sorted(names) == sorted(there)
            assert there[names[-1]].needs <= {"scalar", "square"}


@on_operators
@pytest.mark.parametrize(("asked", "offer"), [("sparse", "sparse"), ("chunked", "chunks")])
def test_what_is_asked_for_is_offered_by_all_where_any_does(
    operator: Operator, asked: str, offer: str
) -> None:
    there = ours(operator)
    offering = {name for name, s in there.items() if getattr(s, offer)}
    for regime in regimes():
        plain = replace(regime, sparse=False, chunked=False)
        names = set(candidates(operator, replace(plain, **{asked: True}))) & set(there)
        assert names == (offering or set(there))


def test_a_users_own_strategy_comes_last_but_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = STRATEGIES[Operator.JACOBIAN, "loop-grad"]
    monkeypatch.setitem(STRATEGIES, (Operator.JACOBIAN, "my-own"), replace(found, name="my-own"))
    for regime in regimes():
        names = candidates(Operator.JACOBIAN, regime)
        assert ("my-own" in names) == (not regime.sparse and not regime.chunked)
        assert "my-own" not in names[:-1]


@on_operators
def test_another_device_takes_the_nearest_and_says_so(operator: Operator) -> None:
    for here, there in zip(regimes("cpu"), regimes("tpu"), strict=True):
        assert candidates(operator, there) == candidates(operator, here)
        assert because(operator, there) == (
            f"{because(operator, here)}; no run on tpu is published, the nearest device is cpu"
        )


@on_operators
def test_the_reason_is_a_line_with_the_condition_and_the_runs(operator: Operator) -> None:
    runs = " and ".join(RULE["cpu"].runs)
    for regime in regimes():
        said = because(operator, regime)
        found = re.fullmatch(f"the rule for cpu, (.+), fitted to run {runs}", said)
        assert found
        purpose, *conditions = found[1].split(", ")
        assert purpose.split()[0] in ("evaluate", "train")[: 1 + regime.create_graph]
        entries = RULE["cpu"].entries[purpose, operator]
        assert conditions in [[str(c) for c in entry.conditions] for entry in entries]


@pytest.mark.parametrize(
    ("lists", "create_graph", "sparse", "said"),
    [
        (["train", "evaluate"], True, False, "train"),
        (["evaluate"], True, False, "evaluate"),
        (["evaluate sparse", "train", "evaluate"], True, True, "evaluate sparse"),
        (["train", "evaluate"], True, True, "train"),
        (["train", "evaluate"], False, True, "evaluate"),
    ],
)
def test_a_purpose_without_a_list_takes_the_next(
    lists: list[str],
    create_graph: bool,
    sparse: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    take = '{"hvp": [{"take": ["double-backward"]}]}'
    text = ", ".join(f'"{name}": {take}' for name in lists)
    table = tmp_path / "rule.json"
    table.write_text(f'{{"cpu": {{"runs": [{{"run": "r"}}], "lists": {{{text}}}}}}}')
    monkeypatch.setattr(auto, "RULE", read(table))
    regime = Regime(3, 1, 4, torch.float32, "cpu", create_graph, sparse)
    assert because(Operator.HVP, regime) == f"the rule for cpu, {said}, fitted to run r"


def test_an_operator_without_a_list_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "RULE", {})
    with pytest.raises(LookupError, match=r"rule.json has no list for hvp: fit it to a run"):
        candidates(Operator.HVP, regimes()[0])


@pytest.mark.parametrize("feature", FEATURES)
def test_a_condition_holds_where_the_fit_meant_it(feature: str) -> None:
    """What is fitted by tables is read again one function at a time."""
    draw = random.Random(0)
    sizes = [
        {name: draw.choice([1, 3, 8, 64, 1000]) for name in ("n", "m", "B")} for _ in range(99)
    ]
    sizes = [each | {"bytes": draw.choice([4, 8])} for each in sizes]
    columns = {name: np.array([each[name] for each in sizes]) for name in sizes[0]}
    values = features(columns)[feature]
    for threshold in (0.25, 1, 4, 8, 1000):
        condition = Condition(feature, "<=", threshold)
        found = [condition.holds(each) for each in sizes]
        assert found == (values <= threshold).tolist()
        assert [condition.opposite().holds(each) for each in sizes] == (values > threshold).tolist()


def test_the_table_is_in_the_wheel() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert TABLE.name in found["package-data"]["strategies"]


def test_where_nobody_offers_it_everybody_says_why() -> None:
    with pytest.raises(
        Unsupported, match="every strategy for gradient refuses: autograd-grad: lay"
    ):
        prepare("gradient", lambda x: x.sum(-1), torch.ones(2, 3), layout="sparse")
