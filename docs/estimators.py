"""Prints the table of docs/method.md, "Estimator and pairing": unchanged code against itself.

python docs/estimators.py --results FOLDER [--passes P] [--only PART …] [--into docs/method.md]
python docs/estimators.py --from FOLDER [--into docs/method.md]

Two arms of the same code are measured in fresh processes. *In turn*: one after the other on one
core, A B in even passes, B A in odd ones. *At once*: on a core each, which they swap every pass.
Both ways take turns too, so that a bad spell of the machine meets both. The raw files are result
files, one for each arm, joined on the pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from studies import study, table_row

from bench.case import Case
from bench.cores import claimed_cores
from bench.grid import NothingSelected, blocks, cases
from bench.header import run_line
from bench.interrupt import Interrupted, Stop, stop_signals
from bench.record import ResultFile, ResultsError, Row
from bench.runner import Request, shuffled
from bench.scratch import scratch
from bench.watch import Death
from bench.worker import Job, messages
from reports.estimator import ESTIMATORS, Estimator, of_pass
from reports.load import ResultFileError, load
from reports.schema import case_id

# From 0.03 to 100 ms a call, launches and arithmetic, every mode.
IDS = (
    "gradient/autograd-grad/seed-sum/B=16/float32/cpu",
    "gradient/autograd-grad/mlp-scalar/n=64/B=64/float32/cpu",
    "jacobian/vmap-jacrev/mlp-square/n=16/B=16/float32/cpu",
    "jacobian/loop-grad/mlp-square/n=192/B=16/float32/cpu",
    "jacobian/vmap-jvp/mlp-wide/n=512/m=8/B=16/float32/cpu",
    "jacobian/functional-jacobian-forward/cnn/B=4/float32/cpu",
    "divergence/vmap-jvp-trace/time-conditioned-field/d=4/B=64/float32/cpu",
    "hvp/forward-over-reverse/lennard-jones/atoms=8/B=4/float32/cpu",
    "hessian/fwd-rev/mlp-scalar/n=16/B=16/float32/cpu",
    "hessian/loop-hvp/lennard-jones/atoms=6/B=2/float32/cpu",
    "laplacian/nested-jvp/mlp-deep/B=16/float32/cpu",
    "hessian-diagonal/from-hessian/attention/B=2/float32/cpu",
)
LIMIT_S = 120.0
CLOCKS = {"wall": "wall_s", "CPU": "cpu_s"}
ARMS = ("a", "b")
HEADS = (
    *("pairing", "clock", "estimator", "log A − log B, typical case", "worst case"),
    *("log A alone, typical case", "worst case"),
)

Rows = tuple[list[Row], list[Row]]


class StudyError(RuntimeError):
    """What keeps the study from being made, in one line."""


@dataclass(frozen=True)
class Study:
    """What both arms measure, on which cores, and what may stop them."""

    job: Job
    cases: Sequence[Case]
    cores: tuple[int, int]
    stop: Stop

    def rows(self, number: int, core: int) -> list[Row]:
        """The rows of one arm in one pass: a fresh process on one core."""
        rows, order = [], shuffled(self.cases, number)
        for message in messages(replace(self.job, pinned=(core,)), number, order, self.stop):
            if not isinstance(message, Death):
                rows += [message] if message["kind"] == "row" else []
            elif len(rows) < len(order):
                raise StudyError(f"a pass ended before its last case: {message.reason}")
        for row in rows:
            if row["status"] != "ok":
                raise StudyError(f"{case_id(row)} is {row['status']}: {row['reason']}")
        return rows


def in_turn(study: Study, number: int) -> Rows:
    """One after the other on one core; the arm that was second is first in the next pass."""
    first, second = (study.rows(number, study.cores[0]) for _ in ARMS)
    return (second, first) if number % 2 else (first, second)


def at_once(study: Study, number: int) -> Rows:
    """At the same time on a core each, which the arms swap every pass."""
    cores = study.cores[::-1] if number % 2 else study.cores
    with ThreadPoolExecutor(len(ARMS)) as threads:
        a, b = threads.map(lambda core: study.rows(number, core), cores)
    return a, b


PAIRINGS: dict[str, Callable[[Study, int], Rows]] = {"in turn": in_turn, "at once": at_once}


def file_of(folder: Path, pairing: str, arm: str) -> Path:
    return folder / f"{pairing.replace(' ', '-')}-{arm}.jsonl"


def chosen(only: Sequence[str]) -> list[Case]:
    """The cases of the list, in its order, whose id holds every part of `only`."""
    known = {case.id: case for case in cases(blocks("default"))}
    found = [known[name] for name in IDS if all(part in name for part in only)]
    if not found:
        raise NothingSelected(f"no case matches {' and '.join(only)}")
    return found


def measure(folder: Path, asked: Sequence[Case], passes: int) -> None:
    """Both pairings of every pass, into a file for each pairing and arm."""
    if passes < 2:
        raise StudyError(f"at least two passes are needed, not {passes}")
    job = Job(strategies=(), workloads=(), threads=1, pinned=(), limit_s=LIMIT_S)
    with claimed_cores(2) as claim, stop_signals() as stop, scratch() as own:
        if len(claim.cores) < 2:
            raise StudyError(f"two cores are needed that no other run holds, not {claim.cores}")
        study = Study(replace(job, scratch=own), asked, claim.cores, stop)
        request = Request(
            *(asked, "estimators", passes, "cpu", folder, replace(job, pinned=claim.cores))
        )
        with written(folder, {**run_line(request), "command": ["python", *sys.argv]}) as files:
            begun = time.monotonic()
            for number in range(passes):
                for pairing, rows_of in PAIRINGS.items():
                    for arm, rows in zip(ARMS, rows_of(study, number), strict=True):
                        for row in rows:
                            files[pairing, arm].write(row)
                said = f"pass {number + 1} of {passes}, {time.monotonic() - begun:.0f} s"
                print(f"estimators: {said}", file=sys.stderr)


@contextmanager
def written(folder: Path, line: Row) -> Iterator[dict[tuple[str, str], ResultFile]]:
    """The result files, each with its first line and its last."""
    with ExitStack() as stack:
        files = {
            (pairing, arm): stack.enter_context(ResultFile(file_of(folder, pairing, arm)))
            for pairing in PAIRINGS
            for arm in ARMS
        }
        for file in files.values():
            file.write(line)
        yield files
        for file in files.values():
            file.write({"kind": "end"})


def logs(rows: pd.DataFrame, clock: str, estimator: Estimator) -> pd.DataFrame:
    """`[pass, case]`: log seconds by one clock and estimator, of the cases that are ok."""
    ok = rows[rows["status"] == "ok"]
    made = ok.assign(log_s=[np.log(of_pass(rounds, estimator)) for rounds in ok[clock]])
    return made.pivot_table(index="pass", columns="id", values="log_s")


def spread(a: pd.DataFrame, b: pd.DataFrame) -> tuple[float, float, float, float]:
    """Standard deviations between passes: of log A − log B, the median over cases and the most;
    then of one arm alone (both arms' variances averaged), the same two."""
    pairs = (a - b).dropna(axis="index", how="all").dropna(axis="columns")
    if len(pairs) < 2 or pairs.empty:
        raise StudyError("two passes of the same case in both arms are needed")
    a, b = (arm.loc[pairs.index, pairs.columns] for arm in (a, b))
    both, alone = pairs.std(ddof=1), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    return tuple(float(value) for sd in (both, alone) for value in (sd.median(), sd.max()))


def table(folder: Path) -> str:
    """The Markdown table of a folder of raw files, and a line that says where it comes from."""
    lines = [table_row(HEADS), table_row(["---"] * 3 + ["---:"] * 4)]
    for pairing in PAIRINGS:
        arms = [load(file_of(folder, pairing, arm)) for arm in ARMS]
        for clock, column in CLOCKS.items():
            for name, estimator in ESTIMATORS.items():
                found = spread(*(logs(arm.rows, column, estimator) for arm in arms))
                lines.append(
                    table_row([pairing, clock, name, *(f"{100 * sd:.1f} %" for sd in found)])
                )
    run, there = arms[0], arms[0].header["environment"]
    counted = f"{run.rows['id'].nunique()} cases, {run.rows['pass'].nunique()} passes an arm"
    source = f"{there['cpu']}, {there['cores']} cores, torch {there['torch']}"
    return "\n".join([*lines, "", f"{counted}; {source}; begun {run.header['started']}.", ""])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--results", type=Path, metavar="FOLDER", help="measure, and keep the files")
    where.add_argument("--from", type=Path, dest="kept", metavar="FOLDER", help="of kept files")
    parser.add_argument("--passes", type=int, default=16, metavar="P", help="for each arm")
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--into", type=Path, metavar="FILE.md", help="write between its markers")
    return parser.parse_args()


def main() -> int:
    given = parsed()

    def make() -> str:
        if given.results:
            measure(given.results, chosen(given.only), given.passes)
        return table(given.results or given.kept)

    return study(
        "estimators",
        make,
        given.into,
        interrupted="the passes so far are kept",
        stops=(Interrupted,),
        errors=(StudyError, NothingSelected, ResultsError, ResultFileError),
    )


if __name__ == "__main__":
    sys.exit(main())
