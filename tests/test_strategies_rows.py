"""Functions whose rows are not apart: refused where a strategy needs them to be, else right.

The truth is ∂ row i / ∂ row i, by differences that move one row and no other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from conftest import (
    Exact,
    Function,
    Net,
    array,
    contracted,
    distance,
    draw,
    for_each_strategy,
    one_row_differences,
    only,
    outputs,
    with_direction,
)
from torch import nn

from strategies import (
    DIRECTIONS,
    Operator,
    Strategy,
    Unsupported,
    check_rows_independent,
    prepare,
)

B, N, M = 4, 3, 2


def closure(m: int) -> Function:
    """A factor a row, held by the closure: row i alone meets the factor of another row."""
    net, factor = Net(N, m), draw(B, 1, seed=31)
    return lambda x: net(x) * factor[: len(x)]


def batch_norm(m: int) -> Function:
    """Statistics over the batch: every row moves every other."""
    return nn.Sequential(nn.BatchNorm1d(N, dtype=torch.float64), Net(N, m)).train()


def centred(m: int) -> Function:
    """The batch's mean is taken off, as BatchNorm does, without its operation."""
    net = Net(N, m)
    return lambda x: net(x - 0.5 * x.mean(0))


# Which needs are broken by it, and what the refusal says.
BROKEN: dict[str, tuple[Callable[[int], Function], frozenset[str], str]] = {
    "closure": (closure, frozenset({"rows"}), "belongs into args, not into a closure"),
    "batch-norm": (batch_norm, frozenset({"rows", "sum"}), "rows are not independent"),
    "centred": (centred, frozenset({"rows", "sum"}), "rows are not independent"),
}
# Of what BatchNorm saves torch has no third derivative, which the table of unsafe operations knows.
UNANSWERED = {(Operator.BILAPLACIAN, "batch-norm")}
on_broken = pytest.mark.parametrize("name", BROKEN)


@functools.cache
def truth(name: str, m: int) -> Exact:
    return one_row_differences(BROKEN[name][0](m), draw(B, N, seed=32))


@on_broken
@for_each_strategy
def test_refused_or_row_by_row(strategy: Strategy, name: str) -> None:
    build, broken, reason = BROKEN[name]
    operator, m = strategy.operator, outputs(strategy.operator, N, M)
    inputs, f = with_direction(operator, draw(B, N, seed=32), m), build(m)
    if strategy.needs & broken:
        with pytest.raises(Unsupported, match=reason):
            prepare(operator, f, *inputs, strategy=strategy.name)
        return
    if (operator, name) in UNANSWERED:
        with pytest.raises(Unsupported, match="silently wrong"):
            prepare(operator, f, *inputs, strategy=strategy.name)
        return
    found = only(prepare(operator, f, *inputs, strategy=strategy.name)(*inputs))
    direction = array(inputs[1]) if operator in DIRECTIONS else None
    assert distance(found, contracted(operator, truth(name, m), direction)) <= 1e-5


@on_broken
@pytest.mark.parametrize("operator", list(Operator))
def test_some_strategy_takes_it(operator: Operator, name: str) -> None:
    """What auto promises: its list ends with a strategy that takes nothing for granted."""
    m = outputs(operator, N, M)
    inputs, f = with_direction(operator, draw(B, N, seed=32), m), BROKEN[name][0](m)
    if (operator, name) in UNANSWERED:
        with pytest.raises(Unsupported, match="every strategy for bilaplacian refuses"):
            prepare(operator, f, *inputs)
        return
    found = only(prepare(operator, f, *inputs)(*inputs))
    direction = array(inputs[1]) if operator in DIRECTIONS else None
    assert distance(found, contracted(operator, truth(name, m), direction)) <= 1e-5


def test_both_senses_are_told_apart() -> None:
    x = draw(B, N, seed=32)
    for name, senses in {"closure": (True, False), "centred": (True, True)}.items():
        found = check_rows_independent(BROKEN[name][0](M), x)
        assert (found.alone is not None, found.apart is not None) == senses
    sound = check_rows_independent(Net(N, M), x)
    assert (sound.alone, sound.apart) == (None, None)


def test_the_check_leaves_statistics_and_the_generator_alone() -> None:
    norm = nn.Sequential(nn.BatchNorm1d(N, dtype=torch.float64), nn.Dropout(0.5)).train()
    before = [b.clone() for b in norm.buffers()]
    state = torch.get_rng_state()
    check_rows_independent(norm, draw(B, N, seed=32))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), before, strict=True))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_any_batch_size_is_checked(rows: int) -> None:
    x = draw(rows, N, seed=34)
    assert check_rows_independent(Net(N, M), x).apart is None
    coupled = check_rows_independent(centred(M), x)
    assert (coupled.apart is None) == (rows == 1)
