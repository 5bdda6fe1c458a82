"""Planted histories: which steps are found, where series are cut, and what the command says."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import zip_longest
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_runs import header, rows, write
from processes import ROOT

from reports.__main__ import main
from reports.cuts import fingerprint
from reports.history import History, breaks, history, noise, points
from reports.history_files import FORMS, markdown, read, trends
from reports.load import load

CASE = "jacobian/a/net/n=16/B=4/float32/cpu"
CONTROL = "control/gemm/net/n=16/B=4/float32/cpu"
Times = Sequence[float | None]


def lines(seconds: dict[str, float | None], **fields: Any) -> list[dict[str, Any]]:
    """Rows of one run; a case without seconds has none, `gemm` is a control."""
    there = {name: value for name, value in seconds.items() if value is not None}
    found = rows(lambda s, n: there[s], strategies=list(there), noise=0, **fields)
    for line in found:
        line["operator"] = "control" if line["strategy"] == "gemm" else line["operator"]
    return found


def stored(folder: Path, k: int, made: list[dict[str, Any]], **changed: Any) -> Path:
    """The run of day k."""
    day = date(2026, 1, 1) + timedelta(days=k)
    own = {"run": f"run-{k:03}", "started": f"{day}T00:00:00Z", "commit": f"{k:08x}cafe"}
    # The name tells nothing of the order, and runs the other way.
    return write(folder / f"{999 - k}.jsonl", made, **{**own, **changed})


def runs(
    folder: Path, change: Callable[[int], dict[str, Any]] = lambda k: {}, **cases: Times
) -> None:
    """A file a day, with what `change` says of that day's header."""
    for k, times in enumerate(zip_longest(*cases.values())):
        stored(folder, k, lines(dict(zip(cases, times, strict=True))), **change(k))


def noisy(
    runs_: int, step: float = 1.0, at: int = 0, sd: float = 0.01, seed: int = 0
) -> list[float]:
    draw = np.random.default_rng(seed)
    levels = np.where(np.arange(runs_) < at, 1e-3, 1e-3 * step)
    return [float(value) for value in levels * np.exp(draw.normal(0, sd, runs_))]


def elsewhere(**facts: Any) -> dict[str, Any]:
    return {"environment": {**header()["environment"], **facts}}


def found(folder: Path) -> History:
    whole, notes = read(folder)
    assert notes == ()
    return whole


@pytest.mark.parametrize("step", [1.1, 1 / 1.1, 3.0])
def test_a_planted_step_is_found_at_its_run_with_its_ratio(tmp_path: Path, step: float) -> None:
    times = noisy(20, step, at=12)
    runs(tmp_path, a=times)
    (only,) = found(tmp_path).steps.to_dict("records")
    assert (only["id"], only["run"], only["started"]) == (CASE, "run-012", "2026-01-13T00:00:00Z")
    assert (only["commit"], only["before"], only["after"]) == ("0000000ccafe", 12, 8)
    logs = np.log(times)
    assert only["ratio"] == pytest.approx(exp(logs[12:].mean() - logs[:12].mean()))
    assert only["ratio"] == pytest.approx(step, rel=0.015)
    assert only["low"] < step < only["high"]
    assert log(only["high"] / only["low"]) < 0.04
    assert only["after_s"] / only["before_s"] == pytest.approx(only["ratio"])


def test_up_and_down_again_are_two_steps_the_largest_first(tmp_path: Path) -> None:
    runs(tmp_path, a=noisy(8) + [1.2 * t for t in noisy(8, seed=1)] + [0.9 * t for t in noisy(8)])
    steps = found(tmp_path).steps
    assert list(steps["run"]) == ["run-016", "run-008"]
    assert list(steps["ratio"]) == pytest.approx([0.75, 1.2], rel=0.02)
    assert steps[["before", "after"]].to_numpy().tolist() == [[8, 8], [8, 8]]


def test_a_step_below_five_percent_is_none(tmp_path: Path) -> None:
    runs(tmp_path, a=noisy(40, 1.04, at=20, sd=0.001), b=noisy(40, 1.06, at=20, sd=0.001))
    assert list(found(tmp_path).steps["id"]) == [CASE.replace("/a/", "/b/")]


@pytest.mark.parametrize(("before", "after", "steps"), [(3, 3, 1), (2, 4, 0), (4, 2, 0), (2, 2, 0)])
def test_a_step_has_three_runs_on_each_side(
    tmp_path: Path, before: int, after: int, steps: int
) -> None:
    runs(tmp_path, a=noisy(before + after, 2.0, at=before, sd=0.001))
    there = found(tmp_path).steps
    assert len(there[there["before"] == before]) == steps


def test_one_odd_run_at_an_end_is_no_step(tmp_path: Path) -> None:
    """Three runs around it would be a level of their own, of which one run knows."""
    times = noisy(16, sd=0.005)
    times[-1] *= 1.8
    assert breaks(np.log(times)) == [13]
    runs(tmp_path, a=times)
    assert found(tmp_path).steps.empty


def test_noise_is_the_sd_whatever_one_step_does() -> None:
    logs = np.random.default_rng(0).normal(0, 0.05, 4001)
    assert noise(logs) == pytest.approx(0.05, rel=0.05)
    assert noise(logs + 3 * (np.arange(4001) > 2000)) == pytest.approx(noise(logs), rel=1e-3)
    assert noise(np.zeros(9)) == 0.013


def simulated(step: float, sd: float = 0.03, series: int = 200, length: int = 20) -> History:
    """As many series, which change by `step` in their middle."""
    draw = np.random.default_rng(7)
    logs = (
        draw.normal(0, sd, (length, series))
        + log(step) * (np.arange(length) >= length // 2)[:, None]
    )
    fixed = {"control": False, "machine": "m", "commit": "", "dirty": False}
    fixed |= {"version": "1", "contract": "1", "shape": ""}
    ids = [f"case-{k}" for k in range(series)]
    tables = [
        pd.DataFrame(
            {"id": ids, "seconds": np.exp(log_s), "run": f"{k:03}", "started": f"{k:03}", **fixed}
        )
        for k, log_s in enumerate(logs)
    ]
    return history(tables, {"m": {}})


def test_noise_alone_is_called_a_step_or_a_trend_in_few_series() -> None:
    whole = simulated(1.0)
    for what, ids in (("a step", whole.steps["id"]), ("a trend", trends(whole)["id"])):
        share = ids.nunique() / 200
        assert share <= 0.05, f"{what} in {share:.1%} of 200 unchanged series of 20 runs"


def test_ten_percent_is_found_in_noise_of_three() -> None:
    steps = simulated(1.1).steps
    near = steps[steps["position"].between(9, 11)]
    share = near["id"].nunique() / 200
    assert share >= 0.95, f"{share:.1%} of 200 series"
    assert near["ratio"].median() == pytest.approx(1.1, rel=0.01)


def test_the_documentation_has_these_figures() -> None:
    false, steps = simulated(1.0).steps["id"].nunique(), simulated(1.1).steps
    near = steps[steps["position"].between(9, 11)]["id"].nunique()
    exact = steps[steps["position"] == 10]["id"].nunique()
    page = (ROOT / "docs/regression-tracking.md").read_text(encoding="utf-8")
    page = " ".join(page.split())
    assert f"at 3 % of noise, {false} had a step." in page
    assert f"{near} of them had one within a run of it, {exact} at the very run." in page


def test_its_search_is_the_best_segmentation() -> None:
    """Against every segmentation into at most three parts, by its definition."""
    logs = np.random.default_rng(3).normal(0, 0.02, 14)
    logs[4:9] += 0.2
    z, n = logs / noise(logs), len(logs)

    def cost(ends: Sequence[int]) -> float:
        parts = np.split(z, ends)
        return sum(((p - p.mean()) ** 2).sum() for p in parts) + 4 * log(n) * len(ends)

    pairs = [(i, j) for i in range(3, n - 2) for j in range(i + 3, n - 2)]
    every = [(), *((i,) for i in range(3, n - 2)), *pairs]
    assert breaks(logs) == list(min(every, key=cost)) == [4, 9]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"workloads": {"net": {"version": 2}}}, "version of its workload 0 → 2"),
        ({"contract": 2}, "contract of strategies 1 → 2"),
        (elsewhere(torch="2.14.0"), "torch 2.13.0+cpu → 2.14.0"),
        (elsewhere(cpu="Other CPU", cores=8), "cpu Test CPU → Other CPU, cores 2 → 8"),
    ],
    ids=["workload", "contract", "torch", "machine"],
)
def test_a_series_is_cut_and_nothing_steps_across(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    runs(tmp_path, lambda k: change if k >= 6 else {}, a=noisy(12, 2.0, at=6))
    whole = found(tmp_path)
    assert list(whole.series["runs"]) == [6, 6]
    assert whole.cuts[["id", "run", "why"]].to_numpy().tolist() == [[CASE, "run-006", why]]
    assert whole.steps.empty
    assert f"cut at 2026-01-07 00000006: {why} (1 series)\n" in markdown(whole, "")


def test_another_contract_cuts_no_control(tmp_path: Path) -> None:
    """It holds none of the strategies' code, and knows whether the machine changed meanwhile."""
    change = {"contract": 2}
    runs(tmp_path, lambda k: change if k >= 6 else {}, a=[1e-3] * 12, gemm=[1e-3] * 12)
    series = found(tmp_path).series
    assert sorted(zip(series["id"], series["runs"], strict=True)) == [
        *[(CONTROL, 12), (CASE, 6), (CASE, 6)]
    ]


def test_another_shape_cuts(tmp_path: Path) -> None:
    for k in range(4):
        made = lines({"a": 1e-3})
        stored(tmp_path, k, [line | ({"out_shape": [2]} if k > 1 else {}) for line in made])
    assert list(found(tmp_path).cuts["why"]) == ["shape [16] to [16] → [16] to [2]"]


@pytest.mark.parametrize(
    "facts",
    [
        {"os": "Linux-7"},
        {"pinned": [0]},
        {"memory_bytes": 1},
        {"driver": "9"},
        {"gpu_limits": {"w": 1}},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_what_changes_from_day_to_day_cuts_nothing(tmp_path: Path, facts: dict[str, Any]) -> None:
    runs(tmp_path, lambda k: elsewhere(**facts) if k >= 6 else {}, a=noisy(12, 2.0, at=6))
    whole = found(tmp_path)
    assert len(whole.series) == len(whole.steps) == 1
    assert whole.cuts.empty


def test_two_machines_in_one_folder_are_two_series_and_no_cut(tmp_path: Path) -> None:
    slow = [2 * t for t in noisy(20, 1.3, at=10)]
    times = [slow[k] if k % 2 else 1e-3 for k in range(20)]
    runs(tmp_path, lambda k: elsewhere(cpu="Slow CPU") if k % 2 else {}, a=times)
    whole = found(tmp_path)
    assert list(whole.series["runs"]) == [10, 10]
    assert whole.cuts.empty
    (step,) = whole.steps.to_dict("records")
    assert whole.machines[step["machine"]]["cpu"] == "Slow CPU"
    assert step["run"] == "run-011"


def test_a_torch_that_comes_back_goes_on_with_its_series(tmp_path: Path) -> None:
    """The other one is a series of its own meanwhile; of two ended, the most alike is followed."""
    days = {
        3: elsewhere(torch="2.14"),
        4: elsewhere(torch="2.14"),
        7: elsewhere(cpu="x", torch="2.14"),
    }
    runs(tmp_path, lambda k: days.get(k, {}), a=[1e-3] * 7 + [1e-3])
    whole = found(tmp_path)
    assert list(whole.series["runs"]) == [5, 2, 1]
    assert list(whole.cuts["why"]) == ["cpu Test CPU → x"]


def test_runs_without_a_case_and_failed_rows_are_gaps(tmp_path: Path) -> None:
    times: list[float | None] = [*noisy(12, 1.5, at=6)]
    times[3] = times[8] = None
    runs(tmp_path, a=times, b=[1e-3] * 12)
    wrong = lines({"a": 1e-6, "b": 1e-3})
    wrong[0] |= {"status": "wrong"}
    stored(tmp_path, 5, wrong)
    whole = found(tmp_path)
    first = whole.series.set_index("id").loc[CASE]
    assert (first["runs"], first["missing"]) == (9, 3)
    (step,) = whole.steps.to_dict("records")
    assert (step["run"], step["before"], step["after"]) == ("run-006", 4, 5)
    assert "1 with gaps" in markdown(whole, "")


def test_controls_that_step_with_a_case_are_said_beside_it(tmp_path: Path) -> None:
    runs(tmp_path, a=noisy(20, 1.2, at=10), gemm=noisy(20, 1.3, at=10, seed=1))
    whole = found(tmp_path)
    (step,) = whole.steps[~whole.steps["control"]].to_dict("records")
    assert list(whole.steps[whole.steps["control"]]["moved"]) == [[]]
    ((name, ratio),) = step["moved"]
    assert (name, ratio) == (CONTROL, pytest.approx(1.3, rel=0.02))
    assert "the machine moved too: gemm B=4 1.3" in markdown(whole, "")
    assert "**1 step, 1 series, 20 runs" in markdown(whole, "")


def test_a_control_tells_of_its_own_machine_and_not_of_itself(tmp_path: Path) -> None:
    """Both step at the eleventh run of their machine, the case on one, the control on the other."""
    step, flat = noisy(20, 1.3, at=10), noisy(20, seed=1)
    case = [times[k] for k in range(20) for times in (step, flat)]
    control = [times[k] for k in range(20) for times in (flat, step)]
    runs(tmp_path, lambda k: elsewhere(cpu="x") if k % 2 else {}, a=case, gemm=control)
    steps = found(tmp_path).steps
    assert sorted(steps["position"]) == [10, 10]
    assert list(steps["moved"]) == [[], []]


@pytest.mark.parametrize(("step", "at"), [(1 / 1.3, 10), (1.3, 5), (1.0, 10)])
def test_controls_that_do_not_are_not(tmp_path: Path, step: float, at: int) -> None:
    runs(tmp_path, a=noisy(20, 1.2, at=10), gemm=noisy(20, step, at=at, seed=1))
    whole = found(tmp_path)
    (case,) = whole.steps[~whole.steps["control"]].to_dict("records")
    assert case["moved"] == []
    assert "moved too" not in markdown(whole, "")


def test_a_trend_is_the_change_over_all_runs(tmp_path: Path) -> None:
    runs(tmp_path, a=[1e-3 * 1.002**k for k in range(11)], b=[1e-3] * 5)
    trends = found(tmp_path).series.set_index("id")["trend"]
    assert trends[CASE] == pytest.approx(1.002**10)
    assert np.isnan(trends[CASE.replace("/a/", "/b/")])


def test_a_slow_trend_is_said_where_no_step_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What steps, is flat, or is a control is not said."""
    slow = [1e-3 * 1.0015**k for k in range(40)]
    runs(tmp_path, a=slow, b=noisy(40, 1.5, at=20), c=[1e-3] * 40, gemm=slow)
    whole = found(tmp_path)
    assert main(["history", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trend ")]
    assert said == [f"trend 1.06× (1.06× to 1.06×) in 40 runs, no step: {CASE}"]
    assert f"- {said[0]}\n" in markdown(whole, "")


def test_a_trend_that_may_be_none_is_not_said(tmp_path: Path) -> None:
    runs(tmp_path, a=[1.0, 1.3, 0.9, 1.2, 1.0, 1.35, 1.1])
    whole = found(tmp_path)
    (row,) = whole.series.to_dict("records")
    assert row["trend_low"] < 1 < 1.05 < row["trend"]
    assert trends(whole).empty


def test_an_estimate_is_the_mean_of_the_logs_of_passes(tmp_path: Path) -> None:
    made = lines({"a": 1.0})
    for line, seconds in zip(made, (1e-3, 2e-3, 4e-3), strict=True):
        line["wall_s"] = [seconds, 9.0]
    assert points(load(stored(tmp_path, 0, made)))["seconds"].item() == pytest.approx(2e-3)


def test_a_fingerprint_is_the_same_whatever_the_order() -> None:
    assert fingerprint({"a": 1, "b": None}) == fingerprint({"b": None, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_the_command_prints_steps_and_what_was_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {f"a-strategy-of-a-very-long-name-{k}": noisy(12, 1.1 + k, at=6) for k in range(2)}
    runs(tmp_path, lambda k: elsewhere(cpu="x") if k == 11 else {"dirty": k == 6}, **long, b=[1.0])
    assert main(["history", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    assert out.index("2.1") < out.index("1.1")
    assert "2026-01-07 00000006+" in out
    assert "2 steps, 5 series, 12 runs, 1 cut, 3 series shorter than 6 runs, 0 with gaps\n" in out
    assert "cut at 2026-01-12 0000000b: cpu Test CPU → x (2 series)\n" in out
    assert ": x, 2 cores, torch 2.13.0+cpu, Python 3.11.7; 1 run\n" in out


def test_one_run_has_no_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, 0, lines({"a": 1e-3}))
    assert main(["history", str(tmp_path)]) == 0
    said = "0 steps, 1 series, 1 run, 0 cuts, 1 series shorter than 6 runs, 0 with gaps\n"
    assert capsys.readouterr() == (said, "")


def test_packed_files_count_and_others_are_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(tmp_path, a=noisy(12, 1.3, at=6))
    for path in sorted(tmp_path.glob("*.jsonl"))[::2]:
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    kept = next(tmp_path.glob("*.jsonl"))
    (tmp_path / "copy.jsonl").write_text(kept.read_text())
    (tmp_path / "README.md").write_text("# Times\n")
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b"x" * 99)[:10] + b"\xff" * 20)
    (tmp_path / "failed.jsonl").write_text("\n".join(kept.read_text().splitlines()[:1]) + "\n")
    nameless = {**header(), "started": ""}
    (tmp_path / "nameless.jsonl").write_text(json.dumps(nameless) + "\n")
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "folder").mkdir()
    assert main(["history", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "1 step, 1 series, 12 runs" in out
    notes = err.splitlines()
    assert all(note.startswith("note: left out: ") for note in notes)
    for name, said in {
        "README.md": "it is no result file",
        "broken.jsonl.gz": "cannot read",
        "failed.jsonl": "holds no times",
        "folder": "cannot read",
        "nameless.jsonl": "its run line lacks started",
        "copy.jsonl is run": "once more",
    }.items():
        assert any(name in note and said in note for note in notes), (name, notes)
    assert len(notes) == 6


def test_only_selects_by_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs(tmp_path, a=noisy(8), b=noisy(8), gemm=noisy(8))
    assert main(["history", str(tmp_path), "--only", "jacobian/", "--only", "/b/"]) == 0
    assert "1 series, 8 runs" in capsys.readouterr().out
    assert main(["history", str(tmp_path), "--only", "zzz"]) == 2
    assert capsys.readouterr().err == f"reports: no case in {tmp_path} has an id that holds zzz\n"


def test_files_are_written_by_their_ending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    runs(folder, a=noisy(12, 1.3, at=6), b=noisy(3), gemm=noisy(12, 1.3, at=6))
    outputs = [tmp_path / f"history{ending}" for ending in FORMS]
    assert main(["history", str(folder), *(p for o in outputs for p in ("-o", str(o)))]) == 0
    text, data = (path.read_text() for path in outputs[:2])
    assert text.startswith(f"# History of {folder}\n")
    assert f"| `{CASE}` |" in text
    whole = json.loads(data)
    assert (whole["version"], whole["runs"]) == (1, 12)
    assert [step["run"] for step in whole["steps"]] == ["run-006", "run-006"]
    assert {s["trend"] is None for s in whole["series"] if s["runs"] == 3} == {True}
    table = pd.read_csv(outputs[2])
    assert len(table) == 27
    assert table[table["id"] == CASE]["seconds"].tolist() == pytest.approx(noisy(12, 1.3, at=6))
    assert list(table["started"]) == sorted(table["started"])
    capsys.readouterr()


def planted(folder: Path) -> None:
    """Two steps, one of them with a control, a case that stays, and another torch at the end."""
    every = {
        ("jacobian", "vmap-jacrev"): noisy(24, 1.12, at=14, sd=0.02, seed=1),
        ("hessian", "loop-double-backward"): noisy(24, 1.31, at=9, sd=0.02, seed=2),
        ("hvp", "double-backward"): noisy(24, sd=0.02, seed=3),
        ("control", "matrix-product"): noisy(24, 1.1, at=14, sd=0.01, seed=4),
    }
    of_all = {"sizes": (8,), "workload": "mlp-square", "noise": 0}
    for k in range(24):
        made: list[dict[str, Any]] = []
        for (operator, name), times in every.items():
            own = {"strategies": [name], "operator": operator, **of_all}
            made += rows(lambda s, n, seconds=times[k]: seconds, **own)
        stored(folder, k, made, **(elsewhere(torch="2.14.0+cpu") if k > 20 else {}))


def test_the_example_of_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(tmp_path)
    assert main(["history", str(tmp_path)]) == 0
    printed = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    page = (ROOT / "docs/regression-tracking.md").read_text(encoding="utf-8")
    assert f"```\n{printed}```\n" in page, printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/none"], "no such folder"),
        (["{}/file.jsonl"], "no such folder"),
        (["{}"], "holds no result files with times"),
        (["{}", "-o", "x.txt"], "one of .md, .json, .csv"),
    ],
    ids=["none", "file", "empty", "ending"],
)
def test_wrong_input_is_2_and_one_line(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file.jsonl").write_text("")
    assert main(["history", *(part.format(tmp_path) for part in arguments)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_without_ruptures_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path, 0, lines({"a": 1e-3}))
    monkeypatch.setitem(sys.modules, "ruptures", None)
    assert main(["history", str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", "reports: history needs ruptures: pip install ruptures\n")
