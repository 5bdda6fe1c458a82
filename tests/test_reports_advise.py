"""`python -m reports advise`: the nearest measured problems, who wins there, and what is said."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import rows, write
from processes import ROOT, command

import strategies
from reports import asked as asked_module
from reports import words
from reports.__main__ import main
from reports.advise import advise
from reports.advise_text import text
from reports.asked import AdviseError, Asked, published
from reports.load import Run, load
from strategies import Operator

# Of a Laplacian: seconds at n = 16, which grow with n.
SECONDS = {
    "closed-form": 1e-4,
    "forward-laplacian": 2e-4,
    "nested-jvp": 2e-4,
    "loop-double-backward": 9e-4,
}
PEAKS = {"closed-form": 4000, "forward-laplacian": 3000, "nested-jvp": 2000}
NEEDS = {"closed-form": ["chain", "sum"], "forward-laplacian": ["rows"], "nested-jvp": ["sum"]}


def lines(sizes: tuple[int, ...] = (8, 32), **fields: Any) -> list[dict[str, Any]]:
    made = rows(
        lambda name, n: SECONDS[name] * n / 16,
        **{"strategies": list(SECONDS), "sizes": sizes, "operator": "laplacian", "passes": 4},
        **fields,
    )
    for row in made:
        row |= {"m": 1, "out_shape": [1]}
        row["counters"] = {"ops": 10, "peak_bytes": PEAKS.get(row["strategy"], 9000)}
    return made


def described() -> dict[str, Any]:
    return {
        "strategies": {
            f"laplacian/{name}": {"operator": "laplacian", "name": name, "needs": needs}
            for name, needs in NEEDS.items()
        }
    }


def made(folder: Path, *parts: list[dict[str, Any]], name: str = "run.jsonl") -> Path:
    return write(folder / name, [row for part in parts for row in part], **described())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(made(tmp_path, lines()))


def best(run: Run, **fields: Any) -> tuple[int, str | None]:
    """Of the one problem that answers its n, and who is the best."""
    (found,) = advise([run], Asked("laplacian", **fields))
    return int(found.problem["n"]), None if found.best is None else str(found.best.case["way"])


# Which problems are meant.


@pytest.mark.parametrize(("n", "nearest"), [(1, 8), (15, 8), (17, 32), (1000, 32)])
def test_the_nearest_is_by_ratios(run: Run, n: int, nearest: int) -> None:
    assert best(run, n=n) == (nearest, "closed-form")


def test_what_is_as_near_is_all_told(run: Run) -> None:
    found = advise([run], Asked("laplacian", n=16))
    assert [int(each.problem["n"]) for each in found] == [8, 32]
    assert "Best, or tied with the best, in all of these: closed-form." in text(found, Asked(n=16))


@pytest.mark.parametrize(
    ("n", "B", "said"),
    [
        (8, 4, "measured exactly: net, n=8, m=1, B=4, float32"),
        (50, 256, "nearest measured: net, n=32 (asked 50), m=1, B=4 (asked 256), float32"),
    ],
)
def test_how_near_is_said(run: Run, n: int, B: int, said: str) -> None:
    asked = Asked("laplacian", n=n, m=1, B=B)
    assert said in " ".join(text(advise([run], asked), asked).split())


def test_another_dtype_is_as_far_as_twice_a_size(tmp_path: Path) -> None:
    found = load(made(tmp_path, lines((8,)), lines((32,), dtype="float64")))
    for n, dtype in ((22, "float32"), (23, "float64")):
        asked = Asked("laplacian", n=n, dtype="float32")
        (answer,) = advise([found], asked)
        assert answer.problem["dtype"] == dtype
        assert ("(asked float32)" in text([answer], asked)) == (dtype == "float64")


def test_without_a_dtype_float32_comes_first(tmp_path: Path) -> None:
    found = load(made(tmp_path, lines((8,), dtype="float64"), lines((8,))))
    (answer,) = advise([found], Asked("laplacian", n=8))
    assert answer.problem["dtype"] == "float32"


def test_training_and_sparse_results_are_other_questions(tmp_path: Path) -> None:
    trained = lines((8,), create_graph=True, train_s=[1.0])
    found = load(made(tmp_path, lines((32,)), trained))
    assert best(found, n=8)[0] == 32
    assert best(found, n=32, create_graph=True)[0] == 8


def test_what_was_asked_of_a_few_strategies_is_not_the_nearest(tmp_path: Path) -> None:
    few = [row for row in lines((16,)) if row["strategy"] == "nested-jvp"]
    assert best(load(made(tmp_path, lines((8,)), few)), n=16) == (8, "closed-form")


def test_choosers_and_failures_are_no_answer(tmp_path: Path) -> None:
    auto = [
        row | {"strategy": "auto-race", "chosen": "closed-form", "wall_s": [1e-9]}
        for row in lines((8,))
        if row["strategy"] == "closed-form"
    ]
    failed = [
        row | ({"status": "error"} if row["strategy"] == "closed-form" else {})
        for row in lines((8,))
    ]
    assert best(load(made(tmp_path, lines((8,)), auto)), n=8)[1] == "closed-form"
    assert best(load(made(tmp_path, failed)), n=8)[1] in ("forward-laplacian", "nested-jvp")


# Who wins there, and what is said of it.


def test_a_way_for_some_f_is_followed_by_one_for_any(run: Run) -> None:
    (found,) = advise([run], Asked("laplacian", n=8))
    said = text([found], Asked("laplacian", n=8))
    assert "use closed-form, if f is a chain of affine and elementwise layers" in said
    assert found.general is not None
    assert found.general.case["way"] in ("forward-laplacian", "nested-jvp")
    ratio, low, high = found.general.ratio
    assert low < 2 < high
    assert ratio == pytest.approx(2, rel=0.05)
    assert f"otherwise {found.general.case['way']}\n" in said
    assert f"over the first  {words.factor(ratio)} ({words.factor_interval(low, high)})" in said


def test_of_ones_own_function_what_a_way_needs_is_met(tmp_path: Path) -> None:
    run = load(write(tmp_path / "run.jsonl", lines((8,)), **described(), grid="own"))
    said = text(advise([run], Asked()), Asked())
    assert "use closed-form, since f is a chain of affine and elementwise layers" in said
    assert re.search(r"^should that change, (nested-jvp|forward-laplacian)$", said, re.MULTILINE)
    assert "Another f may differ" not in said
    assert "Another f may differ" in text(advise([load(made(tmp_path, lines()))], Asked()), Asked())


def test_ties_are_named(run: Run) -> None:
    (found,) = advise([run], Asked("laplacian", n=8))
    assert found.general is not None
    tied = {"forward-laplacian", "nested-jvp"}
    assert {str(found.general.case["way"]), *found.general.margin["ties"]} == tied
    (other,) = found.general.margin["ties"]
    assert re.search(rf"ties with +{other}\n", text([found], Asked()))


def test_the_margin_has_its_interval(run: Run) -> None:
    (found,) = advise([run], Asked("laplacian", n=8))
    assert re.search(
        r"next best +[a-z-]+ takes [12]\.\d+× \([12]\.\d+× to [12]\.\d+×\)", text([found], Asked())
    )


def test_one_pass_is_not_judged(tmp_path: Path) -> None:
    one = [row for row in lines((8,)) if row["pass"] == 0]
    (found,) = advise([load(made(tmp_path, one))], Asked("laplacian", n=8))
    assert "one pass: not judged" in text([found], Asked())


def test_memory_leaves_out_what_takes_more(run: Run) -> None:
    asked = Asked("laplacian", n=8, memory_bytes=3500)
    (found,) = advise([run], asked)
    assert set(found.large) == {"closed-form", "loop-double-backward"}
    assert found.best is not None
    assert found.best.case["way"] in ("forward-laplacian", "nested-jvp")
    assert "at the measured sizes above 3.42 KiB: closed-form 3.91 KiB" in " ".join(
        text([found], asked).split()
    )


def test_where_nothing_fits_nothing_is_recommended(run: Run) -> None:
    asked = Asked("laplacian", n=8, memory_bytes=10)
    said = text(advise([run], asked), asked)
    assert "No way that was measured there fits." in said
    assert "use " not in said


def test_memory_at_another_batch_is_called_an_estimate(run: Run) -> None:
    asked = Asked("laplacian", n=8, B=8, memory_bytes=5000)
    said = " ".join(text(advise([run], asked), asked).split())
    assert "3.91 KiB as measured; an estimate of 7.81 KiB at B=8 if it grows with B" in said
    assert "more than what was asked for" in said


def test_a_way_that_needs_other_sizes_is_left_out(tmp_path: Path) -> None:
    scalar = {"laplacian/closed-form": {"needs": ["scalar"]}}
    path = write(tmp_path / "run.jsonl", lines((8,)), strategies=scalar)
    (found,) = advise([load(path)], Asked("laplacian", n=8, m=3))
    assert found.unfit == {"closed-form": "m = 1"}
    assert found.best is not None
    assert found.best.case["way"] != "closed-form"


def test_another_execution_that_is_faster_is_named(tmp_path: Path) -> None:
    traced = [
        row | {"execution": "traced", "wall_s": [s / 10 for s in row["wall_s"]]}
        for row in lines((8,))
        if row["strategy"] == "nested-jvp"
    ]
    run = load(made(tmp_path, lines((8,)), traced))
    assert "faster still: nested-jvp execution=traced takes 0.20× the time" in " ".join(
        text(advise([run], Asked("laplacian")), Asked()).split()
    )
    (found,) = advise([run], Asked("laplacian", execution="traced"))
    assert found.best is not None
    assert found.best.case["way"] == "nested-jvp execution=traced"


def test_the_code_runs_as_pasted() -> None:
    layers = (torch.nn.Linear(3, 5), torch.nn.Tanh())
    scalar, square = (torch.nn.Sequential(*layers, torch.nn.Linear(5, m)) for m in (1, 3))
    x = torch.randn(4, 3)
    asked = Asked(m=1, n=8, B=16)
    said = text(advise([load(path) for path in published()], asked), asked)
    calls = re.findall(r"^    (from .*)\n((?:    .*\n)+)", said, re.MULTILINE)
    assert len(calls) >= len(Operator) - 1
    for imported, call in calls:
        f, v = square if "divergence" in call else scalar, torch.randn(4, 1 if "vjp" in call else 3)
        exec(f"{imported}\n{textwrap.dedent(call)}", {"f": f, "x": x, "v": v})


def test_a_long_call_is_broken(tmp_path: Path) -> None:
    chunked = [row | {"chunk": "12345.678 GiB", "create_graph": True} for row in lines((8,))]
    for row in chunked:
        row["train_s"] = row["wall_s"]
    asked = Asked(create_graph=True)
    said = text(advise([load(made(tmp_path, chunked))], asked), asked)
    inside = 'f, x, strategy="closed-form", chunk="12345.678 GiB", create_graph=True'
    assert f"    laplacian(\n        {inside}\n    )\n" in said


def test_every_need_has_its_sentence() -> None:
    from reports.advise_text import _NEEDS

    assert {need for found in strategies.STRATEGIES.values() for need in found.needs} <= set(_NEEDS)


# The command.


def test_a_run_alone_answers_every_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = rows(lambda name, n: 1e-3, strategies=["loop-grad", "vmap-jacrev"], sizes=[8])
    assert main(["advise", str(made(tmp_path, lines((8,)), other))]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^[a-z]+ on cpu, eager$", said, re.MULTILINE) == [
        *("jacobian on cpu, eager", "laplacian on cpu, eager"),
    ]
    assert said.count("\nmeasured: net, n=8") == 2


def test_many_problems_have_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", str(made(tmp_path, lines((4, 8, 16, 32))))]) == 0
    said = capsys.readouterr().out
    assert "4 problems; --n, --m, --batch would choose among them" in said
    assert len(re.findall(r"^    closed-form [\d.]+ µs", said, re.MULTILINE)) == 4


def test_two_runs_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(tmp_path, lines((8,)))
    second = write(tmp_path / "b.jsonl", lines((8,)), **described(), run="another")
    assert main(["advise", str(first), str(second), "--n", "8"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.findall(r"run (\S+)", said) == ["20260101T000000Z-0123abcd", "another"]


WRONG = {
    "operator": (["--operator", "laplace"], "no operator laplace; known: gradient, "),
    "unmeasured": (["--operator", "hvp"], "no case of the hvp there; measured: laplacian"),
    "device": (["--device", "cuda"], "no run on cuda was given, only on cpu: give one"),
    "graph": (["--create-graph"], "ask without --create-graph"),
    "layout": (["--layout", "sparse"], "no such case is sparse; measured: dense"),
    "execution": (["--execution", "compile"], "no such case runs compile; measured: eager"),
    "memory": (["--memory", "lots"], "memory reads like"),
    "size": (["--n", "0"], "--n is a number of at least 1, not 0"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_has_no_answer_is_one_line_and_exit_2(
    run: Run, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["advise", str(run.path), *given]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert said in shown.err


def test_a_run_without_a_time_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path, lines((8,), status="error", wall_s=[]))
    assert main(["advise", str(path)]) == 2
    assert "no such case has a time" in capsys.readouterr().err


def test_without_a_run_the_published_one_answers() -> None:
    asked = ["--operator", "laplacian", "--n", "50", "--m", "1", "--batch", "256"]
    done = command("reports", "advise", *asked, "--memory", "8GiB")
    assert done.returncode == 0, done.stderr
    assert "(asked 50), m=1" in done.stdout
    assert 'laplacian(f, x, strategy="' in done.stdout


def test_without_published_runs_it_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdviseError, match=r"no published run in .*: give a result file"):
        published(tmp_path)
    assert asked_module.PUBLISHED == ROOT / "docs" / "published"


def test_the_published_answers_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ([], ["--n", "8"], ["--create-graph"], ["--memory", "100kB"]):
        assert main(["advise", *given]) == 0
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("given", "size"),
    [("8GiB", 8 * 2**30), ("500MB", 500 * 10**6), (" 1.5 KiB ", 1536), ("1000", 1000)],
)
def test_bytes_are_read_as_people_give_them(given: str, size: int) -> None:
    assert words.bytes_of(given) == size


@pytest.mark.parametrize("given", ["", "0", "8 XB", "-1", "GiB"])
def test_what_is_no_number_of_bytes_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="memory reads like"):
        words.bytes_of(given)
