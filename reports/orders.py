"""An ordered list of strategies from what each loses where: table in, list out.

NOTE [the loss of an order]
Who prepares takes the first strategy of a list that does not refuse. So a list loses on a contest
what its first strategy that does not refuse there loses: log(seconds / least of the contest). A
strategy that was not measured on a contest did not refuse there either: a list is fitted as if it
were not in it, and is not judged there where it would be taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Closer than this, who answers more contests goes first.
TIE = 0.03
# What a refusal costs in prepare, as a loss: it settles ties between the rare and the common.
REFUSAL = 0.005
# How much the worst contest counts beside the mean.
WORST = 0.05
# Of a strategy that did not refuse and failed.
FAILED = float(np.log(100))
# Of one that refused, where those that answer are ordered for functions which others refuse.
REFUSED = float(np.log(4))
# The share of the contests that a strategy has to be asked on, before it may lead a list.
KNOWN = 0.5
# What a contest counts that a list is not for: it decides only what the others leave open.
OUTSIDE = 0.01
# What a move in the list has to gain, below which it is noise.
STEP = 1e-4


@dataclass(frozen=True)
class Losses:
    """What strategies lose: `loss[contest, strategy]`, nan where it refused or was not asked.

    asked: where it was. workloads: of each contest; each counts the same however many sizes it has,
    times the `shares` of its contests. last: the strategies that need nothing of a function's rows,
    which every list ends with.
    """

    names: tuple[str, ...]
    loss: Array
    asked: Array
    workloads: tuple[str, ...]
    shares: Array
    last: frozenset[str] = frozenset()

    @cached_property
    def weights(self) -> Array:
        """Of the contests; their sum is one."""
        kinds = list(zip(self.workloads, self.shares.tolist(), strict=True))
        each = np.array([share / kinds.count((name, share)) for name, share in kinds])
        return each / each.sum()

    def of(self, contests: Array) -> Losses:
        """Only these contests, given as a mask."""
        kept = tuple(w for w, keep in zip(self.workloads, contests, strict=True) if keep)
        return replace(
            self,
            loss=self.loss[contests],
            asked=self.asked[contests],
            workloads=kept,
            shares=self.shares[contests],
        )

    def about(self, side: Array) -> Losses:
        """All contests, where those outside of a mask tell only what those inside leave open."""
        return replace(self, shares=np.where(side, self.shares, OUTSIDE * self.shares))


def ordered(losses: Losses) -> list[str]:
    """All names, best first: a greedy list, improved by moves, then the rest, see
    NOTE [the loss of an order]."""
    end = [k for k, name in enumerate(losses.names) if name in losses.last]
    known = losses.weights @ losses.asked >= KNOWN
    free = [k for k in range(len(losses.names)) if known[k] and k not in end]
    greedy = _greedy(losses, free)
    first = _improved(losses, greedy, free) if greedy else []
    rest = [k for k in range(len(losses.names)) if k not in (*first, *end)]
    return [losses.names[k] for k in (*first, *_by_mean(losses, rest), *_by_mean(losses, end))]


def judged(losses: Losses, order: Sequence[str]) -> Array:
    """The loss of the list on each contest; nan where what it takes was not measured, or all
    refuse."""
    columns = [losses.names.index(name) for name in order]
    loss, asked = losses.loss[:, columns], losses.asked[:, columns]
    return _first(loss, ~asked | ~np.isnan(loss))


def mean(losses: Losses, values: Array) -> float:
    """The mean of values of the contests, each workload counting the same; nan of none."""
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    return float(np.average(values[known], weights=losses.of(known).weights))


def _first(values: Array, counts: Array) -> Array:
    """Along the last axis the first value that counts, nan where none does."""
    at = counts.argmax(axis=-1)[..., None]
    found = np.take_along_axis(values, at, axis=-1)[..., 0]
    return np.where(counts.any(axis=-1), found, np.nan)


def _objectives(losses: Losses, orders: Sequence[Sequence[int]]) -> Array:
    """What a list is fitted to, for each of some: mean and worst loss, and the refusals on the way
    to an answer."""
    # Shorter lists are filled up with a strategy that nobody was asked for.
    none, longest = len(losses.names), max(map(len, orders))
    columns = np.array([[*order, *[none] * (longest - len(order))] for order in orders])
    loss = np.pad(losses.loss, ((0, 0), (0, 1)), constant_values=np.nan)[:, columns]
    asked = np.pad(losses.asked, ((0, 0), (0, 1)))[:, columns]
    there = ~np.isnan(loss)
    found = np.where(there.any(axis=2), _first(loss, there), FAILED)
    refusals = ((np.cumsum(there, axis=2) == 0) & asked).sum(axis=2)
    weighed = losses.weights @ (found + REFUSAL * refusals)
    return np.asarray(weighed + WORST * (found * losses.shares[:, None]).max(axis=0))


def _greedy(losses: Losses, free: Iterable[int]) -> list[int]:
    """Again and again the strategy that loses least where those before it all refuse."""
    left, order, there = list(free), [], ~np.isnan(losses.loss)
    loss, open_ = np.where(there, losses.loss, 0.0), np.ones(len(losses.loss), bool)
    while left and there[open_][:, left].any():
        weights = losses.weights[open_]
        shares = (weights @ there[open_]).round(9)
        means = (weights @ loss[open_]) / np.where(shares, shares, np.nan)
        least = np.nanmin(means[left])
        near = [k for k in left if means[k] <= least + TIE]
        order.append(min(near, key=lambda k: (-shares[k], means[k], k)))
        left.remove(order[-1])
        open_ &= ~there[:, order[-1]]
    return order


def _improved(losses: Losses, order: list[int], free: Sequence[int]) -> list[int]:
    """The list after the moves that gain, of one strategy each, within it or in from the free."""
    least = _objectives(losses, [order])[0]
    while moves := _moves(order, free):
        tried = _objectives(losses, moves).round(9)
        best = int(tried.argmin())
        if not tried[best] < least - STEP:
            break
        least, order = tried[best], moves[best]
    return _taken(losses, order)


def _moves(order: list[int], free: Iterable[int]) -> list[list[int]]:
    found = []
    for k in free:
        without = [each for each in order if each != k]
        found += [without] if 0 < len(without) < len(order) else []
        found += [[*without[:at], k, *without[at:]] for at in range(len(without) + 1)]
    return [each for each in found if each != order]


def _taken(losses: Losses, order: list[int]) -> list[int]:
    """Without those before which another always answers, or was not asked."""
    counts = ~losses.asked[:, order] | ~np.isnan(losses.loss[:, order])
    firsts = set(counts[counts.any(axis=1)].argmax(axis=1).tolist())
    return [k for at, k in enumerate(order) if at in firsts]


def _by_mean(losses: Losses, columns: Sequence[int]) -> list[int]:
    """By mean loss, where a refusal loses too; then who was hardly asked, and who is silent."""
    refused = np.isnan(losses.loss)
    shares = losses.weights @ losses.asked
    lost = losses.weights @ (np.where(refused, REFUSED, losses.loss) * losses.asked)
    means = np.where(shares, lost / np.where(shares, shares, 1), np.inf).round(9)
    order = np.lexsort((means, shares < KNOWN, refused.all(axis=0))).tolist()
    return [k for k in order if k in columns]
