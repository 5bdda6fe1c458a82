"""The error of a closed form, measured: f's own values are asked along a few random directions.

NOTE [probes]
For an error E of a Jacobian and a unit vector u of random direction, ‖E‖² = n · mean ‖E u‖²; of a
Hessian likewise with uᵀ E w and n², of its diagonal with a random coordinate and n. Every row of
the batch has its own directions, so that a few give the norm of the whole well within the factor
ten that a tolerance leaves. What is measured is the error of the closed form and that of the values
together; as they share nothing, neither hides the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .compare import CONTRADICTED
from .differences import Array, Estimate, first, second, units
from .fourths import along_pairs
from .precise import Evaluator

PROBES = 3


@dataclass(frozen=True)
class Seen:
    """A closed form and f's values along the same directions; `gain`: from these to the whole."""

    form: Array
    values: Estimate
    gain: float


def measured(f: Evaluator, form: str, d: Array) -> Estimate:
    """The closed form `d: [B, m, …]` with the error that the values of f show in it."""
    seen = _SEEN[form](f, d, np.random.default_rng(0))
    off, size = _norm(seen.form - seen.values.value), _norm(seen.values.value)
    # No float64 number is known better than to its own rounding.
    bound = max(seen.gain * off, float(np.finfo(float).eps) * _norm(d))
    found = Estimate(d, bound, "closed form")
    agreed = off <= 10 * seen.values.bound + 1e-9 * size + 1e-12
    return found if agreed else replace(found, bound=float("inf"), method=CONTRADICTED)


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a))


def _unit(f: Evaluator, random: np.random.Generator) -> Array:
    """`[PROBES, B, n]`: a direction for each row, of length one."""
    u = random.standard_normal((PROBES, f.B, f.n))
    return u / np.linalg.norm(u, axis=2, keepdims=True)


def _jacobian(f: Evaluator, d: Array, random: np.random.Generator) -> Seen:
    u = _unit(f, random)
    return Seen(np.einsum("bmi,kbi->kbm", d, u), first(f, u), (f.n / PROBES) ** 0.5)


def _hessian(f: Evaluator, d: Array, random: np.random.Generator) -> Seen:
    u, w = _unit(f, random), _unit(f, random)
    values = second(f, u, w[:, None])
    form = np.einsum("bmij,kbi,kbj->kbm", d, u, w)
    return Seen(form[:, None], values, f.n / PROBES**0.5)


def _diagonal(f: Evaluator, d: Array, random: np.random.Generator) -> Seen:
    chosen = random.integers(f.n, size=(PROBES, f.B))
    e = np.eye(f.n)[chosen]
    form = np.einsum("bmi,kbi->kbm", d, e)
    return Seen(form[:, None], second(f, e, e[:, None]), (f.n / PROBES) ** 0.5)


def _fourth(f: Evaluator, d: Array, random: np.random.Generator) -> Seen:
    left, right = random.integers(f.n, size=(2, PROBES, f.B))
    e, rows = np.eye(f.n), np.arange(f.B)
    form = np.stack([d[rows, :, i, j] for i, j in zip(left, right, strict=True)])
    return Seen(form, along_pairs(f, e[left], e[right]), f.n / PROBES**0.5)


def _laplacian(f: Evaluator, d: Array, random: np.random.Generator) -> Seen:
    """A sum over all inputs shows itself along no fewer than all of them."""
    e = units(f.n)
    values = second(f, e, e[:, None])
    total = replace(values, value=values.value.sum((0, 1)), bound=values.bound * f.n**0.5)
    return Seen(d, total, 1.0)


_SEEN: Mapping[str, Callable[[Evaluator, Array, np.random.Generator], Seen]] = {
    "jacobian": _jacobian,
    "hessian": _hessian,
    "hessian-diagonal": _diagonal,
    "laplacian": _laplacian,
    "fourth": _fourth,
}
