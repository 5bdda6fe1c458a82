"""Two commits compared: both measured now, here, in turn, a pass of one and a pass of the other.

The screen measures every case in K pairs of passes; what it suspects is measured again, with the
controls, in fresh passes. The reports judge; docs/regression-tracking.md is their reason. One
result file for each arm and stage, in a folder of the comparison's own.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.schema import ARMS, STAGES, stage_file
from reports.verdicts import RULES, require_pairs

from . import judge
from .arms import Arm
from .case import Timed
from .controls import controls
from .record import lines
from .runner import Outcome, Request, run_in_turn
from .worker import Job


class PairError(RuntimeError):
    """Two arms that cannot be compared; the message is one line and says why."""


@dataclass(frozen=True)
class Pair:
    """What a comparison is: its arms, where its files go, how its workers are started, and what is
    odd about it from its start."""

    arms: tuple[Arm, Arm]
    folder: Path
    job: Job
    grid: str
    device: str
    warnings: tuple[str, ...] = ()

    @property
    def known(self) -> set[str]:
        """The ids of all cases of either arm."""
        return {case.id for arm in self.arms for case in arm.cases}


def comparable(pair: Pair) -> None:
    """Raise `PairError` where nothing of the two arms could be compared."""
    base, head = pair.arms
    if (base.source is None) != (head.source is None):
        lacks = base.name if base.source is None else head.name
        raise PairError(f"not comparable: {lacks} is from before this suite had `strategies`")
    if not (base.line["code"] or head.line["code"]) and base.python == head.python:
        raise PairError(
            "not comparable: neither commit's files would run, base and head are the same; "
            "name files of the repository with --strategies or --workload"
        )
    contracts = [arm.line["contract"] for arm in pair.arms]
    if contracts[0] != contracts[1]:
        raise PairError(
            f"not comparable: base has contract {contracts[0]} of strategies, head {contracts[1]}"
        )
    if not pair.known:
        raise PairError("not comparable: no case is selected, in base and in head")
    if not {case.id for case in base.cases} & {case.id for case in head.cases}:
        raise PairError("not comparable: base and head have no case in common")


def compare(pair: Pair, *, pairs: int = RULES.screen_pairs, confirm: bool = True) -> bool:
    """Measure both stages, or the screen alone, into the folder; whether it came to its last pass,
    and was not told to end before. A comparison that is there already is gone on with.

    Raises `PairError`, `JudgeError`, `TooFewPairsError`.
    """
    comparable(pair)
    require_pairs(pairs, RULES.screen_level)
    screen, confirmation = STAGES
    if _interrupted(pair, screen, pairs, pair.known):
        return False
    suspected = judge.suspects(pair.folder)
    print(f"pair: {len(suspected)} suspected by the screen", file=sys.stderr)
    if not suspected or not confirm:
        return True
    return not _interrupted(pair, confirmation, RULES.confirm_pairs, suspected)


def _interrupted(pair: Pair, stage: str, passes: int, cases: set[str]) -> bool:
    """Measure a stage of both arms; whether it was told to end."""
    requests = [_request(pair, arm, stage, passes, cases) for arm in pair.arms]
    # By the comparison's name, so that going on with it begins with the same arm.
    first = random.Random(f"{pair.folder.name}/{stage}").randrange(2)
    outcomes: list[Outcome] = run_in_turn(
        requests, lambda number: [0, 1] if (number + first) % 2 else [1, 0]
    )
    return any(outcome.interrupted for outcome in outcomes)


def _request(pair: Pair, arm: Arm, stage: str, passes: int, cases: set[str]) -> Request:
    path = pair.folder / stage_file(stage, arm.name)
    job = Job(
        strategies=arm.strategies,
        workloads=arm.workloads,
        threads=pair.job.threads,
        pinned=pair.job.pinned,
        limit_s=pair.job.limit_s,
        memory_bytes=pair.job.memory_bytes,
        source=arm.source,
        path=arm.path,
        python=arm.python,
        inject=pair.job.inject if arm.name == ARMS[1] else (),
    )
    timed: list[Timed] = [case for case in arm.cases if case.id in cases]
    timed += controls(pair.device, 1)
    part = {"arm": arm.name, "stage": stage, "inject": list(job.inject)}
    line = arm.line | {"pair": {"id": pair.folder.name, **part}}
    machine = {"threads": job.threads, "pinned": list(job.pinned)}
    line["environment"] = line["environment"] | machine
    if path.exists():
        _same(path, line)
    return Request(
        timed,
        pair.grid,
        passes,
        pair.device,
        pair.folder,
        job,
        resume=path if path.exists() else None,
        warnings=pair.warnings,
        name=path.stem,
        line=line,
    )


def _same(path: Path, line: dict[str, Any]) -> None:
    """Raise `PairError` where a file to go on with is of other code, which its commit does not say:
    the files of a working tree change under it."""
    then = next(iter(lines(path)), None)
    if then is None:
        raise PairError(f"{path} is empty: remove it, and it is measured again")
    injected = [of.get("pair", {}).get("inject") for of in (then, line)]
    if then.get("commit") == line["commit"] and then.get("code") != line["code"]:
        raise PairError(f"{path} was measured on other files than those that are there now")
    if injected[0] != injected[1]:
        raise PairError(f"{path} was measured with --inject {injected[0]}, now it is {injected[1]}")
