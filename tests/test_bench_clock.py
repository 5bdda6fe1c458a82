"""The clock on known times: a strategy that is busy for 2 ms of CPU time a call, an f for 1 ms."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from processes import command

from bench import plugin
from bench.grid import blocks, cases
from reports.load import load
from reports.summary import passes

BUSY_S = 2e-3
FORWARD_S = 1e-3
STRATEGY = f'''
import time
import torch
from strategies import Operator, strategy

@strategy(Operator.GRADIENT, mode="reverse", sweep="loop", needs=["scalar"])
def busy(f, inputs, options):
    """Ones, after {BUSY_S} seconds of CPU time."""
    def evaluate(x, *args):
        until = time.process_time() + {BUSY_S}
        ones = torch.ones_like(x)
        while time.process_time() < until:
            pass
        return ones
    return evaluate
'''
WORKLOAD = f'''
import time
import torch
from bench.problem import Problem

def summed(dtype, device, generator):
    """A sum: its gradient is ones, and that is declared."""
    def f(x):
        until = time.process_time() + {FORWARD_S}
        total = x.sum(-1)
        while time.process_time() < until:
            pass
        return total
    x = torch.randn(4, 3, generator=generator).to(dtype=dtype, device=device)
    return Problem(f, x, constant=frozenset(["jacobian"]))
'''


@pytest.mark.slow
def test_known_times_are_measured_within_two_percent(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(STRATEGY)
    (tmp_path / "net.py").write_text(WORKLOAD)
    done = command(
        *("bench", "run", "--passes", "3", "--only", "gradient/busy/"),
        *("--workload", f"{tmp_path}/net.py:summed", "--strategies", f"{tmp_path}/busy.py"),
        *("--results", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    found = passes(load(done.stdout.strip()).rows)
    for name, known_s in (("evaluate_s", BUSY_S), ("forward_s", FORWARD_S)):
        print(f"measured, {name}, ms:", *(1e3 * seconds for seconds in found[name]))
        assert list(found[name]) == pytest.approx([known_s] * 3, rel=0.02)


def test_a_collection_before_a_case_is_timed_finds_that_case_alone() -> None:
    """What was there when it began is left out: of torch's modules a collection takes 0.1 s."""
    case = cases(blocks("smoke"), only=["jacobian/vmap-jacrev/"])[0]
    stash = {plugin.SENDER: plugin.Sender(None, 0)}
    item = SimpleNamespace(
        callspec=SimpleNamespace(params={"case": case}),
        config=SimpleNamespace(stash=stash),
        stash={},
    )
    old = [[]]
    before = gc.get_freeze_count()
    hook = plugin.pytest_runtest_protocol(cast(Any, item), None)
    try:
        next(hook)
        own = [[]]
        seen = [any(each is found for found in gc.get_objects()) for each in (old, own)]
        assert gc.get_freeze_count() > before
    finally:
        hook.close()
        gc.unfreeze()
    assert seen == [False, True]
