"""The judge: a word for every situation, its exit code, and what holds of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from made_comparisons import CONTROLS, made, mirrored, table
from scipy import stats

from reports.comparison import COMPARED, FAILS, ORDER
from reports.schema import VERDICTS
from reports.verdicts import (
    RULES,
    Comparison,
    Judgement,
    TooFewPairsError,
    Verdict,
    exit_code,
    judge,
    suspects,
)


def of(judgement: Judgement, case: str = "x") -> Verdict:
    return next(verdict for verdict in judgement.verdicts if verdict.case == case)


def one(base: str | None, head: str | None, **fields: object) -> Comparison:
    """The case `x` with these statuses among unchanged cases, and with the same times in both."""
    made_ = made({"x": 1.0})
    arms = {"base": dict(made_.base), "head": dict(made_.head)}
    for arm, status in (("base", base), ("head", head)):
        del arms[arm]["x"]
        arms[arm] |= {} if status is None else {"x": status}
    return replace(made_, **arms, **fields)


def lost(stage: str, pairs: int) -> Comparison:
    """`x` is twice as slow, and some of its pairs of a stage are not there."""
    whole = made({"x": 2.0})
    D = getattr(whole, stage).copy()
    D.loc[: pairs - 1, "x"] = np.nan
    return replace(whole, **{stage: D})


BARRED = {"x": "version 2 of workload net, in base 1"}
SITUATIONS = {
    "nothing": (made({}), "same", 0, ""),
    "slower": (made({"x": 1.2}), "slower", 1, ""),
    "faster": (made({"x": 1 / 1.2}), "faster", 0, ""),
    "same": (made({"x": 1.0}), "same", 0, ""),
    "same-but-slower": (made({"x": 1.04}, sd=0.002), "same", 0, ""),
    "unclear": (made({"x": 1.0}, sd=0.06), "unclear", 0, "often be missed"),
    "new": (one(None, "ok"), "new", 0, ""),
    "new-and-wrong": (one(None, "wrong"), "new", 0, "wrong"),
    "removed": (one("ok", None), "removed", 1, ""),
    "failing": (one("ok", "wrong", reasons={"x": "error 1"}), "failing", 1, "wrong: error 1"),
    "refuses": (one("ok", "unsupported"), "failing", 1, "unsupported"),
    "fixed": (one("timeout", "ok"), "fixed", 0, "it was timeout"),
    "never-ok": (one("oom", "oom"), "not-comparable", 0, "oom in both"),
    "other": (one("oom", "error"), "not-comparable", 0, "oom in base, error in head"),
    "barred": (one("ok", "ok", barred=BARRED), "not-comparable", 0, BARRED["x"]),
    "barred-fails": (one("ok", "error", barred=BARRED), "failing", 1, "error"),
    "lost-pair": (lost("screen", 1), "not-comparable", 0, "7 of 8 pairs"),
    "lost-all": (lost("screen", 8), "not-comparable", 0, "0 of 8 pairs"),
    "lost-later": (lost("confirm", 3), "not-comparable", 0, "confirmation: 7 of 10 pairs"),
    "unconfirmed": (
        replace(made({"x": 1.2}), confirm=None),
        *("unclear", 0, "suspected slower, not measured again"),
    ),
    "small-but-unconfirmed": (
        replace(made({"x": 1.04}, sd=0.002), confirm=None),
        *("unclear", 0, "suspected slower, not measured again"),
    ),
    "never-paired": (
        replace(made({"x": 1.0}), screen=pd.DataFrame()),
        *("not-comparable", 2, "0 of 0 pairs"),
    ),
    "retracted": (
        replace(made({"x": 1.2}), confirm=made({"x": 1.0}, sd=0.05).confirm),
        *("unclear", 0, "suspected slower, not confirmed"),
    ),
    "other-way": (
        replace(made({"x": 1.2}), confirm=made({"x": 1 / 1.2}).confirm),
        *("unclear", 0, "suspected slower, not confirmed"),
    ),
    "cleared": (replace(made({"x": 1.2}), confirm=made({"x": 1.0}).confirm), "same", 0, ""),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_situation_has_its_word_and_exit_code(situation: str) -> None:
    comparison, word, code, reason = SITUATIONS[situation]
    judgement = judge(comparison)
    verdict = of(judgement, "x" if "x" in {v.case for v in judgement.verdicts} else "other-0")
    assert (verdict.word, exit_code(judgement)) == (word, code)
    assert reason in verdict.reason
    assert bool(reason) == bool(verdict.reason)


@pytest.mark.parametrize("control", [1.15, 1 / 1.15])
@pytest.mark.parametrize("stage", ["screen", "confirm"])
def test_a_control_that_moved_leaves_no_word_on_times(control: float, stage: str) -> None:
    clean, moved = (made({"x": 1.2, "y": 0.8, "gemm": ratio}) for ratio in (1.0, control))
    judgement = judge(replace(clean, **{stage: getattr(moved, stage)}))
    assert judgement.contaminated
    assert judgement.counts == {"unclear": 22}
    assert f"gemm contains no code of either arm and took {control:.2f}×" in of(judgement).reason
    assert [(c.name, c.stage) for c in judgement.controls if c.moved] == [("gemm", stage)]
    assert exit_code(judgement) == 3


@pytest.mark.parametrize(("ratio", "moved"), [(1.049, False), (1.053, True), (0.947, True)])
def test_a_control_counts_as_moved_when_its_interval_is_outside(ratio: float, moved: bool) -> None:
    assert judge(made({"gemm": ratio}, sd=0.0005)).contaminated is moved


def test_a_control_is_given_its_wider_interval() -> None:
    """A mean of 0.08 and a standard error of 0.01: above 1.05 at 95 %, not at 99 %."""
    spread = np.tile([1.0, -1.0], 4)
    comparison = replace(made({}), confirm=None)
    comparison.screen["gemm"] = 0.08 + 0.01 * spread / spread.std(ddof=1) * np.sqrt(8)
    [gemm] = [control for control in judge(comparison).controls if control.name == "gemm"]
    at = {share: stats.t.ppf((1 + share) / 2, 7) for share in (0.95, 0.99)}
    assert gemm.low == pytest.approx(np.exp(0.08 - 0.01 * at[0.99]))
    assert gemm.low < RULES.same_high < np.exp(0.08 - 0.01 * at[0.95])
    assert not gemm.moved


def test_a_control_has_no_verdict_whatever_its_status() -> None:
    comparison = made({"x": 1.0})
    named = {**comparison.base, "gemm": "ok"}
    found = judge(replace(comparison, base=named, head={**named, "gemm": "error"}))
    assert found.counts == {"same": 21}


def test_noise_of_a_control_is_no_contamination() -> None:
    judgement = judge(made({"gemm": 1.08}, sd=0.05))
    assert [c for c in judgement.controls if c.high > RULES.same_high]
    assert not judgement.contaminated


def test_a_control_without_all_pairs_is_not_judged_and_that_is_said() -> None:
    comparison = made({"gemm": 2.0})
    comparison.screen.loc[0, "gemm"] = np.nan
    judgement = judge(replace(comparison, confirm=None))
    assert not judgement.contaminated
    assert judgement.notes == ("screen: control gemm is not judged, it has 7 whole pairs",)


FAILING = one("ok", "error")


@pytest.mark.parametrize(
    ("comparison", "code", "strict"),
    [
        (made({}), 0, 0),
        (made({"x": 1.0}, sd=0.06), 0, 3),
        (made({"gemm": 1.2}), 3, 3),
        (made({"x": 1.2}), 1, 1),
        (replace(FAILING, screen=made({"x": 1.0, "gemm": 1.2}).screen), 1, 1),
        (replace(made({}), base={}), 2, 2),
        (replace(made({}), head={}), 2, 2),
        (replace(made({}), base={}, head={}), 2, 2),
        (replace(made({}), head={"renamed": "ok"}), 2, 2),
        (replace(made({}), screen=pd.DataFrame()), 2, 2),
        (replace(made({"gemm": 1.2}), head={"renamed": "ok"}), 2, 2),
    ],
    ids=[
        *("nothing", "unclear", "contaminated", "slower", "failing-and-contaminated", "all-new"),
        *("all-removed", "empty", "renamed", "unmeasured", "renamed-and-contaminated"),
    ],
)
def test_exit_codes(comparison: Comparison, code: int, strict: int) -> None:
    judgement = judge(comparison)
    assert (exit_code(judgement), exit_code(judgement, strict=True)) == (code, strict)


def test_renamed_is_removed_and_new() -> None:
    comparison = one("ok", None)
    judgement = judge(replace(comparison, head={**comparison.head, "z": "ok"}))
    assert (of(judgement, "x").word, of(judgement, "z").word) == ("removed", "new")


@pytest.mark.parametrize(("stage", "said"), [("screen", "K = 5"), ("confirm", "K = 8")])
def test_a_stage_too_short_for_its_level_says_how_long(stage: str, said: str) -> None:
    comparison = made({"x": 1.5})
    short = getattr(comparison, stage).head(4)
    with pytest.raises(TooFewPairsError, match=said):
        judge(replace(comparison, **{stage: short}))


def test_suspects_are_what_is_measured_again() -> None:
    comparison = replace(made({"a": 1.2, "b": 0.8, "gemm": 1.2}), confirm=None)
    assert suspects(comparison) == ("a", "b")
    assert suspects(replace(comparison, screen=pd.DataFrame())) == ()


def test_the_numbers_are_of_the_confirmation_where_there_was_one() -> None:
    comparison = made({"x": 1.2})
    found = of(judge(comparison))
    D = comparison.confirm["x"]
    assert found.ratio == pytest.approx(np.exp(D.mean()))
    assert found.sd == pytest.approx(D.std() / np.sqrt(2))
    assert (found.p_screen, found.p_confirm) == (2**-7, 2**-9)
    still = of(judge(comparison), "other-0")
    assert still.ratio == pytest.approx(np.exp(comparison.screen["other-0"].mean()))
    assert np.isnan(still.p_confirm)


def test_an_mde_above_a_fifth_forbids_same_but_not_slower() -> None:
    rules = replace(RULES, mde_for_same=1.051)
    judgement = judge(made({"x": 1.2, "y": 1.0}), rules)
    assert (of(judgement, "x").word, of(judgement, "y").word) == ("slower", "unclear")
    assert of(judge(made({"y": 1.0})), "y").word == "same"


def test_the_worst_comes_first() -> None:
    comparison = made({"a": 1.2, "b": 1.4, "c": 0.7, "d": 1.0})
    head = {**comparison.head, "d": "wrong"}
    words = [(v.word, v.case) for v in judge(replace(comparison, head=head)).verdicts[:4]]
    assert words == [("failing", "d"), ("slower", "b"), ("slower", "a"), ("faster", "c")]
    assert (set(ORDER), len(ORDER)) == (set(VERDICTS), len(VERDICTS))


@some.composite
def comparisons(draw: some.DrawFn) -> Comparison:
    """Any mixture of ratios, noise, statuses, lost pairs, barred cases and a moved control."""
    some_status = some.sampled_from(["ok", "ok", "ok", "ok", "wrong", "timeout", None])
    names = [f"case-{i}" for i in range(draw(some.integers(1, 6)))]
    ratio = some.sampled_from([1.0, 1.0, 1.0, 1.04, 1.07, 1.2, 3.0, 1 / 1.2, 0.5])
    ratios = {name: draw(ratio) for name in names}
    ratios["gemm"] = draw(some.sampled_from([1.0, 1.0, 1.0, 1.2, 0.8]))
    sd, seed = draw(some.sampled_from([0.0, 0.002, 0.01, 0.04, 0.2])), draw(some.integers(0, 999))
    comparison = made(ratios, others=0, sd=sd, seed=seed)
    arms = [{name: draw(some_status) for name in names} for _ in range(2)]
    base, head = ({name: s for name, s in arm.items() if s} for arm in arms)
    for stage in (comparison.screen, comparison.confirm):
        if draw(some.integers(0, 3)) == 0:
            stage.loc[0, draw(some.sampled_from([*names, "gemm"]))] = np.nan
    barred = {names[0]: "barred"} if draw(some.booleans()) else {}
    confirm = comparison.confirm if draw(some.integers(0, 4)) else None
    return replace(comparison, base=base, head=head, barred=barred, confirm=confirm)


def words(judgement: Judgement) -> dict[str, str]:
    return {verdict.case: verdict.word for verdict in judgement.verdicts}


@settings(max_examples=150, deadline=None)
@given(comparison=comparisons())
def test_what_holds_of_every_judgement(comparison: Comparison) -> None:
    judgement = judge(comparison)
    cases = [verdict.case for verdict in judgement.verdicts]
    assert sorted(cases) == sorted({*comparison.base, *comparison.head})
    assert set(words(judgement).values()) <= set(VERDICTS)
    for verdict in judgement.verdicts:
        _holds(verdict, comparison, judgement.contaminated)
    failed = any(verdict.word in FAILS for verdict in judgement.verdicts)
    if not {*words(judgement).values()} & set(COMPARED):
        assert exit_code(judgement) == 2
    else:
        assert exit_code(judgement) == (1 if failed else 3 if judgement.contaminated else 0)


def _holds(verdict: Verdict, comparison: Comparison, contaminated: bool) -> None:
    before, after = comparison.base.get(verdict.case), comparison.head.get(verdict.case)
    timed = verdict.word in ("slower", "faster", "same", "unclear")
    assert not timed or (before == after == "ok" and verdict.case not in comparison.barred)
    assert timed == bool(np.isfinite(verdict.ratio))
    assert (verdict.word == "failing") == (before == "ok" and after not in ("ok", None))
    assert verdict.word != "unclear" or verdict.reason
    assert verdict.word != "not-comparable" or verdict.reason
    assert not contaminated or verdict.word not in ("slower", "faster", "same")
    if verdict.word in ("slower", "faster"):
        slower = verdict.word == "slower"
        ratio, bound = verdict.ratio, verdict.low
        ratio, bound = (ratio, bound) if slower else (1 / ratio, 1 / verdict.high)
        assert ratio > 1.05
        assert bound > 1.02
        assert verdict.p_screen <= 0.10
        assert verdict.p_confirm <= 0.01
    if verdict.word == "same":
        assert 0.95 <= verdict.low <= verdict.high <= 1.05
        assert verdict.mde <= 1.20


MIRROR: Mapping[str, set[str]] = {
    "slower": {"faster"},
    "faster": {"slower"},
    "new": {"removed"},
    "removed": {"new"},
    "failing": {"fixed"},
    "fixed": {"failing"},
    "not-comparable": {"not-comparable"},
    # [0.95, 1.05] is not its own mirror image in ratios.
    "same": {"same", "unclear"},
    "unclear": {"same", "unclear"},
}


@settings(max_examples=150, deadline=None)
@given(comparison=comparisons())
def test_exchanging_the_arms_exchanges_the_words(comparison: Comparison) -> None:
    there, back = judge(comparison), judge(mirrored(comparison))
    if there.contaminated == back.contaminated:
        assert all(words(back)[case] in MIRROR[word] for case, word in words(there).items())


def test_the_mirror_reaches_slower_and_faster() -> None:
    comparison = made({"x": 1.2, "y": 1 / 1.3})
    there, back = words(judge(comparison)), words(judge(mirrored(comparison)))
    assert (there["x"], back["x"], there["y"], back["y"]) == (
        *("slower", "faster", "faster", "slower"),
    )


@settings(max_examples=50, deadline=None)
@given(comparison=comparisons(), seed=some.integers(0, 999))
def test_neither_the_order_of_cases_nor_of_passes_matters(
    comparison: Comparison, seed: int
) -> None:
    def shuffled(D: pd.DataFrame | None) -> pd.DataFrame | None:
        return None if D is None else D.sample(frac=1, random_state=seed).iloc[:, ::-1]

    other = replace(
        comparison,
        base=dict(reversed(comparison.base.items())),
        screen=shuffled(comparison.screen),
        confirm=shuffled(comparison.confirm),
    )
    assert words(judge(other)) == words(judge(comparison))


def test_a_case_more_than_asked_for_in_the_confirmation_changes_nothing() -> None:
    comparison = made({"x": 1.2})
    only = comparison.confirm[["x", *CONTROLS]]
    assert judge(replace(comparison, confirm=only)) == judge(comparison)


def test_the_tables_have_the_planted_ratios() -> None:
    """Of the tests' own maker: what is planted is there."""
    D = table(["a", "b"], {"a": 1.5}, 400, 0.01, 0)
    assert np.exp(D.mean()).tolist() == pytest.approx([1.5, 1.0], abs=0.005)
    assert D.std().tolist() == pytest.approx([0.01414] * 2, abs=0.0015)
