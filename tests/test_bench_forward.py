"""A plain evaluation of f: timed as a case is, once a problem and process, and watched as one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import command
from torch import Tensor

from bench import measure
from bench.case import Case, Subject
from bench.device import cpu
from bench.forward import Rounds, forward_seconds, problem_name
from bench.problem import Problem
from strategies import Operator

X = torch.ones(4, 3)
CASE = Case(Operator.GRADIENT, "autograd-grad", "of the test", 4, (3,), (1,), {"n": 3})


@dataclass
class Busy:
    """An f that takes 2 ms of a clock of its own, 1.5 ms of them computing; remembers its calls."""

    wall: float = 0.0
    with_grad: list[bool] = field(default_factory=list)

    def __call__(self, x: Tensor, *args: Tensor) -> Tensor:
        self.with_grad.append(torch.is_grad_enabled())
        self.wall += 2e-3
        return x.sum(-1, keepdim=True)

    def clock(self) -> SimpleNamespace:
        """What `time` would say."""
        return SimpleNamespace(
            perf_counter=lambda: self.wall, process_time=lambda: 0.75 * self.wall
        )


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    f = Busy()
    monkeypatch.setattr(measure, "time", f.clock())
    return f


def timed(f: Busy, known: dict[str, Rounds], case: Case = CASE) -> Rounds:
    return forward_seconds(Subject(case, Problem(f, X), None), cpu(), known)


def test_a_known_time_of_f_is_that_of_every_round(busy: Busy) -> None:
    wall, computing = timed(busy, {})
    assert wall == pytest.approx([2e-3] * measure.ROUNDS)
    assert computing == pytest.approx([1.5e-3] * measure.ROUNDS)
    # Three calls of a round are more than 5 ms; three more warm up.
    assert len(busy.with_grad) == 3 * measure.ROUNDS + 3


def test_f_is_timed_without_a_graph(busy: Busy) -> None:
    timed(busy, {})
    assert not any(busy.with_grad)
    assert torch.is_grad_enabled()


OF_ONE_PROBLEM = {
    "operator": Operator.HESSIAN,
    "strategy": "fwd-rev",
    "execution": "traced",
    "create_graph": True,
    "chunk": 2,
    "layout": "block",
}
OF_ANOTHER = {
    "workload": "of another test",
    "params": {"n": 4},
    "B": 5,
    "dtype": "float64",
    "device": "cuda",
    "threads": 2,
}


@pytest.mark.parametrize("axis", OF_ONE_PROBLEM)
def test_the_cases_of_a_problem_share_the_times_of_its_f(busy: Busy, axis: str) -> None:
    known: dict[str, Rounds] = {}
    first, calls = timed(busy, known), len(busy.with_grad)
    assert timed(busy, known, replace(CASE, **{axis: OF_ONE_PROBLEM[axis]})) == first
    assert len(busy.with_grad) == calls


@pytest.mark.parametrize("axis", OF_ANOTHER)
def test_the_f_of_another_problem_is_timed_for_itself(busy: Busy, axis: str) -> None:
    other = replace(CASE, **{axis: OF_ANOTHER[axis]})
    assert problem_name(other) != problem_name(CASE)
    known: dict[str, Rounds] = {}
    timed(busy, known)
    calls = len(busy.with_grad)
    timed(busy, known, other)
    assert len(busy.with_grad) == 2 * calls


WORKLOADS = '''
import torch
from bench.problem import Problem

class Squares:
    """A sum of squares that does something at its 500th evaluation without a graph."""
    def __init__(self, then):
        self.then, self.calls = then, 0
    def __call__(self, x):
        self.calls += not torch.is_grad_enabled()
        if self.calls == 500:
            self.then()
        return x.square().sum(-1)

def tired():
    raise ArithmeticError("tired")

def problem(then, dtype, device, generator):
    return Problem(Squares(then), torch.randn(4, 3, generator=generator).to(device, dtype))

def steady(dtype, device, generator):
    """Squares."""
    return problem(lambda: None, dtype, device, generator)

def tires(dtype, device, generator):
    """Squares that raise."""
    return problem(tired, dtype, device, generator)

def meddles(dtype, device, generator):
    """Squares that draw a random number."""
    return problem(lambda: torch.rand(1), dtype, device, generator)
'''


def ran(folder: Path, only: str, *names: str) -> list[dict[str, Any]]:
    """The rows of a pass over these workloads, without those of the controls."""
    (folder / "net.py").write_text(WORKLOADS)
    workloads = [f"--workload={folder}/net.py:{name}" for name in names]
    done = command(
        *("bench", "run", *workloads, "--passes", "1", "--only", only),
        *("--results", str(folder)),
    )
    assert done.stdout.strip(), done.stderr
    lines = map(json.loads, Path(done.stdout.strip()).read_text().splitlines())
    return [line for line in lines if line["kind"] == "row" and line["operator"] != "control"]


def test_a_process_times_the_f_of_a_problem_once(tmp_path: Path) -> None:
    rows = ran(tmp_path, "gradient/", "steady")
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    assert len(rows) > 1
    assert len({json.dumps([row["forward_s"], row["forward_cpu_s"]]) for row in rows}) == 1
    # Ten rounds of 5 ms.
    assert max(row["spent_s"]["forward"] for row in rows) > 0.05


def test_what_f_does_while_it_is_timed_is_the_cases_own(tmp_path: Path) -> None:
    rows = ran(tmp_path, "gradient/autograd-grad/", "tires", "meddles")
    found = {row["workload"]: (row["status"], row["reason"]) for row in rows}
    assert found == {
        "tires": ("error", "ArithmeticError: tired"),
        "meddles": ("error", "changed global RNG"),
    }
    assert not any("forward_s" in row for row in rows)
