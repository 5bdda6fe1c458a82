"""The registry: what is in it, how one finds it, and how a user's own file joins."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Net, array, draw, net_example, only

from strategies import (
    STRATEGIES,
    DuplicateStrategy,
    Operator,
    Options,
    StrategyFileError,
    UnknownStrategy,
    Unsupported,
    find,
    jacobian,
    load_strategies,
    prepare,
    strategies_for,
    strategy,
)
from strategies.auto import Regime, candidates
from strategies.sweeps import directions_at_once

OWN = '''
"""Two ways of my own."""
import torch
from strategies import Operator, strategy

@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop")
def my_jacobian(f, inputs, options):
    """Column by column by central differences in float64."""
    def evaluate(x, *args):
        steps = 1e-6 * torch.eye(x.shape[1], dtype=x.dtype)
        return torch.stack([(f(x + s, *args) - f(x - s, *args)) / 2e-6 for s in steps], -1)
    return evaluate
'''


@pytest.fixture
def known() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(STRATEGIES)
    yield
    STRATEGIES.clear()
    STRATEGIES.update(before)


def file_of(folder: Path, text: str) -> str:
    path = folder / "my_strategies.py"
    path.write_text(textwrap.dedent(text))
    return str(path)


def test_at_least_forty_pairs_and_every_operator() -> None:
    assert len(STRATEGIES) >= 40
    assert {operator for operator, _ in STRATEGIES} == set(Operator)


@pytest.mark.parametrize("key", STRATEGIES, ids=lambda key: f"{key[0]}-{key[1]}")
def test_each_says_what_it_is(key: tuple[Operator, str]) -> None:
    found = STRATEGIES[key]
    assert (found.operator, found.name) == key
    assert found.summary.endswith(".")
    assert found.mode
    assert found.sweep
    assert found.name == found.name.lower()
    assert "_" not in found.name


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownStrategy, match="no strategy 'nope' for jacobian; known: auto, loop"):
        jacobian(Net(), draw(4, 3, seed=1), strategy="nope")


def test_a_name_is_taken_once(known: None) -> None:
    with pytest.raises(DuplicateStrategy, match="'loop-grad' for jacobian"):
        strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", name="loop-grad")(lambda *_: None)


def test_a_users_file_joins(known: None, tmp_path: Path) -> None:
    added = load_strategies(file_of(tmp_path, OWN))
    assert [(s.operator, s.name) for s in added] == [(Operator.JACOBIAN, "my-jacobian")]
    example = net_example()
    found = jacobian(example.f, example.x, strategy="my-jacobian")
    torch.testing.assert_close(array(found), example.exact.first, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "adds no strategy: decorate a function"),
        ("1 / 0", "raises ZeroDivisionError: division by zero"),
        ("def (", "raises SyntaxError"),
    ],
    ids=["empty", "raising", "syntax"],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StrategyFileError, match=said) as raised:
        load_strategies(file_of(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StrategyFileError, match="no strategies file"):
        load_strategies(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layout": "csr"}, "layout is"),
        ({"chunk": 0}, "chunk counts directions"),
        ({"chunk": True}, "chunk counts directions"),
        ({"chunk": "8 apples"}, "reads like"),
    ],
    ids=lambda value: str(value),
)
def test_options_are_checked(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Options(**wrong)


def test_a_budget_is_refused_by_those_that_count() -> None:
    assert directions_at_once(Options(chunk=3)) == 3
    with pytest.raises(Unsupported, match="turns a budget into a number"):
        directions_at_once(Options(chunk="8 GiB"))


@pytest.mark.parametrize("chunk", [1, 2, 7])
@pytest.mark.parametrize(
    "found", [s for s in STRATEGIES.values() if s.chunks], ids=lambda s: f"{s.operator}-{s.name}"
)
def test_any_chunk_gives_the_same(found: object, chunk: int) -> None:
    example = net_example(m=3)
    operator = found.operator
    f = Net(3, 1) if operator in (Operator.GRADIENT, Operator.HVP) else example.f
    expected = only(prepare(operator, f, example.x)(example.x))
    plan = prepare(operator, f, example.x, strategy=found.name, chunk=chunk)
    torch.testing.assert_close(only(plan(example.x)), expected)


@pytest.mark.parametrize("operator", list(Operator))
@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (2, 300), (300, 2)], ids=str)
def test_the_rule_names_strategies_that_are_there(
    operator: Operator, sizes: tuple[int, int]
) -> None:
    for create_graph in (False, True):
        names = candidates(operator, Regime(*sizes, 4, torch.float32, "cpu", create_graph))
        assert names
        assert all(find(operator, name) in strategies_for(operator) for name in names)


def test_auto_explains_itself() -> None:
    factor = draw(4, 1, seed=2)
    plan = prepare("jacobian", lambda x: Net()(x) * factor[: len(x)], draw(4, 3, seed=1))
    assert plan.explain().startswith(f"jacobian: {plan.strategy}")
