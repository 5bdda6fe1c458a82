"""The lines of sparse Jacobians in `make limits`: their works, and those of a small one."""

from __future__ import annotations

import pytest
import torch
from limit_peers import functional
from limit_sparse import WORKS, coloured, separable, stored
from limit_times import Disagreement, agreed, planned, timed
from limit_works import ENTRIES, FUNC, PLAIN, Bar, F

from strategies import STRATEGIES, Operator

# What they were asked for: work, strategy, bar, against.
BUNDLE = "bundle-adjustment cameras=49 points=7776 observations=31843"
HAND = "correspondences=100 vertices=544"
ASKED = [
    ("brusselator N=32", "coloured, traced, sparse", "≥ 60.0×", FUNC),
    ("brusselator N=32", "partially-separable, traced, sparse", "≥ 60.0×", FUNC),
    ("brusselator N=32", "partially-separable, traced", "≤ 1.5×", ENTRIES),
    ("conv-stencil size=64", "coloured, sparse", "≥ 90.0×", FUNC),
    ("conv-stencil size=64", "coloured", "≤ 1.5×", ENTRIES),
    (BUNDLE, "partially-separable, sparse", "≤ 8.0 F", F),
    (BUNDLE, "coloured, sparse", "≤ 60.0 F", F),
    *[
        (f"hand-simple {HAND}", label, bar, against)
        for name, layout in (("coloured", ", sparse"), ("zero-aware-forward", ""))
        for label, bar, against in (
            (f"{name}{layout}", "≤ 12.0 F", F),
            (f"{name}, traced{layout}", "≤ 7.0 F", F),
            (f"{name}{layout}", "≥ 45.0×", PLAIN),
            (f"{name}, traced{layout}", "≥ 80.0×", PLAIN),
        )
    ],
    (f"hand-complicated {HAND}", "coloured, sparse", "≥ 45.0×", PLAIN),
    (f"hand-complicated {HAND}", "coloured, traced, sparse", "≥ 80.0×", PLAIN),
    (f"hand-complicated {HAND}", "vmap-jvp", "≥ 45.0×", PLAIN),
]


def test_every_bar_is_there() -> None:
    found = [(w.name, bar.label, bar.text, bar.against) for w in WORKS for bar in w.bars]
    assert sorted(found) == sorted(ASKED)


def test_strategies_are_there() -> None:
    assert all((Operator.JACOBIAN, bar.strategy) in STRATEGIES for w in WORKS for bar in w.bars)


def test_lines_of_a_small_work() -> None:
    bars = (
        coloured(2.0, execution="traced"),
        coloured(3.0, F),
        Bar("coloured", 1.5, ENTRIES),
        coloured(4.0, PLAIN),
        separable(5.0),
    )
    found = list(timed(stored("conv-stencil", *bars, size=4), 0.01))
    assert [line.work for line in found] == ["jacobian conv-stencil size=4 float32"] * 5
    assert [line.bar for line in found] == ["≥ 2.0×", "≤ 3.0 F", "≤ 1.5×", "≥ 4.0×", "≥ 5.0×"]
    assert [line.figure[-1] for line in found[:4]] == ["×", "F", "×", "×"]
    assert "refused: jacobian by partially-separable: f gathers no input twice" in found[4].figure
    assert [line.peer.split()[0] for line in found[1:4]] == ["f", "zeros", "plain"]


@pytest.mark.parametrize("execution", ["eager", "traced"])
def test_plans_are_as_the_bar_says(execution: str) -> None:
    work = stored("conv-stencil", coloured(2.0, execution=execution), size=4)
    f, x = work.make(work.dtype)
    (plan,) = planned(work, f, x)[0].values()
    assert (plan.options.execution, plan.options.layout) == (execution, "sparse")


@pytest.mark.parametrize(
    ("against", "asked"),
    [(F, []), (PLAIN, []), (FUNC, ["vmap(jacrev)", "vmap(jacfwd)", "chunked jacrev (64)"])],
)
def test_torch_is_asked_for_dense_jacobians_where_a_bar_needs_them(
    against: str, asked: list[str]
) -> None:
    work = stored("conv-stencil", coloured(3.0, against), size=4)
    assert list(functional(work, *work.make(work.dtype))) == asked


DENSE = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
SPARSE = DENSE.to_sparse()


@pytest.mark.parametrize("others", [(DENSE, SPARSE), (SPARSE, DENSE), (SPARSE, SPARSE)])
def test_sparse_results_must_agree_too(others: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = others
    agreed({"first": lambda: first, "second": lambda: second}, torch.float32)
    with pytest.raises(Disagreement, match="from"):
        agreed({"first": lambda: first, "second": lambda: second.mT}, torch.float32)
