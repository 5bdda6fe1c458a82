"""The gate on counters: what it writes, what it calls a difference, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from processes import command

from bench import expected
from bench.__main__ import main
from bench.counted import counted_rows
from bench.grid import blocks, cases
from strategies import STRATEGIES

ONLY = "gradient/"
CASE = "gradient/autograd-grad/mlp-scalar/n=6/B=4/float32/cpu"
WORDS = "gradient autograd-grad mlp-scalar n=6 B=4"
Own = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def counted() -> Own:
    """The counters of a few cases of the smoke grid."""
    rows = counted_rows(cases(blocks("smoke"), only=[ONLY]))
    found = {name: dict(own) for name, own in expected.ok(rows).items()}
    assert len(found) == 4
    return found


def check(*more: str) -> int:
    return main(["counters", "--check", "--grid", "smoke", "--only", ONLY, *more])


def _more(own: Own) -> None:
    own[CASE]["ops"] += 12_000


def _fewer(own: Own) -> None:
    own[CASE]["ops"] -= 1


def _several(own: Own) -> None:
    own[CASE]["flops"] = 0
    own[CASE]["train_peak_bytes"] = 1_234


def _gone(own: Own) -> None:
    own[CASE.replace("autograd-grad", "of-before")] = own[CASE]


def _new(own: Own) -> None:
    del own[CASE]


def _same(own: Own) -> None:
    own["hessian/of-before/not-asked-for"] = {"ops": 1}


# A change of the file, and the lines that must be printed, made of the case's own counters.
CHANGES: dict[str, tuple[Callable[[Own], None], Callable[[dict[str, int]], list[str]]]] = {
    "same": (_same, lambda own: []),
    "fewer than expected": (
        _more,
        lambda own: [f"{WORDS}: ops {own['ops'] + 12_000:,} → {own['ops']}"],
    ),
    "more than expected": (_fewer, lambda own: [f"{WORDS}: ops {own['ops'] - 1} → {own['ops']}"]),
    "several": (
        _several,
        lambda own: [f"{WORDS}: flops 0 → {own['flops']:,}, train_peak_bytes 1,234 → –"],
    ),
    "removed": (
        _gone,
        lambda own: ["gradient of-before mlp-scalar n=6 B=4: expected, and no such case any more"],
    ),
    "new": (_new, lambda own: [f"{WORDS}: new, not among the expected"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_difference_is_a_line_and_exit_1(
    counted: Own, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    edit, said = CHANGES[change]
    known = {name: dict(own) for name, own in counted.items()}
    edit(known)
    expected.write(tmp_path / "expected.json", known)
    code = check("--counters", str(tmp_path / "expected.json"))
    lines = said(counted[CASE])
    assert capsys.readouterr().out.splitlines() == lines
    assert code == (1 if lines else 0)


def test_numbers_have_separators(counted: Own) -> None:
    row = {"status": "ok", "counters": {**counted[CASE], "ops": 2_290}}
    before = {CASE: {**counted[CASE], "ops": 54}}
    assert expected.differences(before, {CASE: row}) == [f"{WORDS}: ops 54 → 2,290"]


@pytest.mark.parametrize(
    ("status", "known", "lines"),
    [
        ("unsupported", True, 1),
        ("unsupported", False, 0),
        ("error", True, 1),
        ("error", False, 1),
        ("oom", False, 1),
    ],
)
def test_what_is_not_counted_any_more_says_why(status: str, known: bool, lines: int) -> None:
    """A refusal that nobody expected otherwise is none of the gate's business; an error is."""
    row = {"status": status, "reason": "the reason"}
    found = expected.differences({CASE: {"ops": 1}} if known else {}, {CASE: row})
    assert found == [f"{WORDS}: {status}: the reason"] * lines


def test_cases_differ_in_words(counted: Own) -> None:
    for grid in ("counters", "full"):
        ids = [case.id for case in cases(blocks(grid))]
        assert len({expected.words(name) for name in ids}) == len(set(ids))


def test_a_file_is_a_case_a_line_in_order(counted: Own, tmp_path: Path) -> None:
    path = tmp_path / "new" / "expected.json"
    expected.write(path, dict(reversed(counted.items())))
    lines = path.read_text().splitlines()
    assert [lines[0], lines[-1]] == ["{", "}"]
    assert [line.split('"')[1] for line in lines[1:-1]] == sorted(counted)
    assert expected.read(path) == counted


def _in(folder: Path, text: str) -> str:
    path = folder / "expected.json"
    path.write_text(text)
    return str(path)


# Arguments, and what the one line on stderr says, where there are the counters of another torch.
USAGE: dict[str, tuple[Callable[[Path], Sequence[str]], str]] = {
    "no file": (
        lambda d: ["--check"],
        f"bench: no expected counters for torch {expected.RELEASE} at "
        f"tests/counters/torch-{expected.RELEASE}-cpu.json; tests/counters has "
        "torch-2.0.1-cpu.json; `make counters` writes them\n",
    ),
    "no file of one's own": (
        lambda d: ["--check", "--counters", "mine.json"],
        "; `python -m bench counters --counters mine.json` writes them\n",
    ),
    "unknown grid": (
        lambda d: ["--check", "--grid", "huge", "--counters", _in(d, "{}")],
        "no grid 'huge'; known: smoke, default, full, choice, skewed, counters",
    ),
    "no JSON": (
        lambda d: ["--check", "--counters", _in(d, '{"a": ')],
        "expected.json holds no counters by case: ",
    ),
    "not by case": (
        lambda d: ["--check", "--counters", _in(d, '{"a": 1}')],
        "expected.json holds no counters by case: ",
    ),
    "not whole numbers": (
        lambda d: ["--check", "--counters", _in(d, '{"a": {"ops": 1.5}}')],
        "expected.json holds no counters by case: a counter is not a whole number",
    ),
    "a folder": (lambda d: ["--check", "--counters", str(d)], "cannot read "),
    "written where nothing can be": (
        lambda d: ["--grid", "smoke", "--counters", _in(d, "") + "/below.json"],
        "cannot write ",
    ),
    "a part": (lambda d: ["--only", "hessian/"], "a file holds every case of a grid: leave --only"),
    "own workload": (
        lambda d: ["--workload", "net.py:energy"],
        "--workload: name a file of your own with --counters FILE",
    ),
    "own both": (
        lambda d: ["--check", "--workload", "net.py:energy", "--strategies", "ways.py"],
        "--workload and --strategies: name a file of your own with --counters FILE",
    ),
    "nothing to count": (
        lambda d: [
            *("--check", "--grid", "default", "--only", "execution=compile"),
            *("--counters", _in(d, "{}")),
        ],
        "nothing to count: compile and cuda-graph show no operations",
    ),
}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the expected counters of another torch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests" / "counters").mkdir(parents=True)
    (tmp_path / "tests" / "counters" / "torch-2.0.1-cpu.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_one_line_and_exit_2(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, said = USAGE[case]
    code = main(["counters", *arguments(elsewhere)])
    found = capsys.readouterr()
    assert (code, found.out) == (2, "")
    assert found.err.startswith("bench: ")
    assert said in found.err
    assert found.err.count("\n") == 1


NET = '''
import torch

def bowl(dtype, device, generator):
    """A quadratic."""
    return (lambda x: x.square().sum(-1, keepdim=True)), torch.ones(2, 3, dtype=dtype)
'''

WAY = '''
import torch
from strategies import Operator, strategy

@strategy(Operator.GRADIENT, mode="reverse", sweep="loop", needs=["sum"])
def mine(f, inputs, options):
    """Mine."""
    return lambda x: torch.func.grad(lambda z: f(z).sum())(x)
'''


def test_a_users_repository_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "way.py").write_text(WAY)
    own = ["--workload", f"{tmp_path}/net.py:bowl", "--strategies", f"{tmp_path}/way.py"]
    path = tmp_path / "mine.json"
    wrote = command("bench", "counters", *own, "--counters", str(path))
    assert (wrote.returncode, wrote.stdout) == (0, f"{path}\n"), wrote.stderr
    case = json.loads(path.read_text())["gradient/mine/bowl/B=2/float32/cpu"]
    assert (case["calls"], case["result_bytes"]) == (1, 2 * 3 * 4)
    (tmp_path / "way.py").write_text(WAY.replace("(x)\n", "(x) + 0\n"))
    checked = command(
        "bench", "counters", "--check", *own, "--counters", str(path), "--only", "gradient/"
    )
    ops, elements, size = case["ops"], case["elements"], case["storage_bytes"]
    assert checked.stdout.startswith(f"gradient mine bowl B=2: ops {ops} → {ops + 1}")
    assert f", elements {elements} → {elements + 6}, storage_bytes {size} → " in checked.stdout
    assert checked.stdout.count("\n") == 1
    assert checked.returncode == 1


def test_faults_are_the_exit_code_of_writing(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "way.py").write_text(WAY.replace("lambda x: ", "lambda x: 1 / 0 + "))
    own = ["--workload", f"{tmp_path}/net.py:bowl", "--strategies", f"{tmp_path}/way.py"]
    wrote = command("bench", "counters", *own, "--counters", f"{tmp_path}/mine.json")
    assert "error: gradient/mine/bowl/B=2/float32/cpu" in wrote.stderr
    assert wrote.returncode == 1
    assert "gradient/mine" not in (tmp_path / "mine.json").read_text()


def test_the_grid_has_every_strategy_in_every_way_that_is_counted() -> None:
    found: dict[tuple[str, bool], set[object]] = {}
    for case in cases(blocks("counters")):
        way = found.setdefault((case.execution, case.create_graph), set())
        way.add((case.operator, case.strategy))
    assert set(found) == {(e, g) for e in ("eager", "traced") for g in (True, False)}
    assert all(way == set(STRATEGIES) for way in found.values())
