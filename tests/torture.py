"""A user's strategies that end badly, each in its own way, and ordinary ones among them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import processes

NETWORK = '''
import torch

def small(dtype, device, generator):
    """Three inputs, two outputs."""
    w = torch.randn(3, 2, generator=generator).to(dtype)
    return (lambda x: (x @ w).tanh()), torch.randn(4, 3, generator=generator).to(dtype)
'''

STRATEGIES = '''
"""Named by what they do; behind each is the right answer, but for the two that are wrong."""
import ctypes, os, signal, sys, time
import torch
from strategies import Operator, strategy

GiB = 1 << 30

def columns(f, x):
    push = lambda v: torch.func.jvp(f, (x,), (v,))[1]
    return torch.stack([push(e.expand_as(x)) for e in torch.eye(x.shape[1], dtype=x.dtype)], -1)

def add(name, act=lambda: None, change=lambda result: result):
    def prepare(f, inputs, options):
        def evaluate(x, *args):
            act()
            return change(columns(f, x))
        return evaluate
    prepare.__doc__ = name
    strategy(Operator.JACOBIAN, mode="forward", sweep="loop", name=f"my-{name}")(prepare)

def loops():
    while True:
        pass

def stuck():
    """In C, with Python's lock held, deaf to a polite signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(1000)

def exits():
    print("goodbye")
    os._exit(7)

def raises():
    raise ArithmeticError("mine is broken")

def creeps():
    kept = []
    while True:
        kept.append(torch.empty(GiB // 16))

def babbles():
    """Into every descriptor that is open, the runner's pipe among them."""
    for fd in range(3, 64):
        try:
            os.write(fd, b"junk")
            os.write(fd, bytes([10]))
        except OSError:
            pass

def shouts():
    """A megabyte each by Python and by the system, to both."""
    print("o" * (1 << 20))
    print("e" * (1 << 20), file=sys.stderr)
    os.write(1, b"O" * (1 << 20))
    os.write(2, b"E" * (1 << 20))

for k in range(4):
    add(f"fine-{k}")
add("fine-shouts", shouts)
add("bad-segfault", lambda: ctypes.string_at(0))
add("bad-exits", exits)
add("bad-loops", loops)
add("bad-stuck", stuck)
add("bad-allocates", lambda: torch.empty(500 * GiB, dtype=torch.uint8))
add("bad-creeps", creeps)
add("bad-raises", raises)
add("bad-wrong", change=lambda result: result * 1.01)
add("bad-nan", change=lambda result: result * float("nan"))
add("bad-level", torch.autograd.forward_ad.enter_dual_level)
add("bad-threads", lambda: torch.set_num_threads(2))
add("bad-random", lambda: torch.rand(1))
add("bad-dtype", lambda: torch.set_default_dtype(torch.float64))
add("bad-babbles", babbles)
'''


def written(folder: Path) -> list[str]:
    """The two files in a folder, and the arguments that measure them."""
    (folder / "ways.py").write_text(STRATEGIES)
    (folder / "net.py").write_text(NETWORK)
    files = ("--workload", f"{folder}/net.py:small", "--strategies", f"{folder}/ways.py")
    return [*files, "--results", f"{folder}/results", "--memory", "2 GiB", "--limit", "8"]


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python -m bench run` on its way; what it keeps for itself is kept in the folder."""
    return processes.started("bench", "run", *arguments, TMPDIR=str(folder), NO_COLOR="1")
