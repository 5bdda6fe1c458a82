"""The commands as a user runs them: own files, wrong input, lost processes, foreign packages."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import command

from bench.__main__ import main
from bench.controls import SIZES

STRATEGIES = '''
"""Ways of my own: one that works, and every way not to."""
import os, time
import torch
from strategies import Operator, Unsupported, strategy

def mine(prepare):
    return strategy(Operator.JACOBIAN, mode="forward", sweep="loop", needs=["sum"])(prepare)

@mine
def mine_columns(f, inputs, options):
    """My columns, one after the other."""
    def evaluate(x, *args):
        push = lambda v: torch.func.jvp(lambda z: f(z, *args), (x,), (v,))[1]
        return torch.stack([push(e.expand_as(x)) for e in torch.eye(x.shape[1], dtype=x.dtype)], -1)
    return evaluate

@mine
def mine_refuses(f, inputs, options):
    """Never."""
    raise Unsupported("not today; mine-columns works")

@mine
def mine_zeros(f, inputs, options):
    """Fast."""
    return lambda x, *args: x.new_zeros(*f(x, *args).shape, x.shape[1])

@mine
def mine_raises(f, inputs, options):
    """Raises."""
    def evaluate(x, *args):
        raise ArithmeticError("mine is broken")
    return evaluate

@mine
def mine_dies(f, inputs, options):
    """Ends its process."""
    return lambda x, *args: os._exit(7)

@mine
def mine_hangs(f, inputs, options):
    """Never returns."""
    def evaluate(x, *args):
        while True:
            time.sleep(0.1)
    return evaluate
'''

NETWORK = '''
import torch
from torch import nn

VERSION = 4

def my_saliency(dtype, device, generator):
    """A conv, GELU and LayerNorm on 3×8×8."""
    net = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.GELU(), nn.LayerNorm([2, 6, 6]), nn.Flatten(), nn.Linear(72, 2)
    )
    x = torch.randn(2, 3, 8, 8, generator=generator)
    return net.to(dtype=dtype, device=device), x.to(dtype=dtype, device=device)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's two files, and a foreign package of our own package's name."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "ways.py").write_text(STRATEGIES)
    (folder / "net.py").write_text(NETWORK)
    foreign = folder / "site" / "bench"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError('the foreign bench was imported')")
    return folder


@dataclass(frozen=True)
class Ran:
    done: subprocess.CompletedProcess[str]
    path: Path
    lines: list[dict[str, Any]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for row in self._rows() if row["operator"] != "control"]

    @property
    def controls(self) -> list[dict[str, Any]]:
        return [row for row in self._rows() if row["operator"] == "control"]

    def _rows(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == "row"]

    def row(self, strategy: str) -> dict[str, Any]:
        return next(row for row in self.rows if row["strategy"] == strategy)


@pytest.fixture(scope="module")
def ran(own: Path) -> Ran:
    """One run over the user's network and strategies, with the foreign package installed."""
    done = command(
        *("bench", "run", "--workload", f"{own}/net.py:my_saliency", "--passes", "1"),
        *("--strategies", f"{own}/ways.py", "--only", "jacobian/mine-"),
        *("--limit", "25", "--results", f"{own}/results"),
        PYTHONPATH=f"{own}/site",
        NO_COLOR="1",
    )
    path = Path(done.stdout.strip())
    assert path.is_file(), done.stderr
    return Ran(done, path, [json.loads(line) for line in path.read_text().splitlines()])


EXPECTED = {
    "mine-columns": ("ok", ""),
    "mine-refuses": ("unsupported", "not today; mine-columns works"),
    "mine-zeros": ("wrong", "relative error 1.0e+00 against the reference, above 1e-04"),
    "mine-raises": ("error", "ArithmeticError: mine is broken"),
    "mine-dies": ("crashed", "the process was lost: exited with code 7"),
    "mine-hangs": ("timeout", "longer than 25 s"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_case_leaves_a_row(ran: Ran, name: str) -> None:
    row, (status, reason) = ran.row(name), EXPECTED[name]
    assert row["status"] == status
    assert row["reason"].startswith(reason)
    assert bool(row.get("wall_s")) == (status == "ok")


def test_a_file_begins_with_its_run_and_ends(ran: Ran) -> None:
    kinds = Counter(line["kind"] for line in ran.lines)
    assert (ran.lines[0]["kind"], ran.lines[-1]["kind"]) == ("run", "end")
    timed = len(EXPECTED) + len(SIZES)
    assert kinds == {"run": 1, "end": 1, "started": timed, "row": timed}
    assert ran.lines[-1]["rows"] == timed


def test_every_pass_measures_the_machine_too(ran: Ran) -> None:
    found = {(row["strategy"], row["n"]): row for row in ran.controls}
    assert found.keys() == set(SIZES)
    assert all(row["status"] == "ok" and min(row["wall_s"]) > 0 for row in ran.controls)
    # In the order of the pass, not all of them behind the cases.
    assert {row["order"] for row in ran.controls} != set(range(len(EXPECTED), len(EXPECTED) + 4))


def test_faults_are_the_exit_code_and_are_named_at_once(ran: Ran) -> None:
    assert ran.done.returncode == 1
    said = set(ran.done.stderr.splitlines())
    for name, (status, _) in EXPECTED.items():
        named = f"{status}: jacobian/{name}/my-saliency/B=2/float32/cpu"
        assert (named in said) == (status not in ("ok", "unsupported"))
    assert "\x1b" not in ran.done.stderr


def test_an_ok_row_is_complete(ran: Ran) -> None:
    row = ran.row("mine-columns")
    assert row["in_shape"] == [3, 8, 8]
    assert len(row["wall_s"]) == len(row["cpu_s"]) >= 3
    assert len(row["forward_s"]) == len(row["forward_cpu_s"]) >= 3
    assert row["spent_s"]["forward"] > 0
    assert row["loops"] >= 1
    assert row["warmup"] >= 3
    assert set(row["counters"]) == {
        *("flops", "ops", "elements", "calls", "fallbacks"),
        *("storage_bytes", "peak_bytes", "result_bytes", "forward_flops", "forward_ops"),
    }
    assert row["error"]["relative"] <= row["error"]["tolerance"]
    assert row["prepare_s"] > 0
    assert row["first_s"] > 0
    assert ran.lines[0]["workloads"]["my-saliency"]["version"] == 4


def test_the_users_files_are_on_the_page(ran: Ran) -> None:
    page = ran.path.with_suffix(".html")
    done = command("reports", "html", str(ran.path))
    assert done.stdout.strip() == str(page), done.stderr
    text = page.read_text()
    for said in ("mine-columns", "My columns, one after the other.", "A conv, GELU and LayerNorm"):
        assert said in text
    for status in ("unsupported", "wrong", "error", "crashed", "timeout"):
        assert f">{status}</td>" in text


def test_the_users_files_are_checked(own: Path) -> None:
    done = command(
        *("bench", "check", "--workload", f"{own}/net.py:my_saliency"),
        *("--strategies", f"{own}/ways.py", "--only", "jacobian/mine-columns"),
        *("--dtype", "float64"),
    )
    assert done.returncode == 0, done.stdout
    assert "jacobian/mine-columns/my-saliency/B=2/float64/cpu  ok" in done.stdout
    assert "worst entry  tolerance  reference's own" in done.stdout
    assert done.stdout.endswith("1 ok\n")


@pytest.fixture(scope="module")
def harness(own: Path) -> Path:
    """`pytest bench` alone, as the README has it."""
    target = own / "x.json"
    done = command(
        *("pytest", "bench", "-k", "vmap-jacrev", f"--benchmark-json={target}"),
        PYTHONPATH=f"{own}/site",
    )
    assert done.returncode == 0, done.stdout
    return target


def test_the_harness_is_plain_pytest_benchmark(harness: Path) -> None:
    found = json.loads(harness.read_text())["benchmarks"]
    assert [b["param"] for b in found] == ["jacobian/vmap-jacrev/mlp-square/n=8/B=4/float32/cpu"]
    info = found[0]["extra_info"]
    assert (info["operator"], info["strategy"]) == ("jacobian", "vmap-jacrev")
    assert info["error"]["relative"] < 1e-4


def test_pytest_benchmark_compares_what_the_harness_wrote(harness: Path) -> None:
    done = command("pytest_benchmark", "compare", str(harness))
    assert done.returncode == 0, done.stderr
    assert "vmap-jacrev" in done.stdout


def test_list_prints_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--only", "jacobian/vmap-jac"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "jacobian/vmap-jacrev/mlp-square/n=8/B=4/float32/cpu",
        "jacobian/vmap-jacfwd/mlp-square/n=8/B=4/float32/cpu",
    ]


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


USAGE = {
    "grid": (lambda d: ["--grid", "huge"], "no grid 'huge'; known: smoke, default, full"),
    "selection": (lambda d: ["--only", "nope"], "no case matches 'nope'"),
    "results": (
        lambda d: ["--results", _file(d, "taken", "a file")],
        "cannot write ",
    ),
    "workload-raises": (
        lambda d: ["--workload", _file(d, "bad.py", "1 / 0") + ":net"],
        "raises ZeroDivisionError: division by zero",
    ),
    "workload-missing": (lambda d: ["--workload", f"{d}/none.py:net"], "no workload file "),
    "strategies-empty": (
        lambda d: ["--strategies", _file(d, "empty.py", "")],
        "adds no strategy: decorate a function with @strategy",
    ),
    "strategies-raise": (
        lambda d: ["--strategies", _file(d, "bad.py", "import nowhere")],
        "raises ModuleNotFoundError: No module named 'nowhere'",
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_input_is_one_line_and_exit_2(
    tmp_path: Path,
    case: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of the cores that other runs have claimed, a run would say a line more.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arguments, said = USAGE[case]
    code = main(["run", *arguments(tmp_path)])
    check_refused(code, *capsys.readouterr(), said)


def test_the_process_ends_as_its_command_does(tmp_path: Path) -> None:
    arguments, said = USAGE["workload-raises"]
    done = command("bench", "run", *arguments(tmp_path))
    check_refused(done.returncode, done.stdout, done.stderr, said)


def check_refused(code: int, out: str, err: str, said: str) -> None:
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bench: ")
    assert said in err
