"""The harness as a pytest plugin: cases become tests of pytest-benchmark, each leaves a row.

Alone, `pytest bench -k vmap-jacrev` is one pass in this process. With `--rows-fd` it is a worker:
it announces every case, sends its row through that pipe, and ends after the first failed one, so
that nothing a failure leaves behind reaches another case.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reports.schema import CONTROL
from strategies import load_installed, load_strategies

from .case import Case, case_from_axes
from .controls import Control, control_from_axes
from .environment import changed_since, surroundings
from .forward import Rounds
from .grid import OWN, blocks, cases, choosers_in, user_blocks
from .measure import freeze_old, set_threads
from .memory import limit_memory
from .record import Row, shortened
from .workloads import load_workload

# After these a worker ends; after a wrong answer too, unless it is told to go on.
FAILED = ("error", "oom")
# A row that is not ok has none.
TIMES = (
    *("wall_s", "cpu_s", "device_s", "device_cold_s", "train_s", "train_cpu_s"),
    *("forward_s", "forward_cpu_s", "products_s", "products_cpu_s"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the harness."""
    group = parser.getgroup("bench", "input-derivative benchmarks")
    group.addoption("--grid", default="smoke", help="smoke, default, full or counters")
    group.addoption("--device", default="cpu", help="cpu or cuda")
    group.addoption("--workload", action="append", default=[], metavar="FILE.py:FUNCTION")
    group.addoption("--strategies", action="append", default=[], metavar="FILE.py")
    group.addoption("--cases", metavar="FILE", help="the cases of this pass, a JSON list of axes")
    group.addoption("--rows-fd", type=int, metavar="N", help="the pipe that takes the rows")
    group.addoption("--pass", type=int, default=0, dest="bench_pass", help="the pass's number")
    group.addoption("--inject", action="append", default=[], metavar="ID=RATIO")
    group.addoption("--after-wrong", choices=["stop", "go-on"], default="stop")
    group.addoption("--memory-bytes", type=int, metavar="N", help="what a worker may map")
    group.addoption("--references", metavar="FOLDER", help="where references are kept for a run")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One clock for every case, set before pytest-benchmark reads its options."""
    config.option.benchmark_timer = "bench.measure.clock"
    config.option.benchmark_disable_gc = True
    config.addinivalue_line("filterwarnings", "default")
    config.stash[SENDER] = Sender(config.option.rows_fd, config.option.bench_pass)
    # Last, so that what torch has mapped is not counted.
    if config.option.memory_bytes:
        limit_memory(config.option.memory_bytes)


class Sender:
    """Where rows go: through the worker's pipe, or nowhere when pytest runs alone."""

    def __init__(self, fd: int | None, number: int) -> None:
        self.worker = fd is not None
        self._pipe = os.fdopen(fd, "w", encoding="utf-8") if fd is not None else None
        self._pass = number
        self._order = 0
        self._announced: Case | Control | None = None

    def started(self, case: Case | Control) -> None:
        """Announce a case once, so that a death in it is laid at its door."""
        if case != self._announced:
            self._announced = case
            self._send({"kind": "started", "id": case.id})

    def row(self, row: Row) -> None:
        """Send a case's row."""
        self._send({**row, "order": self._order})
        self._order += 1

    def leaving(self) -> None:
        """Tell the runner that no case follows: a worker that hangs from here on keeps nobody."""
        self._send({"kind": "leaving"})

    def _send(self, line: Row) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(json.dumps(shortened({**line, "pass": self._pass})) + "\n")
            self._pipe.flush()
        except OSError:
            # Nobody reads: the runner is gone, or a case closed the pipe.
            os._exit(1)


SENDER = pytest.StashKey[Sender]()
CHOSEN = pytest.StashKey[Sequence[Case | Control]]()


def _evaluated(case: Case | Control) -> bool:
    return isinstance(case, Case)


def _trained(case: Case | Control) -> bool:
    return isinstance(case, Case) and case.create_graph


def _control(case: Case | Control) -> bool:
    return isinstance(case, Control)


# Which cases a test is of; one of another name takes those that are evaluated.
TAKES = {"test_train": _trained, "test_control": _control}


def _chosen(config: pytest.Config) -> Sequence[Case | Control]:
    load_installed()
    for path in config.option.strategies:
        load_strategies(path)
    mine = [load_workload(spec).name for spec in config.option.workload]
    if config.option.cases:
        return list(map(_read, json.loads(Path(config.option.cases).read_text())))
    chosen = user_blocks(mine) if mine else blocks(config.option.grid)
    choosers = choosers_in(OWN if mine else config.option.grid)
    return cases(chosen, device=config.option.device, choosers=choosers)


def _read(axes: Row) -> Case | Control:
    return control_from_axes(axes) if axes["operator"] == CONTROL else case_from_axes(axes)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case and control; the training test for those with create_graph."""
    if "case" not in metafunc.fixturenames:
        return
    which, stash = TAKES.get(metafunc.function.__name__, _evaluated), metafunc.config.stash
    if CHOSEN not in stash:
        stash[CHOSEN] = _chosen(metafunc.config)
    found = [case for case in stash[CHOSEN] if which(case)]
    metafunc.parametrize("case", found, ids=lambda case: case.id)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of the cases, the training test right behind the evaluation."""
    # A function without any case gets one item, empty; there is nothing to run in it.
    items[:] = [item for item in items if not hasattr(item, "callspec") or _case(item)]
    if CHOSEN not in config.stash:
        return
    chosen = config.stash[CHOSEN]
    order = {case.id: k for k, case in enumerate(chosen)}
    items.sort(key=lambda item: order.get(_id(item), -1))


def _id(item: pytest.Item) -> str:
    case = _case(item)
    return case.id if case else ""


def _case(item: pytest.Item) -> Case | Control | None:
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("case") if callspec else None
    return found if isinstance(found, Case | Control) else None


def pytest_collection_finish() -> None:
    """Everything is imported."""
    freeze_old()


@pytest.fixture(scope="session")
def references(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder in which references are kept: the run's, or this session's own."""
    given = request.config.option.references
    if given:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="references-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def forwards() -> dict[str, Rounds]:
    """The times of f in this session by problem, for its other cases to share."""
    return {}


@pytest.fixture(scope="session")
def products() -> dict[str, Rounds]:
    """The times of the best known method's products in this session by operator and problem."""
    return {}


@pytest.fixture(scope="session")
def rows() -> dict[str, Row]:
    """Rows of this session by case, for the training test to complete."""
    return {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No case follows."""
    session.config.stash[SENDER].leaving()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """Announce the case before its first test; send its row after its last one."""
    case, sender = _case(item), item.config.stash[SENDER]
    if case is not None:
        freeze_old()
        sender.started(case)
        set_threads(case.threads)
    before = surroundings()
    result = yield
    row = _row(item, case)
    if row is not None and (changed := changed_since(before)):
        row["status"], row["reason"] = "error", f"changed global {changed}"
        for name in TIMES:
            row.pop(name, None)
    if row is not None and (nextitem is None or _case(nextitem) != case):
        sender.row(row)
        if sender.worker and _ends(row, item.config.option.after_wrong):
            item.session.shouldstop = f"{row['status']}: {row['reason']}"
    return result


def _row(item: pytest.Item, case: Case | Control | None) -> Row | None:
    """The row that the test left; one that says so where it left none."""
    if case is None or ROW in item.stash:
        return item.stash.get(ROW, None)
    reason = "the test of this case was not reached: a fixture failed"
    return {"kind": "row", **case.axes, "status": "error", "reason": reason, "warnings": []}


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """A worker prints no letters: its last words are to be those of the case."""
    return (report.outcome, "", "") if config.stash[SENDER].worker else None


def _ends(row: Row, after_wrong: str) -> bool:
    return row["status"] in FAILED or (row["status"] == "wrong" and after_wrong == "stop")


ROW = pytest.StashKey[Row]()
