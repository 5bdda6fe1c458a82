"""`python -m bench advise`: what is measured of a user's function, and the line to paste."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import command
from torch import nn

from bench import advise, judge
from bench import shortlist as listing
from bench.__main__ import main
from bench.case import Case
from bench.record import lines
from bench.runner import Outcome
from bench.shortlist import Shortlist, shortlist
from bench.workloads import WORKLOADS
from reports.schema import DEFAULTS, LOOPS, contest_id
from strategies import STRATEGIES, Operator

NETWORK = '''
import torch
from torch import nn

def saliency(dtype, device, generator):
    """A conv net, 2×5×5 to 3."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(27, 3))
    x = torch.randn(2, 2, 5, 5, generator=generator)
    return net.to(dtype=dtype, device=device), x.to(dtype=dtype, device=device)
'''


@pytest.mark.parametrize("operator", list(Operator))
def test_what_one_does_without_looking_is_there(operator: Operator) -> None:
    assert STRATEGIES[operator, LOOPS[operator]].exact
    assert STRATEGIES[operator, DEFAULTS[operator]].exact


SQUARE = ("mlp-square", 2, (3,), (3,))
ASKED = [Case(op, "", *SQUARE, params={"n": 3}) for op in (Operator.JACOBIAN, Operator.HESSIAN)]


def listed(budget_s: float, *, named: bool = False) -> Shortlist:
    return shortlist(ASKED, 3, budget_s, named=named)


def test_the_plain_loop_and_the_default_are_among_them() -> None:
    found = listed(1000.0)
    assert found.left_out == ()
    for case in ASKED:
        names = [c.strategy for c in found.cases if c.operator == case.operator]
        assert {LOOPS[case.operator], DEFAULTS[case.operator]} <= set(names)
        assert len(names) == len(set(names)) >= 3


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One evaluation of f takes a tenth of a second, and no loop is among the finalists."""
    monkeypatch.setattr(listing, "finalists", lambda setting, _: [DEFAULTS[setting.operator]])
    monkeypatch.setattr(listing, "forward_seconds", lambda *_: ([0.1], [0.1]))


@pytest.mark.usefixtures("slow")
def test_what_does_not_fit_is_left_out_and_said() -> None:
    found = listed(35.0)
    assert {case.operator for case in found.cases} == {Operator.JACOBIAN}
    assert [re.sub(r"\d+", "N", line) for line in found.left_out] == ["N s: hessian"]


@pytest.mark.usefixtures("slow")
def test_operators_that_were_named_stay_without_their_loops() -> None:
    found = listed(1.0, named=True)
    names = {(case.operator, case.strategy) for case in found.cases}
    assert {operator for operator, _ in names} == {case.operator for case in ASKED}
    left = {line.partition(": ")[2] for line in found.left_out}
    assert left == {f"{case.operator}/{LOOPS[case.operator]}" for case in ASKED}
    assert not {(case.operator, LOOPS[case.operator]) for case in ASKED} & names


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's function, which is a workload for this module only."""
    folder = tmp_path_factory.mktemp("advised")
    (folder / "net.py").write_text(NETWORK)
    yield folder
    WORKLOADS.pop("saliency", None)


WRONG = {
    "file": (["--workload", "none.py:net"], "no workload file none.py"),
    "function": (["--workload", "{}/net.py:nothing"], "there are: saliency"),
    "operator": (
        ["--workload", "{}/net.py:saliency", "--operator", "slope"],
        "no operator 'slope'; known: gradient, vjp, ",
    ),
    "shape": (
        ["--workload", "{}/net.py:saliency", "--operator", "divergence"],
        "divergence: ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_2(
    own: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, said = WRONG[case]
    assert main(["advise", *(text.format(own) for text in arguments)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("bench: ")
    assert said in err


@pytest.mark.parametrize("options", [[], ["--create-graph"]])
def test_the_answer_is_for_the_purpose_that_was_measured(
    own: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def measured(given: Any, found: Sequence[Case], name: str) -> Outcome:
        seen.append({case.create_graph for case in found})
        return Outcome(own / "run.jsonl", {"ok": len(found)})

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        seen.append(arguments)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(advise, "measured", measured)
    monkeypatch.setattr(judge, "ask", ask)
    assert main(["advise", "--workload", f"{own}/net.py:saliency", *options]) == 0
    assert seen == [{bool(options)}, ("advise", f"{own}/run.jsonl", *options)]


@pytest.fixture(scope="module")
def advised(own: Path) -> subprocess.CompletedProcess[str]:
    """One operator in one pass, as a user asks."""
    return command(
        *("bench", "advise", "--workload", f"{own}/net.py:saliency", "--operator", "jacobian"),
        *("--passes", "1", "--results", f"{own}/results"),
    )


def test_one_contest_is_measured_of_each_operator(
    own: Path, advised: subprocess.CompletedProcess[str]
) -> None:
    (path,) = (own / "results").glob("*.jsonl")
    rows = [line for line in lines(path) if line["kind"] == "row" and line["params"] == {}]
    rows = [row for row in rows if row["operator"] != "control"]
    assert {contest_id(row) for row in rows} == {"jacobian/saliency/B=2/float32/cpu"}
    assert {row["status"] for row in rows} == {"ok"}, advised.stderr


def test_it_says_how_long_it_took_and_where_the_file_is(
    own: Path, advised: subprocess.CompletedProcess[str]
) -> None:
    last = advised.stderr.strip().splitlines()[-1]
    assert re.fullmatch(rf"bench: \d+ s, 1 pass; {re.escape(str(own))}/results/\S+\.jsonl", last)


def test_the_printed_line_runs(advised: subprocess.CompletedProcess[str]) -> None:
    assert advised.returncode == 0, advised.stderr
    found = re.search(r"(from strategies import (\w+))\s*[;\n]\s*(\2\(.*\))", advised.stdout)
    assert found, advised.stdout
    f, x = nn.Sequential(nn.Flatten(), nn.Linear(50, 3), nn.Tanh()), torch.randn(2, 2, 5, 5)
    names = {"f": f, "x": x}
    exec(found[1], names)
    assert eval(found[3], names).shape == (2, 3, 2, 5, 5)
