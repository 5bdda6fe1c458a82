"""Sparse Jacobians and Hessians: patterns, colours, entries and where they are put."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ON_GRID, array, draw, one_row_differences, only
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional as F

from strategies import (
    STRATEGIES,
    Operator,
    Orders,
    PlanMismatch,
    Strategy,
    Unsupported,
    prepare,
    result_shape,
)
from strategies.colouring import coloured_columns, star_coloured
from strategies.entries import Entries
from strategies.pattern import Pattern, pattern_of

B = 4
JACOBIAN, HESSIAN = Operator.JACOBIAN, Operator.HESSIAN
OFFERED = [s for s in STRATEGIES.values() if "sparse" in s.needs]
for_each = pytest.mark.parametrize("strategy", OFFERED, ids=lambda s: f"{s.operator}-{s.name}")
LAYOUTS = ("dense", "sparse")
ways = pytest.mark.parametrize("execution", ON_GRID)
layouts = pytest.mark.parametrize("layout", LAYOUTS)

INDEX = torch.tensor([2, 0, 1, 1, 5])
KERNEL = draw(1, 1, 3, seed=1)
WEIGHTS = draw(2, 2, seed=2)
IMAGE = draw(4, 2, 3, 3, seed=3)
NORM = nn.LayerNorm(2, dtype=torch.float64)


def stencil(x: Tensor) -> Tensor:
    return x.roll(1, 1) * x + (x - x.roll(-1, 1)).sin()


def band(x: Tensor) -> Tensor:
    return F.conv1d(x[:, None], KERNEL, padding=1)[:, 0].tanh()


def pairs(x: Tensor) -> Tensor:
    """The same small network at every two inputs."""
    return (x.unflatten(1, (-1, 2)) @ WEIGHTS).tanh().flatten(1)


def ends(x: Tensor) -> Tensor:
    """n = 6 and m = 5: differences of neighbours."""
    return (x[:, 1:] - x[:, :-1]) ** 3


def image(x: Tensor) -> Tensor:
    return F.conv2d(x.unflatten(1, (2, 3, 4)), IMAGE, stride=2, padding=1).flatten(1)


def summed_in_place(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 4, dtype=x.dtype).index_add(1, INDEX[:4] % 4, x[:, :4].exp())
    return y * 2


def written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = x[:, 3:5].sin()
    y[:, 0] *= x[:, 5]
    return y


# f, n, and whether the pattern is exactly what the values show.
PATTERNS: dict[str, tuple[Callable[..., Tensor], int, bool]] = {
    "elementwise": (lambda x: x.sin() * 2 + F.softplus(x), 6, True),
    "stencil": (stencil, 7, True),
    "band": (band, 7, True),
    "image": (image, 24, True),
    "pairs": (pairs, 6, True),
    "ends": (ends, 6, True),
    "index": (lambda x: x[:, INDEX] * x[:, :5], 6, True),
    "index-select": (lambda x: x.index_select(1, INDEX).exp(), 6, True),
    "gather": (lambda x: x.gather(1, INDEX.expand(len(x), 5)) ** 2, 6, True),
    "mask": (lambda x: x[:, torch.arange(6) % 2 == 0].sin(), 6, True),
    "where": (lambda x: torch.where(torch.arange(6) > 2, x, x.flip(1).cos()), 6, True),
    "pad": (lambda x: F.pad(x, (1, 2)).cos() * F.pad(x, (2, 1), value=3.0), 6, True),
    "reflect": (lambda x: F.pad(x[:, None], (2, 1), mode="reflect")[:, 0] ** 2, 6, True),
    "views": (lambda x: x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1)[:, 1::2].exp(), 6, True),
    "split": (lambda x: torch.cat([p.prod(1, True) for p in x.split(2, 1)], 1), 6, True),
    "stack": (lambda x: torch.stack([x[:, ::2], x[:, 1::2] ** 2], 2).sum(2), 6, True),
    "unbind": (lambda x: torch.stack(x.unbind(1)[::-1], 1).sin(), 6, True),
    "sums": (lambda x: x.unflatten(1, (2, 3)).sum(1) + x[:, :3].mean(1, keepdim=True), 6, True),
    "softmax": (lambda x: x.unflatten(1, (3, 2)).softmax(2).flatten(1), 6, True),
    "norms": (lambda x: x.unflatten(1, (3, 2)).norm(dim=2), 6, True),
    "layer-norm": (lambda x: NORM(x.unflatten(1, (3, 2)) ** 3).flatten(1), 6, False),
    "maximum": (lambda x: x.unflatten(1, (3, 2)).amax(2), 6, False),
    "products": (lambda x: x.unflatten(1, (2, 3)) @ x[:, :3, None], 6, True),
    "einsum": (lambda x: torch.einsum("bi,ij->bij", x[:, :2], WEIGHTS).flatten(1), 3, True),
    "cumulative": (lambda x: x.unflatten(1, (3, 2)).cumsum(2).flatten(1).sin(), 6, False),
    "sorted": (lambda x: x.sort(1).values, 6, False),
    "index-add": (summed_in_place, 6, True),
    "in-place": (written, 6, True),
    "triangle": (lambda x: (x.unflatten(1, (2, 3)).tril() ** 2).flatten(1), 6, True),
    "detached": (lambda x: x * x.flip(1).detach(), 6, False),
    "constant": (lambda x: torch.ones_like(x), 3, True),
    "by-values": (lambda x: x.gather(1, x.argsort(1)[:, :2]), 6, False),
    "unknown": (lambda x: torch.linalg.inv(x.unflatten(1, (2, 2)) + 4), 4, True),
    "fourier": (lambda x: torch.fft.fft(x).abs(), 4, True),
    "complex": (lambda x: torch.view_as_complex(x.unflatten(1, (-1, 2))).abs(), 6, False),
}


def shown(f: Callable[..., Tensor], x: Tensor) -> np.ndarray:
    """Which entries differences at any of the rows show."""
    flat = lambda z: f(z).reshape(len(z), -1)  # noqa: E731
    return (np.abs(one_row_differences(flat, x).first) > 1e-7).any(0)


def flat_pattern(f: Callable[..., Tensor], *inputs: Tensor) -> np.ndarray:
    return pattern_of(lambda z, *a: f(z, *a).reshape(len(z), -1), inputs).entries.toarray()


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_holds_what_the_values_show(name: str) -> None:
    f, n, exact = PATTERNS[name]
    x = draw(B, n, seed=5)
    found, there = flat_pattern(f, x), shown(f, x)
    assert found.shape == there.shape
    assert not (there & ~found).any()
    assert not exact or not (found & ~there).any()


def test_indices_of_args_are_not_known() -> None:
    """Another call may bring others: every element may be taken."""
    f = lambda x, k: x.gather(1, k).sin()  # noqa: E731
    x, k = draw(B, 3, seed=5), torch.arange(2 * B).reshape(B, 2) % 3
    assert flat_pattern(f, x, k).all()


def test_a_pattern_does_not_depend_on_the_parameters() -> None:
    net = nn.Linear(2, 2, dtype=torch.float64)
    f = lambda x: net(x.unflatten(1, (2, 2))).tanh().flatten(1)  # noqa: E731
    x = draw(B, 4, seed=5)
    before = flat_pattern(f, x)
    with torch.no_grad():
        net.weight.zero_()
    assert (flat_pattern(f, x) == before).all()
    assert (before == np.kron(np.eye(2), np.ones((2, 2)))).all()


def random_pattern(m: int, n: int, seed: int, share: float) -> csr_array:
    return csr_array(array(draw(m, n, seed=seed)) > 1 - 2 * share)


SEEDS = pytest.mark.parametrize("seed", range(12))


@SEEDS
def test_columns_of_a_colour_share_no_row(seed: int) -> None:
    entries = random_pattern(9 + seed, 12, seed, 0.15)
    colours = coloured_columns(entries)
    assert colours is not None
    for colour in set(colours):
        assert entries.toarray()[:, colours == colour].sum(1).max() <= 1


@SEEDS
def test_stars_tell_every_entry(seed: int) -> None:
    """In its row or in its column an entry is the only one of its colour."""
    half = random_pattern(12, 12, seed, 0.12).toarray()
    entries = half | half.T
    colours = star_coloured(csr_array(entries))
    assert colours is not None
    for i, j in zip(*np.nonzero(entries), strict=True):
        in_row = entries[i][colours == colours[j]].sum() == 1
        in_column = entries[j][colours == colours[i]].sum() == 1
        assert in_row or in_column


def test_an_arrow_needs_two_stars() -> None:
    entries = np.eye(9, dtype=bool)
    entries[0] = entries[:, 0] = True
    found = star_coloured(csr_array(entries))
    assert found is not None
    assert found.max() + 1 == 2


def valley(x: Tensor) -> Tensor:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def arrow(x: Tensor) -> Tensor:
    return (x[:, :1] * x.sin()).sum(1, keepdim=True)


# Shapes of several axes, n > m and m > n, two outputs, no axis.
VALUES: dict[tuple[Operator, str], tuple[Callable[..., Tensor], tuple[int, ...]]] = {
    (JACOBIAN, "ends"): (ends, (6,)),
    (JACOBIAN, "stencil"): (lambda x: stencil(x.flatten(1)).unflatten(1, (2, 4)), (2, 2, 2)),
    (JACOBIAN, "pairs"): (pairs, (6,)),
    (JACOBIAN, "more-outputs"): (lambda x: torch.cat([x.sin(), x**2, x[:, :1]], 1), (3,)),
    (JACOBIAN, "two-outputs"): (lambda x: torch.stack([x[:, 0] ** 2, x[:, 1] * x[:, 2]], 1), (3,)),
    (JACOBIAN, "constant"): (lambda x: x * 0 + 1, (3,)),
    (HESSIAN, "valley"): (valley, (5,)),
    (HESSIAN, "arrow"): (arrow, (4,)),
    (HESSIAN, "ends"): (ends, (2, 3)),
    (HESSIAN, "linear"): (lambda x: x @ draw(3, 2, seed=8), (3,)),
    (HESSIAN, "separable"): (lambda x: x.sin().sum(1), (3,)),
}
CASES = [
    pytest.param(operator, name, layout, execution, id=f"{operator}-{name}-{layout}-{execution}")
    for operator, name in VALUES
    for layout in LAYOUTS
    for execution in ON_GRID
    if layout == "sparse" or execution == "eager"
]


# What is taken twice: by slices, shifts, indices, at a border, from several tensors, by views.
TAKEN: dict[str, tuple[Callable[..., Tensor], tuple[int, ...]]] = {
    "slices": (ends, (6,)),
    "shifts": (lambda x: stencil(x.flatten(1)).unflatten(1, (2, 4)), (2, 2, 2)),
    "indices": (lambda x: (x[:, INDEX] * x[:, INDEX.flip(0)]).sin(), (6,)),
    "border": (lambda x: bordered(x), (5,)),
    "split": (lambda x: joined(*x.split([4, 2], 1)), (6,)),
    "expanded": (lambda x: (x[:, :1].expand(-1, 4) * x[:, 1:]).tanh(), (5,)),
}


def bordered(x: Tensor) -> Tensor:
    """Beyond the border there is a 2: constants among what is gathered."""
    wide = F.pad(x, (1, 1), value=2.0)
    return wide[:, :-2] * wide[:, 1:-1] - wide[:, 2:] ** 2


def joined(points: Tensor, w: Tensor) -> Tensor:
    """Two outputs of each pair of points, then one of each weight: small blocks."""
    first, second = points[:, [0, 1, 2]], points[:, [1, 2, 3]]
    scale = w[:, [0, 1, 0]]
    return torch.cat([scale * (first - second) ** 3, scale * first * second, 1 - w**2], 1)


@ways
@layouts
@pytest.mark.parametrize("name", TAKEN)
def test_values_of_what_is_gathered(name: str, layout: str, execution: str) -> None:
    f, shape = TAKEN[name]
    x = draw(B, *shape, seed=5)
    how = {"strategy": "partially-separable", "layout": layout, "execution": execution}
    found = only(prepare(JACOBIAN, f, x, **how)(x + 0.1))
    check_layout(found, layout)
    assert close(found, expected_of(JACOBIAN, f, x + 0.1))


def test_a_block_of_two_outputs_takes_two_products() -> None:
    """However many blocks share the inputs: by what is gathered, each has its own."""
    from strategies import sparse

    def shared(x: Tensor) -> Tensor:
        three = x[:, [0, 0, 0, 0]] * x[:, [1, 1, 1, 1]] * x[:, 1:]
        return torch.cat([three.sin(), three.cos()], 1)

    x, taken = draw(B, 5, seed=5), []
    with pytest.MonkeyPatch.context() as patch:
        original = sparse._pulled
        patch.setattr(sparse, "_pulled", lambda f, s, o: taken.append(len(s)) or original(f, s, o))
        prepare(JACOBIAN, shared, x, strategy="partially-separable")
    assert taken == [2]


def expected_of(operator: Operator, f: Callable[..., Tensor], x: Tensor) -> np.ndarray:
    flat = lambda z: f(z.reshape(len(z), *x.shape[1:])).reshape(len(z), -1)  # noqa: E731
    exact = one_row_differences(flat, x.flatten(1))
    found = exact.first if operator == JACOBIAN else exact.second
    return found.reshape(result_shape(operator, len(x), x.shape[1:], f(x).shape[1:]))


def close(found: Tensor, expected: np.ndarray) -> bool:
    """Up to the error of differences."""
    error = np.linalg.norm(array(found.to_dense()) - expected)
    return found.shape == expected.shape and error <= 1e-5 * (np.linalg.norm(expected) + 1)


def check_layout(found: Tensor, layout: str) -> None:
    assert found.layout == (torch.sparse_coo if layout == "sparse" else torch.strided)
    if layout == "sparse":
        assert found.is_coalesced()
        flat = np.ravel_multi_index(tuple(found.indices().numpy()), tuple(found.shape))
        assert (np.diff(flat) > 0).all()


@pytest.mark.parametrize(("operator", "name", "layout", "execution"), CASES)
def test_values(operator: Operator, name: str, layout: str, execution: str) -> None:
    f, shape = VALUES[operator, name]
    x = draw(B, *shape, seed=5)
    plan = prepare(operator, f, x, strategy="coloured", layout=layout, execution=execution)
    other = x + 0.1
    found = only(plan(other))
    check_layout(found, layout)
    assert close(found, expected_of(operator, f, other))


class Apart(nn.Module):
    """n = 3 and m = 2: the first output is of two inputs, the second of the third alone."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(draw(2, seed=31))
        self.time = nn.Parameter(draw(1, seed=32))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        products = torch.stack([x[:, 0] * x[:, 1], x[:, 2] * x[:, 2:].squeeze(1)], 1)
        return (self.slope * products + self.time * t).tanh()


def uneven() -> tuple[Apart, Tensor, Tensor]:
    return Apart(), draw(B, 3, seed=33), draw(B, 1, seed=34)


def reference(operator: Operator, net: Apart, x: Tensor, t: Tensor) -> Tensor:
    """By loops of autograd over the outputs and the inputs."""
    with torch.enable_grad():
        z = x if x.requires_grad else x.detach().requires_grad_()
        rows = [_gradient(y_k, z) for y_k in net(z, t).unbind(1)]
        if operator == HESSIAN:
            rows = [torch.stack([_gradient(g, z) for g in row.unbind(1)], 1) for row in rows]
    return torch.stack(rows, 1)


def _gradient(y: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(y.sum(), z, create_graph=True, materialize_grads=True)[0]


def ask(strategy: Strategy, f: Any, *inputs: Tensor, **how: Any) -> Any:
    return prepare(strategy.operator, f, *inputs, strategy=strategy.name, **how)


@ways
@layouts
@for_each
def test_a_plan_follows_its_parameters(strategy: Strategy, layout: str, execution: str) -> None:
    net, x, t = uneven()
    plan = ask(strategy, net, x, t, layout=layout, execution=execution)
    with torch.no_grad():
        net.slope.mul_(1.5)
    expected = reference(strategy.operator, net, x, t).detach()
    torch.testing.assert_close(only(plan(x, t)).to_dense(), expected)


@ways
@layouts
@for_each
def test_gradients_reach_everything(strategy: Strategy, layout: str, execution: str) -> None:
    """Parameters, x and args, through the values of a sparse result too."""
    net, x, t = uneven()
    x, t = x.requires_grad_(), t.requires_grad_()
    sources = [x, t, *net.parameters()]
    plan = ask(strategy, net, x, t, layout=layout, execution=execution, create_graph=True)
    result = only(plan(x, t)).to_dense()
    expected = reference(strategy.operator, net, x, t)
    for a, b in zip(
        torch.autograd.grad((result**2).sum(), sources),
        torch.autograd.grad((expected**2).sum(), sources),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@ways
@layouts
@for_each
def test_all_orders(strategy: Strategy, layout: str, execution: str) -> None:
    net, x, t = uneven()
    found = ask(strategy, net, x, t, layout=layout, execution=execution, values=True)(x, t)
    assert isinstance(found, Orders)
    jacobian = reference(JACOBIAN, net, x, t).detach()
    torch.testing.assert_close(found.value, net(x, t).detach())
    torch.testing.assert_close(found.first.to_dense(), jacobian)
    assert (found.second is None) == (strategy.operator == JACOBIAN)
    if found.second is not None:
        expected = reference(HESSIAN, net, x, t).detach()
        torch.testing.assert_close(found.second.to_dense(), expected)
        check_layout(found.second, layout)


@for_each
def test_leaves_no_graph_and_no_trace(strategy: Strategy) -> None:
    net, x, t = uneven()
    state, before = torch.get_rng_state(), x.clone()
    found = only(ask(strategy, net, x, t, layout="sparse")(x, t))
    assert not found.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert all(p.grad is None for p in net.parameters())


@layouts
@for_each
def test_an_empty_batch(strategy: Strategy, layout: str) -> None:
    net, x, t = uneven()
    found = only(ask(strategy, net, x[:0], t[:0], layout=layout)(x[:0], t[:0]))
    check_layout(found, layout)
    assert found.shape == result_shape(strategy.operator, 0, (3,), (2,))


@for_each
def test_auto_takes_it_where_the_result_is_to_be_sparse(strategy: Strategy) -> None:
    net, x, t = uneven()
    plan = prepare(strategy.operator, net, x, t, layout="sparse")
    assert "sparse" in STRATEGIES[strategy.operator, plan.strategy].needs


@for_each
def test_entries_are_the_flat_result(strategy: Strategy) -> None:
    """What a strategy returns can be called as any other is."""
    net, x, t = uneven()
    entries = strategy.prepare(net, (x, t), ask(strategy, net, x, t).options)
    assert isinstance(entries, Entries)
    found = entries(x, t)
    if isinstance(found, Orders):
        found = found.first if strategy.operator == JACOBIAN else found.second
    torch.testing.assert_close(only(found), reference(strategy.operator, net, x, t).detach())


REFUSED: dict[str, tuple[Operator, Any, Tensor, str]] = {
    "dense": (
        JACOBIAN,
        nn.Linear(3, 2, dtype=torch.float64),
        draw(B, 3, seed=1),
        "nothing is saved: the pattern of 2 outputs by 3 inputs needs at least 2 colours;"
        " jacrev-sum is for dense Jacobians",
    ),
    "dense-hessian": (
        HESSIAN,
        lambda x: x.prod(1),
        draw(B, 3, seed=1),
        "nothing is saved: the pattern of 3 by 3 inputs is too dense to colour; fwd-rev is for",
    ),
    "rows": (
        JACOBIAN,
        lambda x: x * x.mean(0),
        draw(B, 4, seed=1),
        "rows are not independent: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    operator, f, x, said = REFUSED[name]
    with pytest.raises(Unsupported) as refusal:
        prepare(operator, f, x, strategy="coloured")
    assert said in str(refusal.value)


@pytest.mark.parametrize("operator", [JACOBIAN, HESSIAN])
def test_a_pattern_that_lacks_an_entry_is_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry of the pattern is needed: without any one of them nothing is returned."""
    from strategies import sparse

    found, x = pattern_of, draw(B, 5, seed=1)
    f = ends if operator == JACOBIAN else valley
    for lost in range(8):

        def lacking(*given: Any, lost: int = lost) -> Pattern:
            whole = found(*given)
            entries = csr_array(whole.entries)
            entries.data = np.arange(entries.nnz) != lost
            entries.eliminate_zeros()
            return replace(whole, entries=entries)

        monkeypatch.setattr(sparse, "pattern_of", lacking)
        with pytest.raises(Unsupported, match="does not hold at another point"):
            prepare(operator, f, x, strategy="coloured")


def taken_in_place(x: Tensor, index: Tensor) -> Tensor:
    y = x.clone()
    y[:, :2] = 3.0
    return y[:, index] * x


@ways
@pytest.mark.parametrize("f", [lambda x, index: x[:, index] ** 2, taken_in_place])
def test_indices_that_were_written_to_are_seen(f: Any, execution: str) -> None:
    index = torch.tensor([0, 1, 2, 2])
    x = draw(B, 4, seed=1)
    plan = prepare(JACOBIAN, lambda x: f(x, index), x, strategy="coloured", execution=execution)
    plan(x)
    index[0] = 3
    with pytest.raises(PlanMismatch, match="a tensor of indices that f holds was written to"):
        plan(x)


def test_what_takes_each_input_once_is_refused() -> None:
    said = "f gathers no input twice before it computes, so that nothing is taken apart; coloured"
    with pytest.raises(Unsupported, match=said):
        prepare(JACOBIAN, band, draw(B, 6, seed=1), strategy="partially-separable")


def test_others_refuse_to_be_sparse() -> None:
    with pytest.raises(Unsupported, match="layout='sparse': its result is dense"):
        prepare(JACOBIAN, ends, draw(B, 6, seed=1), strategy="loop-grad", layout="sparse")


@pytest.mark.parametrize("size", [1, 2])
def test_as_few_products_as_colours(size: int) -> None:
    """A stencil of three on a grid of any size takes three, forward; few outputs, in reverse."""
    from bench.counters import counters

    wide = lambda x: stencil(x) if size == 1 else x.unflatten(1, (2, -1)).prod(2)  # noqa: E731
    flops = []
    for n in (12, 24):
        x = draw(1, n, seed=1)
        plan = prepare(JACOBIAN, wide, x, strategy="coloured", layout="sparse")
        flops.append(counters(plan, (x,))["ops"])
    assert flops[0] == flops[1]
