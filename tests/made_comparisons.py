"""Comparisons made to order: planted ratios, noise, statuses, controls; for tests of the judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reports.verdicts import RULES, Comparison

CONTROLS = ("gemm", "memory-copy", "empty-loop")


def table(
    cases: Sequence[str], ratios: Mapping[str, float], pairs: int, sd: float, seed: int
) -> pd.DataFrame:
    """`D[pair, case]`: log of the planted ratio (1 where none is) and noise of both arms."""
    draw = np.random.default_rng(seed)
    noise = sd * (draw.normal(size=(2, pairs, len(cases))) * [[[1]], [[-1]]]).sum(axis=0)
    planted = np.log([ratios.get(case, 1.0) for case in cases])
    return pd.DataFrame(noise + planted, columns=list(cases))


def made(
    ratios: Mapping[str, float],
    *,
    others: int = 20,
    sd: float = 0.01,
    seed: int = 0,
    controls: Sequence[str] = CONTROLS,
    **fields: object,
) -> Comparison:
    """Cases with planted ratios among unchanged ones; both stages measured, everything ok.

    `ratios` may name controls too; `fields` replace those of the comparison.
    """
    cases = [*(c for c in ratios if c not in controls), *(f"other-{i}" for i in range(others))]
    columns = [*cases, *controls]
    ok = dict.fromkeys(cases, "ok")
    whole = {
        "base": ok,
        "head": ok,
        "screen": table(columns, ratios, RULES.screen_pairs, sd, seed),
        "confirm": table(columns, ratios, RULES.confirm_pairs, sd, seed + 1_000_000),
        "controls": frozenset(controls),
        **fields,
    }
    return Comparison(**whole)


def mirrored(comparison: Comparison) -> Comparison:
    """The same measurements with the arms' names exchanged."""
    confirm = comparison.confirm
    return Comparison(
        comparison.head,
        comparison.base,
        -comparison.screen,
        None if confirm is None else -confirm,
        comparison.controls,
        comparison.barred,
        comparison.reasons,
    )
