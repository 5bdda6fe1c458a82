"""Floors: numbers by hand, and no exact strategy that counts less than the best known method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import ROOT

import bench.test_time as timing
from bench.brackets import Product, cheapest, work
from bench.case import Case, Subject, build
from bench.counted import counted
from bench.device import cpu
from bench.floors import METHODS, Floor, floor
from bench.forward import Rounds
from bench.grid import blocks, cases
from bench.problem import Layers, Problem, direction
from bench.products import floor_of, parts, products_seconds, ways
from bench.record import Row
from bench.workloads.networks import mlp
from strategies import STRATEGIES, Operator, Refusal, strategies_for, strategy

TWO = 2  # a multiplication and an addition

# Operator, widths, rows, multiply-adds by hand: those of the forward pass without the last layer,
# then those of the derivative.
BY_HAND = {
    "gradient": (Operator.GRADIENT, (3, 5, 4, 1), 2, 2 * (15 + 20) + 2 * (4 * 5 + 5 * 3)),
    "vjp": (Operator.VJP, (3, 5, 4, 2), 2, 2 * (15 + 20) + 2 * (2 * 4 + 4 * 5 + 5 * 3)),
    # A direction of one number only scales the gradient.
    "vjp of one": (Operator.VJP, (3, 5, 4, 1), 2, 2 * 35 + 2 * (4 * 5 + 5 * 3)),
    "jvp": (Operator.JVP, (3, 5, 4, 2), 2, 2 * 35 + 2 * (15 + 20 + 8)),
    # A product with one number a row adds nothing: it is elementwise.
    "jvp of one": (Operator.JVP, (1, 5, 4, 2), 2, 2 * 20 + 2 * (20 + 8)),
    "jacobian, tall": (Operator.JACOBIAN, (2, 5, 4, 3), 2, 2 * 30 + 2 * 2 * (20 + 12)),
    "jacobian, wide": (Operator.JACOBIAN, (3, 5, 4, 2), 2, 2 * 35 + 2 * 2 * (20 + 15)),
    # (W₄ W₃)(W₂ W₁): 8·9·2 twice, then 8·2·8.
    "bottleneck": (Operator.JACOBIAN, (8, 9, 2, 9, 8), 2, 2 * 108 + 2 * (144 + 144 + 128)),
    # d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁: 5·3·4 once, 5·4 a row.
    "divergence": (Operator.DIVERGENCE, (3, 5, 4, 3), 2, 2 * 35 + 60 + 2 * 20),
    # Of one row W₂ D₁ W₁, 4·5·3, met with W₃, 4·3.
    "divergence of a row": (Operator.DIVERGENCE, (3, 5, 4, 3), 1, 35 + 60 + 12),
    # diag(W₁W₂), 5·3 once, met with the slopes.
    "divergence, one layer": (Operator.DIVERGENCE, (3, 5, 3), 2, 2 * 15 + 15 + 2 * 5),
    # W₂ D₁ W₁ is 2·9·3, W₄ D₃ W₃ 3·9·2, and they meet in 3·2.
    "divergence, three layers": (
        Operator.DIVERGENCE,
        *((3, 9, 2, 9, 3), 2),
        2 * (27 + 18 + 18) + 2 * (54 + 54 + 6),
    ),
    # Three tangents through W₂; the second derivative through W₂ and W₃.
    "laplacian": (Operator.LAPLACIAN, (3, 5, 4, 1), 2, 2 * 35 + 2 * (60 + 20 + 4)),
    "laplacian of two": (Operator.LAPLACIAN, (3, 5, 4, 2), 2, 2 * 35 + 2 * (60 + 20 + 8)),
    "laplacian, one layer": (Operator.LAPLACIAN, (3, 5, 1), 2, 2 * 15 + 2 * 5),
    # W₁W₁ᵀ once, half of 3·7·3 and its diagonal; three tangents instead of seven.
    "rank fold": (Operator.LAPLACIAN, (7, 3, 4, 1), 2, 2 * 33 + 42 + 2 * (36 + 12 + 4)),
    # Nine tangents to the layer of two, 9·8·2; their Gram matrix, 3·9; two through the rest.
    "fold behind": (
        Operator.LAPLACIAN,
        *((9, 8, 2, 8, 8, 1), 1),
        168 + 144 + 27 + 2 * (16 + 64) + (16 + 16 + 64) + 8,
    ),
    # Cotangents through W₂, three tangents through W₂, six pairs at five and at four units.
    "hessian": (Operator.HESSIAN, (3, 5, 4, 1), 2, 2 * 35 + 2 * (20 + 60 + 30 + 24)),
    "hessian of two": (Operator.HESSIAN, (3, 5, 4, 2), 2, 2 * 35 + 2 * (40 + 60 + 60 + 48)),
    # Cotangents, the Hessian by the two units, 3·4, and its two sides, 7·2·2 and 28·2.
    "hessian, fold": (Operator.HESSIAN, (7, 2, 4, 1), 2, 2 * 22 + 2 * (8 + 12 + 28 + 56)),
    "diagonal": (Operator.HESSIAN_DIAGONAL, (3, 5, 4, 1), 2, 2 * 35 + 2 * (20 + 60 + 15 + 12)),
    # One input: a tangent and a second derivative through W₂, the latter through W₃.
    "diagonal of one": (Operator.HESSIAN_DIAGONAL, (1, 5, 4, 1), 2, 2 * 20 + 2 * (20 + 20 + 4)),
    "hvp": (Operator.HVP, (3, 5, 4, 1), 2, 2 * 35 + 2 * (20 + 15 + 20 + 20 + 15)),
    "hvp of one": (Operator.HVP, (1, 5, 4, 1), 2, 2 * 20 + 2 * (20 + 20 + 4)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_flops_are_those_by_hand(name: str) -> None:
    operator, widths, B, expected = BY_HAND[name]
    found = floor(operator, Layers(widths), B, 4)
    assert found is not None
    assert found.flops == TWO * expected


def test_inputs_beside_x_count_in_the_forward_pass_alone() -> None:
    plain, timed = (floor(Operator.JACOBIAN, Layers((3, 5, 4, 2), k), 2, 4) for k in (0, 1))
    assert plain is not None
    assert timed is not None
    assert timed.flops - plain.flops == TWO * 2 * 5
    # A number more of each row, and five more weights.
    assert timed.bytes - plain.bytes == 4 * (2 + 5)


# Numbers: x, v, weights, biases of hidden layers, result.
MOVED = {
    Operator.JACOBIAN: 2 * 3 + (15 + 20 + 8) + (5 + 4) + 2 * 2 * 3,
    Operator.VJP: 2 * 3 + 2 * 2 + (15 + 20 + 8) + (5 + 4) + 2 * 3,
    Operator.JVP: 2 * 3 + 2 * 3 + (15 + 20 + 8) + (5 + 4) + 2 * 2,
    Operator.HESSIAN: 2 * 3 + (15 + 20 + 8) + (5 + 4) + 2 * 2 * 3 * 3,
    Operator.HESSIAN_DIAGONAL: 2 * 3 + (15 + 20 + 8) + (5 + 4) + 2 * 2 * 3,
    Operator.LAPLACIAN: 2 * 3 + (15 + 20 + 8) + (5 + 4) + 2 * 2,
}


@pytest.mark.parametrize("operator", MOVED)
def test_bytes_are_read_and_written_once(operator: Operator) -> None:
    found = floor(operator, Layers((3, 5, 4, 2)), 2, 8)
    assert found is not None
    assert found.bytes == 8 * MOVED[operator]


def test_each_product_has_an_elementwise_operation_beside_it() -> None:
    found = floor(Operator.JACOBIAN, Layers((3, 5, 4, 2)), 2, 4)
    assert found is not None
    forward, derivative = (Product(2, 3, 5), Product(2, 5, 4)), (2 * 2, 2 * 2)
    assert found.products[:2] == forward
    assert tuple(p.rows for p in found.products[2:]) == derivative
    assert found.launches == 2 * 4


def test_a_linear_f_has_no_floor() -> None:
    assert floor(Operator.JACOBIAN, Layers((3, 2)), 2, 4) is None


def test_every_known_operator_has_a_floor() -> None:
    assert {"gradient", "jacobian", "hessian", "laplacian"} < METHODS.keys()
    for operator in METHODS:
        scalar = operator in (Operator.GRADIENT, Operator.HVP)
        found = floor(operator, Layers((3, 5, 1 if scalar else 3)), 2, 4)
        assert found is not None
        assert found.flops > 0


def brackets(sizes: tuple[int, ...]) -> int:
    """The least work of a chain of matrices of each row, by trying every bracket."""
    if len(sizes) == 2:
        return 0
    return min(
        brackets(sizes[: k + 1]) + brackets(sizes[k:]) + sizes[0] * sizes[k] * sizes[-1]
        for k in range(1, len(sizes) - 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_a_chain_is_cheaper(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = tuple(torch.randint(2, 12, (7,), generator=generator).tolist())
    assert work(cheapest(sizes, 3).products) == 3 * brackets(sizes)


# What no strategy is below: of every strategy that is counted on each change, by the counts that
# are expected of it, and of the fast ones at the sizes that are timed.

EXPECTED = {
    name: own
    for path in sorted((ROOT / "tests/counters").glob("torch-*-cpu.json"))
    for name, own in json.loads(path.read_text()).items()
}


def declared(case: Case) -> Floor | None:
    """The floor of a case, whatever its strategy."""
    problem = build(case.workload, case.params, case.B, case.dtype, case.device)
    if problem.layers is None or not STRATEGIES[case.operator, case.strategy].exact:
        return None
    return floor(case.operator, problem.layers, case.B, 4)


@pytest.fixture(scope="module")
def counted_cases() -> list[tuple[Case, Floor]]:
    chosen = [case for case in cases(blocks("counters")) if case.id in EXPECTED]
    found = [(case, least) for case in chosen if (least := declared(case))]
    assert len(found) > 100
    return found


def test_no_strategy_of_the_counters_counts_less(
    counted_cases: list[tuple[Case, Floor]],
) -> None:
    less = {
        case.id: (EXPECTED[case.id]["flops"], least.flops)
        for case, least in counted_cases
        if EXPECTED[case.id]["flops"] < least.flops or EXPECTED[case.id]["ops"] < least.launches
    }
    assert less == {}


# How far the best of them are: further, and either a formula or a strategy is to be looked at.
REACHED = {
    Operator.GRADIENT: 1.01,
    Operator.VJP: 1.01,
    Operator.JVP: 1.01,
    Operator.JACOBIAN: 1.01,
    Operator.DIVERGENCE: 1.02,
    Operator.HVP: 1.02,
    # The whole of what is symmetric.
    Operator.HESSIAN: 1.35,
    Operator.LAPLACIAN: 1.05,
}


@pytest.mark.parametrize("operator", REACHED)
def test_the_best_of_the_counters_is_close(
    counted_cases: list[tuple[Case, Floor]], operator: Operator
) -> None:
    ratios = [
        EXPECTED[case.id]["flops"] / least.flops
        for case, least in counted_cases
        if case.operator == operator
    ]
    assert min(ratios) <= REACHED[operator]


SQUARE = {"square"}


def fast(operator: Operator) -> list[str]:
    """The exact strategies that may be the best known method."""
    return [
        s.name
        for s in strategies_for(operator)
        if s.exact
        and not s.name.endswith("-rows")
        # Of a trace only one kind of network has a strategy of its own.
        and (s.mode in ("closed-form", "taylor") or "one-pass" in s.sweep or s.needs >= SQUARE)
    ]


def counts(case: Case, problem: Problem) -> dict[str, tuple[float, float]]:
    """FLOPs and operations of the fast strategies, over those of the floor."""
    assert problem.layers is not None
    least = floor(case.operator, problem.layers, case.B, problem.x.element_size())
    assert least is not None
    v = direction(case.operator, problem, case.out_shape)
    found = {}
    for name in fast(case.operator):
        own = counted(Subject(replace(case, strategy=name), problem, v))
        if not isinstance(own, Refusal):
            found[name] = (own["flops"] / least.flops, own["ops"] / least.launches)
    return found


def problems() -> list[Case]:
    """The chains of the grid that is timed, a case each."""
    found: dict[str, Case] = {}
    for case in cases(blocks("default")):
        plain = case.execution == "eager" and not case.create_graph and case.chunk is None
        if plain and build(case.workload, case.params, 1, "float32", "cpu").layers:
            axes = case.operator, case.workload, dict(case.params), case.B, case.dtype
            found.setdefault(str(axes), case)
    return list(found.values())


@pytest.mark.parametrize("case", problems(), ids=lambda case: case.id)
def test_no_fast_strategy_counts_less_where_it_is_timed(case: Case) -> None:
    problem = build(case.workload, case.params, case.B, case.dtype, case.device)
    found = counts(case, problem)
    assert found
    assert {name: own for name, own in found.items() if min(own) < 1} == {}


# Shapes of no grid: narrow layers, more inputs than units, one hidden layer and three; and how far
# the best strategy is that there is.
CHAINS = [
    (Operator.JACOBIAN, (8, 9, 2, 9, 8), 1.15),
    (Operator.JACOBIAN, (9, 2, 9), 1.15),
    (Operator.DIVERGENCE, (3, 9, 4, 3), 1.15),
    # No strategy folds another number of layers than two.
    (Operator.DIVERGENCE, (3, 9, 3), 5.1),
    (Operator.DIVERGENCE, (3, 9, 2, 9, 3), 2.1),
    (Operator.LAPLACIAN, (40, 3, 9, 1), 1.25),
    # Nor behind a layer further on, nor a Hessian.
    (Operator.LAPLACIAN, (9, 8, 2, 8, 8, 1), 2.3),
    (Operator.LAPLACIAN, (3, 9, 2), 1.6),
    (Operator.HESSIAN, (9, 2, 4, 1), 3.6),
    (Operator.HESSIAN, (3, 5, 4, 9), 2.8),
    (Operator.HESSIAN_DIAGONAL, (9, 2, 4, 1), 1.9),
    (Operator.HESSIAN_DIAGONAL, (3, 5, 4, 9), 1.6),
    (Operator.HVP, (1, 5, 4, 1), 1.7),
    (Operator.HVP, (40, 3, 9, 1), 1.3),
    (Operator.VJP, (40, 3, 1), 1.05),
    (Operator.JVP, (1, 5, 9), 3.4),
]


@pytest.mark.parametrize("execution", ["eager", "traced"])
@pytest.mark.parametrize(("operator", "widths", "reached"), CHAINS)
def test_no_fast_strategy_counts_less_at_other_shapes(
    operator: Operator, widths: tuple[int, ...], reached: float, execution: str
) -> None:
    x = torch.randn(4, widths[0])
    problem = Problem(mlp(widths, "tanh"), x, layers=Layers(widths))
    found = counts(made_up(operator, widths, execution=execution), problem)
    assert {name: own for name, own in found.items() if min(own) < 1} == {}
    assert min(flops for flops, _ in found.values()) <= reached


def made_up(operator: Operator, widths: tuple[int, ...], **axes: Any) -> Case:
    return Case(operator, "of the test", "net", 4, widths[:1], widths[-1:], **axes)


# What is timed of a floor


def subject_of(layers: Layers | None, strategy: str = "loop-grad", **axes: Any) -> Subject:
    """A Jacobian of 3-5-2 on four rows."""
    problem = Problem(mlp((3, 5, 2), "tanh"), torch.ones(4, 3), layers=layers)
    return Subject(
        replace(made_up(Operator.JACOBIAN, (3, 5, 2), **axes), strategy=strategy), problem, None
    )


@pytest.fixture
def estimate() -> Iterator[str]:
    """A strategy that is not exact, for one test."""
    name = "estimate-of-the-test"
    strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", name=name, exact=False)(_estimated)
    yield name
    del STRATEGIES[Operator.JACOBIAN, name]


def _estimated(f: object, inputs: object, options: object) -> None:
    """Estimates nothing."""


def test_what_declares_no_layers_or_is_another_result_has_no_floor(estimate: str) -> None:
    assert floor_of(subject_of(Layers((3, 5, 2)))) is not None
    assert floor_of(subject_of(None)) is None
    assert floor_of(subject_of(Layers((3, 5, 2)), layout="sparse")) is None
    assert floor_of(subject_of(Layers((3, 5, 2)), estimate)) is None


def test_layers_of_other_widths_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match=r"layers of \(4, 5, 2\) units.* 3 inputs and 2 outputs"):
        floor_of(subject_of(Layers((4, 5, 2))))


@pytest.mark.parametrize(
    ("dtype", "batch", "expected"),
    [(torch.float32, (), 2), (torch.float64, (), 1), (torch.float32, (3,), 1)],
)
def test_ways_are_ways_to_one_product(
    dtype: torch.dtype, batch: tuple[int, ...], expected: int
) -> None:
    torch.manual_seed(0)
    left, right = (torch.randn(*batch, *size, dtype=dtype) for size in ((40, 6), (6, 5)))
    found = [way() for way in ways(left, right, left.new_empty(*batch, 40, 5))]
    assert len(found) == expected
    for each in found:
        assert isinstance(each, torch.Tensor)
        rows = each.permute(0, 2, 3, 1) if each.dim() == 4 else each
        torch.testing.assert_close(rows.reshape(*batch, 40, 5), left @ right)


def test_the_products_of_a_problem_are_timed_once() -> None:
    made, known = subject_of(Layers((3, 5, 2))), dict[str, Rounds]()
    least = floor_of(made)
    assert least is not None
    first = products_seconds(made, least, cpu(), known)
    other = subject_of(Layers((3, 5, 2)), "vmap-jacrev", execution="traced")
    assert products_seconds(other, least, cpu(), known) is first
    assert len(first[0]) == len(first[1]) == 3
    assert min(first[0]) > 0
    # The products of another operator are others.
    products_seconds(
        replace(made, case=replace(made.case, operator=Operator.JVP)), least, cpu(), known
    )
    assert len(known) == 2


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (Product(8, 3, 5), (1, (8, 3), (3, 5), (8, 5))),
        # Forty numbers at most: at most eight rows of five, and three parts of seven.
        (Product(20, 3, 5), (3, (7, 3), (3, 5), (7, 5))),
        # A row alone is too large.
        (Product(2, 3, 50), (2, (1, 3), (3, 50), (1, 50))),
        (Product(2, 3, 4, 5), (1, (5, 2, 3), (5, 3, 4), (5, 2, 4))),
        (Product(2, 3, 4, 6), (2, (3, 2, 3), (3, 3, 4), (3, 2, 4))),
    ],
)
def test_large_products_are_made_in_parts(product: Product, expected: tuple[Any, ...]) -> None:
    assert parts(product, 60 if product.batch > 1 else 40) == expected


def test_a_row_of_a_chain_has_its_floor(tmp_path: Path) -> None:
    (case,) = cases(blocks("smoke"), only=["divergence/cyclic-fold/"])
    benchmark = SimpleNamespace(enabled=False, pedantic=lambda *_, **__: None, extra_info={})
    config = SimpleNamespace(option=SimpleNamespace(bench_pass=1, inject=[]))
    request = SimpleNamespace(node=SimpleNamespace(stash={}), config=config)
    rows: dict[str, Row] = {}
    timing.test_time(case, benchmark, tmp_path, rows, {}, {}, request)
    row, least = rows[case.id], declared(case)
    assert row["status"] == "ok", row["reason"]
    assert least is not None
    assert row["floor"] == {"flops": least.flops, "bytes": least.bytes, "launches": 2 * 4}
    assert len(row["products_s"]) == len(row["products_cpu_s"]) == 3
    assert row["spent_s"]["floor"] > 0
