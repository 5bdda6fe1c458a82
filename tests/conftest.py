"""Small functions with hand-derived derivatives, and the grid of strategies and executions."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.coverage import slow_to_trace
from bench.fourths import of_all_pairs
from bench.precise import Evaluator
from strategies import (
    DIRECTIONS,
    SECOND_ORDER,
    STRATEGIES,
    Operator,
    Options,
    Orders,
    Strategy,
    result_shape,
)

# A trace is thousands of small objects: collecting them at the default rate takes a third of the
# tests' time.
gc.set_threshold(20_000, 20, 20)

# Single tests of these take as long as a hundred others: begun last, one would keep a worker busy
# while the others are idle.
LONG = {
    "test_bench_advise.py",
    "test_bench_coverage.py",
    "test_bench_gate.py",
    "test_bench_run.py",
    "test_bench_torture.py",
    "test_docs_regret.py",
    "test_strategies_fuzz.py",
    "test_strategies_simplify.py",
}

Array = np.ndarray[Any, np.dtype[np.float64]]
Function = Callable[..., Tensor]
Shape = tuple[int, ...]

SCALAR = (Operator.GRADIENT, Operator.HVP)
SPECIAL = {"separable", "chain", "sparse"}
# Those that are offered for any f; the others, and estimators, have tests of their own.
GENERAL = [s for s in STRATEGIES.values() if s.exact and not s.needs & SPECIAL]
# Every strategy runs in these; compile, which takes seconds a case, and cuda-graph, which needs a
# device, have tests of their own.
ON_GRID = ("eager", "traced")
GRID = [
    pytest.param(strategy, execution, id=f"{strategy.operator}-{strategy.name}-{execution}")
    for strategy in GENERAL
    for execution in ON_GRID
    if execution == "eager" or not slow_to_trace(strategy)
]
EACH = [pytest.param(s, id=f"{s.operator}-{s.name}") for s in GENERAL]

# A trace of linearize would keep, as constants, what linearize computed from the traced x.
UNTRACEABLE = {"linearize", "linearize-vmap"}
WORKING = [p for p in GRID if p.values[1] != "traced" or p.values[0].name not in UNTRACEABLE]

# Where the execution is on trial, and each strategy was traced by other tests: of each operator one
# strategy of each mode. The batched ones have the shortest traces.
BATCHED_FIRST = sorted(GENERAL, key=lambda s: s.sweep != "vmap")
MODES = {(s.operator, s.mode): s.name for s in reversed(BATCHED_FIRST) if s.name not in UNTRACEABLE}
FEWER_TRACED = [
    p
    for p in GRID
    if p.values[1] == "eager"
    or MODES.get((p.values[0].operator, p.values[0].mode)) == p.values[0].name
]

on_fewer_traced = pytest.mark.parametrize(("strategy", "execution"), FEWER_TRACED)
on_working_grid = pytest.mark.parametrize(("strategy", "execution"), WORKING)
for_each_strategy = pytest.mark.parametrize("strategy", EACH)
for_each_operator = pytest.mark.parametrize("operator", list(Operator))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


@dataclass(frozen=True)
class Exact:
    """A function's value and derivatives: `[B, m]`, `[B, m, n]` and `[B, m, n, n]` in float64.

    fourth: its bilaplacian, `[B, m]`, which may take its time.
    """

    value: Array
    first: Array
    second: Array
    fourth: Callable[[], Array]


@dataclass(frozen=True)
class Example:
    """A function at a point, with its exact derivatives there."""

    f: Function
    x: Tensor
    args: tuple[Tensor, ...]
    out_shape: Shape
    exact: Exact

    @property
    def in_shape(self) -> Shape:
        return tuple(self.x.shape[1:])

    def direction(self, operator: Operator) -> Tensor:
        shape = self.out_shape if DIRECTIONS[operator] == "out" else self.in_shape
        return draw(len(self.x), *shape, seed=9).to(self.x.dtype)

    def inputs(self, operator: Operator) -> tuple[Tensor, ...]:
        """As the plan of the operator is called: the direction after x."""
        if operator in DIRECTIONS:
            return (self.x, self.direction(operator), *self.args)
        return (self.x, *self.args)

    def expected(self, operator: Operator) -> Array:
        """The operator's result, `[B, …]`, out of the exact derivatives."""
        v = array(self.direction(operator)) if operator in DIRECTIONS else None
        flat = contracted(operator, self.exact, v)
        return flat.reshape(result_shape(operator, len(self.x), self.in_shape, self.out_shape))

    def expected_orders(self, operator: Operator) -> tuple[Array, Array, Array | None]:
        value = self.exact.value.reshape(len(self.x), *self.out_shape)
        if operator not in SECOND_ORDER:
            return value, self.expected(operator), None
        below = Operator.GRADIENT if prod(self.out_shape) == 1 else Operator.JACOBIAN
        return value, self.expected(below), self.expected(operator)


def contracted(operator: Operator, exact: Exact, v: Array | None) -> Array:
    """The operator's result for flat shapes; `v: [B, …]` where it takes a direction."""
    first, second = exact.first, exact.second
    v = None if v is None else v.reshape(len(v), prod(v.shape[1:]))
    match operator:
        case Operator.GRADIENT:
            return first[:, 0]
        case Operator.VJP:
            return np.einsum("bk,bki->bi", v, first)
        case Operator.JVP:
            return np.einsum("bki,bi->bk", first, v)
        case Operator.JACOBIAN:
            return first
        case Operator.DIVERGENCE:
            return np.einsum("bii->b", first)
        case Operator.HVP:
            return np.einsum("bij,bj->bi", second[:, 0], v)
        case Operator.HESSIAN:
            return second
        case Operator.HESSIAN_DIAGONAL:
            return np.einsum("bkii->bki", second)
        case Operator.LAPLACIAN:
            return np.einsum("bkii->bk", second)
        case Operator.BILAPLACIAN:
            return exact.fourth()
    raise AssertionError(f"no formula for {operator}")


def draw(*shape: int, seed: int) -> Tensor:
    """Uniform in [-1, 1), float64, from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


def with_direction(operator: Operator, x: Tensor, m: int) -> tuple[Tensor, ...]:
    """`(x,)`, or `(x, v)` where the operator takes a direction; f is flat and has m outputs."""
    side = DIRECTIONS.get(operator)
    return (x,) if side is None else (x, draw(len(x), m if side == "out" else x.shape[1], seed=22))


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def outputs(operator: Operator, n: int, m: int) -> int:
    """The m nearest to the wanted one for which the operator is defined."""
    return 1 if operator in SCALAR else n if operator == Operator.DIVERGENCE else m


class Net(nn.Module):
    """`W₂ tanh(W₁ x + b₁ + C t) + b₂`, without t where none is given."""

    def __init__(self, n: int = 3, m: int = 2, hidden: int = 5) -> None:
        super().__init__()
        self.first = nn.Linear(n, hidden, dtype=torch.float64)
        self.act = nn.Tanh()
        self.time = nn.Linear(1, hidden, bias=False, dtype=torch.float64)
        self.second = nn.Linear(hidden, m, dtype=torch.float64)
        with torch.no_grad():
            for seed, p in enumerate(self.parameters()):
                p.copy_(draw(*p.shape, seed=seed))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        hidden = self.first(x) if t is None else self.first(x) + self.time(t)
        return self.second(self.act(hidden))


def weights(net: Net) -> dict[str, Array]:
    return {name: array(p).copy() for name, p in net.named_parameters()}


def net_exact(p: dict[str, Array], x: Array, t: Array | None = None) -> Exact:
    """With h = tanh(a): dh/da = 1 - h² and d²h/da² = -2h(1 - h²), chained by W₁ and W₂.

    The fourth derivative of tanh is (1 - h²)(16h - 24h³), and Δ²tanh(a) that times |W₁|⁴.
    """
    W, V = p["first.weight"], p["second.weight"]
    h = np.tanh(x @ W.T + p["first.bias"] + (0 if t is None else t @ p["time.weight"].T))
    slope = 1 - h**2
    return Exact(
        h @ V.T + p["second.bias"],
        np.einsum("kh,bh,hi->bki", V, slope, W),
        np.einsum("kh,bh,hi,hj->bkij", V, -2 * h * slope, W, W),
        lambda: (slope * (16 * h - 24 * h**3) * (W**2).sum(1) ** 2) @ V.T,
    )


def net_example(n: int = 3, m: int = 2, B: int = 4, dtype: torch.dtype = torch.float64) -> Example:
    net = Net(n, m).to(dtype)
    x = draw(B, n, seed=7).to(dtype)
    return Example(net, x, (), (m,), net_exact(weights(net), array(x)))


def corner(n: int) -> Array:
    """The second derivative of x₀ xₙ₋₁, `[n, n]`; 2 where both are the same."""
    found = np.zeros((n, n))
    found[0, -1] += 1
    found[-1, 0] += 1
    return found


def cubic_example(in_shape: Shape, out_shape: Shape, B: int = 4) -> Example:
    """`y = A (x³ + x⁵) + d x₀ xₙ₋₁`, so J = A (3x² + 5x⁴) + d (corner x), H = diag(A (6x + 20x³)) +
    d corner, and Δ²y = 120 A x."""
    n, m = prod(in_shape), prod(out_shape)
    A, d, x = draw(m, n, seed=1), draw(m, seed=2), draw(B, *in_shape, seed=3)

    def f(x: Tensor) -> Tensor:
        z = x.reshape(len(x), n)
        y = (z**3 + z**5) @ A.T + z[:, :1] * z[:, -1:] * d
        return y.reshape(len(x), *out_shape)

    z, a, e, C = array(x).reshape(B, n), array(A), array(d), corner(n)
    exact = Exact(
        (z**3 + z**5) @ a.T + np.outer(z[:, 0] * z[:, -1], e),
        a * (3 * z**2 + 5 * z**4)[:, None] + np.einsum("k,ij,bj->bki", e, C, z),
        np.einsum("ki,bi,ij->bkij", a, 6 * z + 20 * z**3, np.eye(n)) + np.multiply.outer(e, C),
        lambda: 120 * z @ a.T,
    )
    return Example(f, x, (), out_shape, exact)


def args_example(n: int = 3, m: int = 2, B: int = 4) -> Example:
    """`y = A sin(s x) + E[z] x₀ xₙ₋₁` with s = 1 + t; t is a time, z an atom type."""
    A, x, t = draw(m, n, seed=1), draw(B, n, seed=3), draw(B, 1, seed=4)
    z = torch.arange(B) * 2 % 3
    table = nn.Embedding(3, m, dtype=torch.float64)
    with torch.no_grad():
        table.weight.copy_(draw(3, m, seed=5))

    def f(x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        return ((1 + t) * x).sin() @ A.T + table(z) * x[:, :1] * x[:, -1:]

    a, u, s, C = array(A), array(x), 1 + array(t), corner(n)
    e = array(table.weight)[z.numpy()]
    exact = Exact(
        np.sin(s * u) @ a.T + e * u[:, :1] * u[:, -1:],
        a * (s * np.cos(s * u))[:, None] + np.einsum("bk,ij,bj->bki", e, C, u),
        np.einsum("ki,bi,ij->bkij", a, -(s**2) * np.sin(s * u), np.eye(n))
        + np.einsum("bk,ij->bkij", e, C),
        lambda: (s**4 * np.sin(s * u)) @ a.T,
    )
    return Example(f, x, (t, z), (m,), exact)


def strided(example: Example) -> Example:
    """The same x, not contiguous: columns first, and every other row of its storage."""
    storage = torch.zeros(example.x.shape[1], 2 * len(example.x), dtype=example.x.dtype)
    x = storage[:, ::2].t()
    x.copy_(example.x)
    assert not x.is_contiguous()
    return replace(example, x=x)


def one_row_differences(f: Function, x: Tensor) -> Exact:
    """Row i of f by row i of x, by central differences that move this row and no other; its
    bilaplacian by circles of complex numbers."""
    B, n = x.shape

    def at(b: int, *moves: tuple[int, float]) -> Array:
        z = x.detach().clone()
        for i, step in moves:
            z[b, i] += step
        return array(f(z))[b]

    def once(b: int, i: int, h: float = 1e-5) -> Array:
        return (at(b, (i, h)) - at(b, (i, -h))) / (2 * h)

    def twice(b: int, i: int, j: int, h: float = 1e-3) -> Array:
        ends = [s * r * at(b, (i, s * h), (j, r * h)) for s in (1, -1) for r in (1, -1)]
        return sum(ends[1:], ends[0]) / (4 * h * h)

    first = np.array([[once(b, i) for i in range(n)] for b in range(B)])
    second = np.array([[[twice(b, i, j) for j in range(n)] for i in range(n)] for b in range(B)])
    return Exact(
        array(f(x)),
        np.moveaxis(first, -1, 1),
        np.moveaxis(second, -1, 1),
        lambda: of_all_pairs(Evaluator(f, x, ())).value.sum((-2, -1)),
    )


def distance(found: Tensor, expected: Array) -> float:
    """Relative in the norm; infinite where the shapes differ."""
    if tuple(found.shape) != expected.shape:
        return float("inf")
    return float(np.linalg.norm(array(found) - expected) / max(np.linalg.norm(expected), 1e-12))


def check_orders(found: Tensor | Orders, example: Example, operator: Operator) -> None:
    # Of an exact strategy, without a variance.
    assert type(found) is Orders
    for order, expected in zip(found, example.expected_orders(operator), strict=True):
        assert (order is None) == (expected is None)
        if order is not None and expected is not None:
            assert distance(order, expected) <= 1e-9
            assert order.dtype == example.x.dtype


def only(found: Tensor | Orders) -> Tensor:
    assert isinstance(found, Tensor)
    return found


def forced(strategy: Strategy, f: Function, *inputs: Tensor, **options: Any) -> Tensor:
    """The strategy itself, past the registry's refusals; f and inputs are flat."""
    found = strategy.prepare(f, inputs, Options(**options))(*inputs)
    if isinstance(found, Orders):
        found = found.second if strategy.operator in SECOND_ORDER else found.first
    return only(found)
