"""A run that is packed to be kept reads the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest
from made_runs import GOLDEN, rows, write

from reports.__main__ import main
from reports.load import Run, load
from reports.packing import packed

MADE = rows(lambda name, n: n * 1e-3, strategies=["a", "b"], sizes=(8, 16), passes=4)
FULL = [
    {**line, "chosen": None, "device_s": [], "clocks": {}, "train_s": [], "layout": "dense"}
    for line in MADE
]


def table(run: Run) -> pd.DataFrame:
    """Of the rows of a run all that they say, in one order."""
    whole = run.rows.map(lambda value: json.dumps(value, sort_keys=True))
    return whole.sort_values(["id", "pass"]).reset_index(drop=True)


def shuffled(path: Path) -> Path:
    """The rows as a run writes them: each after a line that its case began, in random order."""
    lines = random.Random(1).sample(FULL, len(FULL))
    began = [{"kind": "started", "id": str(k), "pass": 0} for k in range(len(lines))]
    return write(path, [line for pair in zip(began, lines, strict=True) for line in pair])


def test_it_reads_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, kept = shuffled(tmp_path / "run.jsonl"), tmp_path / "kept.jsonl.gz"
    assert main(["pack", str(path), "-o", str(kept)]) == 0
    assert capsys.readouterr().out == f"{kept}\n"
    before, after = load(path), load(kept)
    pd.testing.assert_frame_equal(table(before), table(after))
    assert (before.header, before.end, before.warnings) == (
        after.header,
        after.end,
        after.warnings,
    )


def test_the_same_run_is_the_same_bytes_and_packing_twice_changes_nothing(tmp_path: Path) -> None:
    path, kept = shuffled(tmp_path / "run.jsonl"), tmp_path / "kept.jsonl.gz"
    kept.write_bytes(packed(path))
    assert packed(path) == packed(kept) == kept.read_bytes()


def test_the_golden_file_reads_the_same(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl.gz"
    kept.write_bytes(packed(GOLDEN))
    pd.testing.assert_frame_equal(table(load(GOLDEN)), table(load(kept)))


def test_a_run_that_did_not_end_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shuffled(tmp_path / "run.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    kept = tmp_path / "kept.jsonl.gz"
    assert main(["pack", str(path), "-o", str(kept)]) == 2
    assert "the run did not end" in capsys.readouterr().err
    assert not kept.exists()
