"""What is exact and repeatable about one evaluation: operations, FLOPs, elements, bytes.

The units and what is not seen are in docs/method.md, section Counters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from strategies.counting import Counting
from strategies.memory import collector_off
from strategies.storages import held_bytes


def counters(evaluate: Callable[..., object], inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """The counters of one evaluation but for `calls`, which takes a function that counts them.

    `ops`, `flops` and `elements` as of `Counting`. `storage_bytes`: of all storages allocated.
    `peak_bytes`: of those alive at once, the result's included, beyond what lived before.
    `result_bytes`: of the result's own. `fallbacks`: of vmap to a loop over its directions.
    """
    # Cycles that keep tensors alive would be freed when the collector comes by.
    with collector_off(), _fallback_warnings() as said, Counting() as counting:
        result = evaluate(*inputs)
    return {
        "flops": counting.flops,
        "ops": counting.ops,
        "elements": counting.elements,
        "storage_bytes": counting.storages.total_bytes,
        "peak_bytes": counting.storages.peak_bytes,
        "result_bytes": held_bytes(result),
        "fallbacks": _fallbacks(said),
    }


def peak_bytes(call: Callable[[], object]) -> int:
    """Bytes of the storages alive at once during a call, beyond what lived before it."""
    with collector_off(), Counting() as counting:
        call()
    return counting.storages.peak_bytes


def fallbacks(evaluate: Callable[..., object], inputs: tuple[Tensor, ...]) -> int:
    """How many times vmap fell back to a loop over its directions in one evaluation."""
    with _fallback_warnings() as said:
        evaluate(*inputs)
    return _fallbacks(said)


@contextmanager
def _fallback_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect what torch says of fallbacks; it says so only when asked, and each takes time."""
    show = torch._C._debug_only_display_vmap_fallback_warnings  # type: ignore[attr-defined]
    show(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        show(False)


def _fallbacks(said: list[warnings.WarningMessage]) -> int:
    return sum("batching rule" in str(warning.message) for warning in said)
