"""Successive halving: calls timed in turn, the slower half dropped after each stage.

Rounds of all that are left alternate, so that what disturbs the machine disturbs them alike, and
the least of its rounds stands for a call (docs/method.md, "Estimator and pairing"). Source of the
scheme: Karnin, Koren and Somekh, Almost optimal exploration in multi-armed bandits, 2013.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import ceil, log2

import torch

from .costs import wait
from .memory import collector_off

Call = Callable[[], object]

# The least a round takes, rounds of the first stage (twice as many in each next), and the least.
_ROUND_S, _ROUNDS, _LEAST = 1e-3, 4, 2


def halved(calls: Mapping[str, Call], device: torch.device, deadline: float) -> dict[str, float]:
    """Seconds of each call, the fastest first: of those that were dropped early by fewer rounds.

    deadline: of `time.perf_counter`; after it each stage has two rounds.
    """
    seconds = {name: float("inf") for name in calls}
    with collector_off():
        loops = {name: _loops(call, device) for name, call in calls.items()}
        alive, rounds = list(calls), _ROUNDS
        for stage in range(ceil(log2(len(calls))) if len(calls) > 1 else 1):
            left = ceil(log2(len(alive))) if len(alive) > 1 else 1
            until = time.perf_counter() + (deadline - time.perf_counter()) / left
            for k in range(rounds << stage):
                if k >= _LEAST and time.perf_counter() > until:
                    break
                for name in alive:
                    once = _round(calls[name], loops[name], device)
                    seconds[name] = min(seconds[name], once)
            alive = sorted(alive, key=seconds.__getitem__)[: ceil(len(alive) / 2)]
    return dict(sorted(seconds.items(), key=lambda item: item[1]))


def _loops(call: Call, device: torch.device) -> int:
    """How many calls make a round: by the second one, since the first fills caches."""
    call()
    return ceil(_ROUND_S / max(_round(call, 1, device), 1e-9))


def _round(call: Call, loops: int, device: torch.device) -> float:
    """Seconds a call. What other processes take is no part of what one thread computes."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    wait(device)
    begun = clock()
    for _ in range(loops):
        call()
    wait(device)
    return (clock() - begun) / loops
