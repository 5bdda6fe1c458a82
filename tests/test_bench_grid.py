"""The grids: which cases there are, each once, and how they are selected."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bench.case import case_from_axes, subject
from bench.grid import GRIDS, Block, NothingSelected, UnknownGrid, blocks, cases
from strategies import FOURTH_ORDER, STRATEGIES, Operator


@pytest.mark.parametrize("grid", GRIDS)
def test_ids_are_unique_and_axes_return(grid: str) -> None:
    found = cases(blocks(grid))
    assert max(Counter(case.id for case in found).values()) == 1
    assert all(case_from_axes(case.axes) == case for case in found)


# Instructions are counted of a choice, comparisons are tried on one, and skewed sizes are few.
CHOICES = ("instructions", "skewed", "trials")


@pytest.mark.parametrize("grid", [name for name in GRIDS if name not in CHOICES])
def test_every_strategy_is_in_every_grid(grid: str) -> None:
    assert {(case.operator, case.strategy) for case in cases(blocks(grid))} == set(STRATEGIES)


@pytest.mark.parametrize(("grid", "least"), [("smoke", 20), ("default", 300), ("full", 1000)])
def test_sizes_of_the_grids(grid: str, least: int) -> None:
    assert len(cases(blocks(grid))) >= least


def test_comparisons_are_tried_on_twenty_cases_of_every_operator() -> None:
    found = cases(blocks("trials"))
    assert len(found) == 20
    assert {case.operator for case in found} == set(Operator) - FOURTH_ORDER


def test_the_default_grid_covers_what_it_promises() -> None:
    found = cases(blocks("default"))
    assert {case.dtype for case in found} == {"float32", "float64"}
    assert {case.execution for case in found} == {"eager", "traced", "compile"}
    on_cuda = cases(blocks("default"), device="cuda")
    assert {case.execution for case in on_cuda} - {"cuda-graph"} == {c.execution for c in found}
    assert {case.create_graph for case in found} == {True, False}
    assert {case.operator for case in found} == set(Operator)
    assert any(case.chunk for case in found)


def test_a_block_can_name_its_strategies() -> None:
    block = Block("mlp-square", [Operator.JACOBIAN], B=4, strategies=["jacrev-sum", "loop-grad"])
    assert {case.strategy for case in cases([block])} == {"jacrev-sum", "loop-grad"}


@pytest.mark.parametrize("grid", GRIDS)
def test_every_named_strategy_exists(grid: str) -> None:
    """A misspelt one would leave its cases out without a word."""
    for block in blocks(grid):
        known = {name for operator, name in STRATEGIES if operator in block.operators}
        assert set(block.strategies) <= known


def test_few_cases_compile_by_default() -> None:
    compiled = [case for case in cases(blocks("default")) if case.execution == "compile"]
    assert 4 <= len(compiled) <= 8


def test_a_block_has_thread_counts_of_its_own_unless_others_are_asked() -> None:
    block = Block("mlp-square", [Operator.JACOBIAN], strategies=["loop-grad"], threads=(1, 2))
    assert [case.threads for case in cases([block])] == [1, 2]
    assert [case.threads for case in cases([block], threads=(3,))] == [3]
    assert [case.id.rpartition("/")[2] for case in cases([block])] == ["cpu", "threads=2"]


def test_the_full_grid_asks_what_a_second_thread_brings() -> None:
    found = cases(blocks("full"))
    of = {n: {replace(c, threads=1).id for c in found if c.threads == n} for n in (1, 2)}
    assert len(of[2]) >= 4
    assert of[2] <= of[1]


def test_every_part_of_a_selection_must_be_there() -> None:
    found = cases(blocks("default"), only=["jacobian/vmap-jacrev/", "float64"])
    assert found
    assert all("jacobian/vmap-jacrev/" in c.id and c.dtype == "float64" for c in found)


def test_nothing_selected_says_what_was_asked() -> None:
    with pytest.raises(NothingSelected, match="no case matches 'nope'"):
        cases(blocks("smoke"), only=["nope"])


def test_an_unknown_grid_lists_the_known() -> None:
    with pytest.raises(UnknownGrid, match="no grid 'huge'; known: smoke, default, full"):
        blocks("huge")


def test_a_case_is_built_as_its_axes_say() -> None:
    for case in cases(blocks("smoke")):
        made = subject(case)
        assert tuple(made.problem.x.shape) == (case.B, *case.in_shape)
        assert str(made.problem.x.dtype) == f"torch.{case.dtype}"
