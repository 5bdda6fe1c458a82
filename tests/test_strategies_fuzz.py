"""Thousands of calls of the library, good and bad: each is right, or says why it is not."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest
from fuzz import outcomes

# What must come among any thousand calls, or the fuzz has gone blind.
COMMON = {
    "returned": 300,
    "raised in f": 10,
    "refused: PlanMismatch": 5,
    "refused: TypeError": 50,
    "refused: UnknownStrategy": 5,
    "refused: Unsupported": 50,
    "refused: ValueError": 50,
}


def _run(seeds: range) -> Counter[str]:
    with warnings.catch_warnings():
        # The inputs are odd on purpose, and torch warns of some of them.
        warnings.simplefilter("ignore")
        return outcomes(seeds)


def test_a_thousand_calls() -> None:
    found = _run(range(1000))
    assert {name: found[name] for name, least in COMMON.items() if found[name] < least} == {}


@pytest.mark.slow
def test_twenty_thousand_calls() -> None:
    found = _run(range(1000, 21_000))
    print("\n" + "\n".join(f"{count:6} {name}" for name, count in found.most_common()))
    assert found.total() == 20_000
