"""The gate on trial: right answers pass it, mutants of every kind do not, and what would prove
nothing is refused."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw, for_each_operator, outputs
from mutants import MUTANTS, Answer, equivalent, mutants
from rich.console import Console
from rich.table import Table
from test_bench_workloads import SMALL

from bench import commands, differences, test_time
from bench import reference as reference_module
from bench.case import Case, Subject, build, subject
from bench.check import check, judge, reference_of
from bench.compare import ENTRY, TOLERANCES, Reference
from bench.problem import Problem, direction
from bench.record import Row
from bench.reference import reference
from bench.workloads import WORKLOADS, load_workload
from strategies import FOURTH_ORDER, Operator, Plan, strategies_for, violated_shape

B = 4
LEAST = 500
FEW = 9


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the references of this module are kept, each computed once."""
    return tmp_path_factory.mktemp("references")


def subjects(dtype: str, names: Iterable[str] = WORKLOADS, B: int = B) -> Iterator[Subject]:
    """Every workload, small, with every operator that its shapes allow."""
    for name in names:
        params = SMALL.get(name, {})
        problem = build(name, params, B, dtype, "cpu")
        in_shape = tuple(problem.x.shape[1:])
        out_shape = tuple(problem.f(problem.x, *problem.args).shape[1:])
        for operator in Operator:
            # Of order four a derivative is n² to n⁴ times the work.
            if prod(in_shape) > FEW and operator in FOURTH_ORDER:
                continue
            if not violated_shape(operator, in_shape, out_shape):
                way = strategies_for(operator)[0].name
                case = Case(operator, way, name, B, in_shape, out_shape, params, dtype=dtype)
                yield Subject(case, problem, direction(operator, problem, out_shape))


def right(made: Subject, trusted: Reference) -> Answer:
    """The reference as a strategy would give it; of a Hessian that is symmetric to the last bit."""
    case = made.case
    return answer(made, torch.from_numpy(trusted.value).to(getattr(torch, case.dtype)))


def answer(made: Subject, result: torch.Tensor) -> Answer:
    found = Answer(made.case.operator, result, made.case.in_shape, made.case.out_shape)
    if found.operator == Operator.HESSIAN:
        flat = (found.flat + found.flat.mT) / 2
        return Answer(found.operator, found.with_flat(flat), found.in_shape, found.out_shape)
    return found


def right_answers(made: Subject, references: Path) -> Iterator[Answer]:
    """The reference itself, and what a strategy finds."""
    yield right(made, reference_of(made, references))
    plan = made.prepare()
    if isinstance(plan, Plan):
        result = plan(*made.inputs)
        assert isinstance(result, torch.Tensor)
        yield answer(made, result)


def share(patched: pytest.MonkeyPatch) -> None:
    """References of one problem's operators share what they all compute of it again."""
    forms = {name: functools.cache(form) for name, form in reference_module._FORMS.items()}
    patched.setattr(reference_module, "_FORMS", forms)
    for module, name in ((reference_module, "Evaluator"), (differences, "analytic")):
        patched.setattr(module, name, functools.cache(getattr(module, name)))


@dataclass
class Tally:
    """Mutants by kind and operator."""

    rejected: Counter[tuple[str, Operator]] = field(default_factory=Counter)
    equivalent: Counter[tuple[str, Operator]] = field(default_factory=Counter)
    survived: list[str] = field(default_factory=list)

    def table(self, dtype: str) -> Table:
        """How many were rejected, and how many of them all were the right answer itself."""
        table = Table(
            "mutant", *Operator, "rejected", title=f"{dtype}: rejected (equivalent)", box=None
        )
        for kind in MUTANTS:
            cells = [self._cell(kind, operator) for operator in Operator]
            table.add_row(kind, *cells, str(sum(self.rejected[kind, op] for op in Operator)))
        sums = [sum(self.rejected[kind, op] for kind in MUTANTS) for op in Operator]
        table.add_row("all", *map(str, sums), str(self.rejected.total()))
        return table

    def _cell(self, kind: str, operator: Operator) -> str:
        same = self.equivalent[kind, operator]
        return f"{self.rejected[kind, operator]}" + (f" ({same})" if same else "")


def tried(tally: Tally, made: Subject, right: Answer, references: Path) -> None:
    """Every mutant of a right answer."""
    for kind, wrong in mutants(right):
        if equivalent(right, wrong):
            tally.equivalent[kind, made.case.operator] += 1
        elif check(made, wrong, references).status == "wrong":
            tally.rejected[kind, made.case.operator] += 1
        else:
            tally.survived.append(f"{kind}: {made.case.id}")


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_mutants_of_every_workload_and_operator_are_rejected(
    dtype: str,
    references: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one test a dtype, so that its counts are whole where tests run in parallel."""
    share(monkeypatch)
    tally = Tally()
    for made in subjects(dtype):
        for right in right_answers(made, references):
            found = check(made, right.result, references)
            assert (found.status, found.reason) == ("ok", None), made.case.id
            tried(tally, made, right, references)
    with capsys.disabled():
        Console(width=170).print("", tally.table(dtype))
    assert tally.survived == []
    assert tally.rejected.total() >= LEAST
    kinds = set(MUTANTS) - ({"rounded to float32"} if dtype == "float32" else set())
    assert {kind for kind, _ in tally.rejected} == kinds
    assert {operator for _, operator in tally.rejected} == set(Operator)


@pytest.mark.parametrize("name", WORKLOADS)
def test_references_that_share_nothing_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed forms, or the complex step, with real differences, within the sum of their bounds."""
    found = list(subjects("float64", [name], B=1))
    with monkeypatch.context() as patched:
        share(patched)
        ones = [reference(made.case.operator, made.problem, made.v) for made in found]
    with monkeypatch.context() as patched:
        share(patched)
        patched.setattr(differences, "analytic", lambda f: None)
        others = [
            reference(made.case.operator, replace(made.problem, exact={}), made.v) for made in found
        ]
    for made, one, other in zip(found, ones, others, strict=True):
        assert ("Richardson" in one.method, "Richardson" in other.method) == (False, True)
        off = float(np.linalg.norm(one.value - other.value))
        assert off <= 10 * (absolute(one) + absolute(other)), made.case.id
        most = 1e-3 if made.case.operator in FOURTH_ORDER else 1e-6
        assert max(one.bound, other.bound) <= most, made.case.id


def absolute(trusted: Reference) -> float:
    """The bound of a reference's own error in the norm."""
    return trusted.bound * (float(np.linalg.norm(trusted.value)) or 1.0)


# A row that is as small as this beside the others is not seen in the norm of the whole.
UNSEEN = {"float64": 3e-10, "float32": 3e-5}


def sized(operator: Operator, dtype: str, sizes: list[float]) -> Subject:
    """`y = c sin(x A)` of which each row has its own size c."""
    n, m = 3, outputs(operator, 3, 2)
    kind = getattr(torch, dtype)
    A, x, c = draw(n, m, seed=1).to(kind), draw(B, n, seed=2).to(kind), torch.tensor(sizes)
    problem = Problem(lambda x, c: c * (x @ A).sin(), x, (c[:, None].to(kind),))
    case = Case(operator, strategies_for(operator)[0].name, "sized", B, (n,), (m,), dtype=dtype)
    return Subject(case, problem, direction(operator, problem, (m,)))


@for_each_operator
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_small_row_is_judged_by_its_own_size(operator: Operator, dtype: str) -> None:
    made = sized(operator, dtype, [1, 1, UNSEEN[dtype], 1])
    trusted = reference(operator, made.problem, made.v)
    result = trusted.value.copy()
    assert judge(made, result, trusted).status == "ok"
    result[2] *= -1
    found = judge(made, result, trusted)
    assert found.error["relative"] <= found.error["tolerance"]
    assert found.status == "wrong"
    assert re.match(r"an entry is off by \S+ of its scale against the reference", found.reason)


@for_each_operator
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_row_of_zeros_among_others_may_be_zero_to_rounding(
    operator: Operator, dtype: str
) -> None:
    made = sized(operator, dtype, [1, 1, 0, 1])
    trusted = reference(operator, made.problem, made.v)
    mean = np.linalg.norm(trusted.value) / trusted.value.size**0.5
    for roundings, status in ((4, "ok"), (1e9, "wrong")):
        result = trusted.value.copy()
        result[2] += roundings * np.finfo(dtype).eps * mean
        assert judge(made, result, trusted).status == status


def test_one_entry_of_many_is_enough() -> None:
    made = sized(Operator.JACOBIAN, "float64", [1] * B)
    value = np.random.default_rng(0).standard_normal((4, 50, 100))
    trusted = Reference(value, 1e-13, "closed form", np.ones((4, 50, 1)))
    result = value.copy()
    result[1, 2, 3] += 2 * ENTRY * 1e-9
    found = judge(made, result, trusted)
    assert found.error["relative"] < 1e-9
    assert found.status == "wrong"


def test_an_entry_alone_is_not_judged_by_itself() -> None:
    """A Laplacian near zero carries the rounding of what cancels in it."""
    made = sized(Operator.LAPLACIAN, "float32", [1] * B)
    trusted = reference(Operator.LAPLACIAN, made.problem)
    value = trusted.value.copy()
    value[0] = 1e-7
    near_zero = replace(trusted, value=value)
    assert judge(made, value + 1e-6 * (value == 1e-7), near_zero).status == "ok"


FORMS = {
    "jacobian": Operator.JACOBIAN,
    "hessian": Operator.HESSIAN,
    "hessian-diagonal": Operator.HESSIAN_DIAGONAL,
}


def perturbed(form: str, by: float) -> tuple[Problem, float]:
    """A closed form that is off by about `by`, and by how much in the norm."""
    problem = build("mlp-square", {"n": 5}, B, "float64", "cpu")
    value = problem.exact[form]()
    off = by * value * np.random.default_rng(1).standard_normal(value.shape)
    exact = {form: lambda: value + off}
    return replace(problem, exact=exact), float(np.linalg.norm(off) / np.linalg.norm(value))


@pytest.mark.parametrize("form", FORMS)
def test_the_error_of_a_closed_form_is_measured(form: str) -> None:
    problem, off = perturbed(form, 1e-11)
    found = reference(FORMS[form], problem)
    assert found.method == "closed form"
    assert off / 5 <= found.bound <= 5 * off


@pytest.mark.parametrize("form", FORMS)
def test_a_closed_form_that_f_contradicts_is_refused(form: str) -> None:
    problem, _ = perturbed(form, 1e-3)
    case = Case(FORMS[form], "none", "mlp-square", B, (5,), (5,), dtype="float64")
    found = reference(FORMS[form], problem)
    checked = judge(Subject(case, problem, None), found.value, found)
    assert checked.status == "unsupported"
    assert checked.reason == "vacuous: the reference is a closed form that f contradicts"


def test_a_reference_too_poor_to_tell_is_refused() -> None:
    made = sized(Operator.JACOBIAN, "float64", [1] * B)
    trusted = reference(Operator.JACOBIAN, made.problem)
    for error, status in ((1e-4, "ok"), (0.01, "unsupported"), (0.5, "unsupported")):
        checked = judge(made, trusted.value, replace(trusted, bound=error))
        assert checked.status == status
    poor = judge(made, trusted.value, replace(trusted, bound=0.01))
    assert poor.reason == "vacuous: the reference is known to 1e-02 of itself only, by complex step"
    assert poor.error == {}


OWN = '''
import torch
from bench.problem import Problem

def made(f, dtype, generator, **more):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64).to(dtype)
    return Problem(f, x, **more)

def weights(dtype, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)

def own_relu(dtype, device, generator):
    """Piecewise linear: its second derivatives are zero."""
    A, b = weights(dtype, 3, 16), weights(dtype, 16, 1)
    return made(lambda x: (x @ A).relu() @ b, dtype, generator)

def own_sum(dtype, device, generator):
    """Linear, and does not say so."""
    return made(lambda x: x.sum(-1), dtype, generator)

def own_declared(dtype, device, generator):
    """Linear, and says so."""
    constant = frozenset({"jacobian", "hessian"})
    return made(lambda x: x.sum(-1), dtype, generator, constant=constant)

def own_infinite(dtype, device, generator):
    """Not finite at its own point."""
    return made(lambda x: (x - x).log().sum(-1), dtype, generator)

def own_noise(dtype, device, generator):
    """Rounded to three digits: no difference of it converges."""
    return made(lambda x: (x.sin() * 1e3).round().sum(-1) / 1e3 + 0 * x.sum(-1), dtype, generator)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user's functions, known as workloads for this module only."""
    path = tmp_path_factory.mktemp("own") / "functions.py"
    path.write_text(OWN)
    names = ["own_relu", "own_sum", "own_declared", "own_infinite", "own_noise"]
    loaded = [load_workload(f"{path}:{name}").name for name in names]
    yield
    for name in loaded:
        del WORKLOADS[name]


def own_case(workload: str, operator: Operator) -> Case:
    name = "autograd-grad" if operator == Operator.GRADIENT else "loop-double-backward"
    return Case(operator, name, workload, B, (3,), (1,) if workload == "own-relu" else ())


ZERO = "vacuous: the reference is zero"
OUTCOMES = [
    ("own-relu", Operator.GRADIENT, "ok", ""),
    ("own-relu", Operator.LAPLACIAN, "unsupported", f"{ZERO} within its own error"),
    ("own-relu", Operator.HESSIAN, "unsupported", f"{ZERO} within its own error"),
    (
        "own-sum",
        Operator.GRADIENT,
        "unsupported",
        "vacuous: all entries of the reference are equal",
    ),
    ("own-sum", Operator.LAPLACIAN, "unsupported", ZERO),
    ("own-declared", Operator.GRADIENT, "ok", ""),
    ("own-declared", Operator.LAPLACIAN, "ok", ""),
    ("own-infinite", Operator.GRADIENT, "unsupported", "vacuous: the reference is not finite"),
    ("own-noise", Operator.GRADIENT, "unsupported", "vacuous: the reference is "),
]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("workload", "operator", "status", "reason"), OUTCOMES)
def test_what_would_prove_nothing_is_refused_in_check_and_in_a_run(
    workload: str, operator: Operator, status: str, reason: str, tmp_path: Path
) -> None:
    case = own_case(workload, operator)
    checked = commands._checked(case, tmp_path)
    run: Row = {"status": "", "reason": ""}
    made = subject(case)
    plan = made.prepare()
    assert isinstance(plan, Plan)
    with (
        nullcontext() if status == "ok" else pytest.raises(pytest.skip.Exception, match="vacuous: ")
    ):
        test_time._checked(made, plan, tmp_path, run)
    assert checked["status"] == (run["status"] or "ok") == status
    assert checked["reason"] == run["reason"]
    assert checked["reason"].startswith(reason)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("change", [torch.ones_like, lambda r: r * float("nan")])
def test_wrong_is_wrong_even_where_right_would_prove_nothing(change, tmp_path: Path) -> None:
    made = subject(own_case("own-sum", Operator.LAPLACIAN))
    assert check(made, change(made.problem.x[:, 0]), tmp_path).status == "wrong"
