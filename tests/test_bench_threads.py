"""A run over two thread counts: torch had in every case the threads that its row says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from processes import command

# What a case sees is the reason of its row: only a refusal has one.
STRATEGY = '''
import json, os, torch
from strategies import Operator, Unsupported, strategy

def seen():
    return {
        "torch": torch.get_num_threads(),
        "process": os.getpid(),
        "cores": sorted(getattr(os, "sched_getaffinity", lambda _: [])(0)),
        **{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
    }

@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", needs=["sum"])
def look_one(f, inputs, options):
    """Says how many threads it has."""
    raise Unsupported(json.dumps(seen()))

@strategy(Operator.JACOBIAN, mode="reverse", sweep="loop", needs=["sum"])
def look_two(f, inputs, options):
    """Says it too."""
    raise Unsupported(json.dumps(seen()))
'''


def looking(folder: Path, *arguments: str, **environment: str) -> CompletedProcess[str]:
    (folder / "look.py").write_text(STRATEGY)
    return command(*arguments, "--strategies", str(folder / "look.py"), **environment)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("threads")
    done = looking(
        folder,
        *("bench", "run", "--threads", "2,1", "--passes", "2", "--only", "jacobian/look-"),
        *("--results", str(folder / "results")),
        # What the shell says of threads must not reach a worker.
        OMP_NUM_THREADS="3",
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in Path(done.stdout.strip()).read_text().splitlines()]


@pytest.fixture(scope="module")
def seen(lines: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row with what its case saw."""
    found = [line for line in lines if line["kind"] == "row" and line["operator"] != "control"]
    return [(line, json.loads(line["reason"])) for line in found]


def test_every_case_has_a_row_for_each_thread_count(seen: list) -> None:
    measured = sorted((row["pass"], row["threads"], row["strategy"]) for row, _ in seen)
    names = ("look-one", "look-two")
    assert measured == [(k, t, name) for k in (0, 1) for t in (1, 2) for name in names]


def test_torch_had_the_threads_that_the_row_says(seen: list) -> None:
    for row, found in seen:
        assert found["torch"] == row["threads"]
        assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == str(row["threads"])


def test_a_process_has_one_thread_count(seen: list) -> None:
    of = {(row["pass"], row["threads"]): set() for row, _ in seen}
    for row, found in seen:
        of[row["pass"], row["threads"]].add(found["process"])
    assert [len(processes) for processes in of.values()] == [1] * 4
    assert len(set.union(*of.values())) == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nothing is pinned here")
def test_a_worker_is_pinned_to_a_core_for_each_thread_or_to_none(lines: list, seen: list) -> None:
    held = lines[0]["environment"]["pinned"]
    there = sorted(os.sched_getaffinity(0))
    for row, found in seen:
        enough = row["threads"] <= len(held)
        assert found["cores"] == (sorted(held[: row["threads"]]) if enough else there)


def test_the_header_has_the_most_threads(lines: list) -> None:
    assert lines[0]["environment"]["threads"] == 2


def test_pytest_alone_gives_torch_the_threads_of_the_case(tmp_path: Path) -> None:
    """Without a runner, torch had begun with as many as the shell says."""
    target = tmp_path / "seen.json"
    text = STRATEGY.replace("raise Unsupported(json.dumps(seen()))", "LOOK")
    assert text.count("LOOK") == 2
    look = f"open({str(target)!r}, 'w').write(json.dumps(seen())); raise Unsupported('seen')"
    done = command(
        *("pytest", "bench", "-k", "look-one", "-p", "no:cacheprovider"),
        *("--strategies", str(_written(tmp_path, text.replace("LOOK", look)))),
        OMP_NUM_THREADS="3",
    )
    assert target.is_file(), done.stdout
    found = json.loads(target.read_text())
    assert (found["torch"], found["OMP_NUM_THREADS"]) == (1, "3")


def _written(folder: Path, text: str) -> Path:
    path = folder / "look_alone.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("given", ["0", "1,0", "two", "1,,2"])
def test_no_threads_are_a_usage_error(tmp_path: Path, given: str) -> None:
    done = looking(tmp_path, "bench", "list", "--threads", given)
    assert done.returncode == 2
    assert "argument --threads: " in done.stderr
