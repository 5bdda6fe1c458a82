"""Lists that hold at some sizes only, where that pays, on other workloads too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import ceil, log2, sqrt
from operator import mul

import numpy as np

from .orders import Array, Losses, judged, mean, ordered

# What a rule may look at, first what holds at sizes that nobody measured: a ratio before a size,
# and last the size of the batch; `bytes` is that of a number.
FEATURES = ("m/n", "n", "m", "B*n*m", "B*n", "B*m", "B", "bytes")
# A division has to lower the loss by this much, and a later feature by this much more.
GAIN = 0.03
NEXT = 0.01
DIVISIONS = 2
# On each side of a division; of one alone a size would stand for a kind of function.
WORKLOADS = 2


@dataclass(frozen=True)
class Condition:
    """A feature at most, or above, a threshold."""

    feature: str
    sign: str
    threshold: float

    def holds(self, features: Mapping[str, Array]) -> Array:
        """Where, as a mask."""
        values = features[self.feature]
        found: Array = values <= self.threshold if self.sign == "<=" else values > self.threshold
        return found

    def __str__(self) -> str:
        return f"{self.feature} {self.sign} {self.threshold:.12g}"


@dataclass(frozen=True)
class Entry:
    """A list, best first, and when it holds; the last of a rule holds always."""

    when: Condition | None
    take: tuple[str, ...]


def features(sizes: Mapping[str, Array]) -> dict[str, Array]:
    """Every feature of contests, from their `n`, `m`, `B` and `bytes`."""
    return {name: _feature(name, sizes) for name in FEATURES}


def _feature(name: str, sizes: Mapping[str, Array]) -> Array:
    above, _, below = name.partition("/")
    product = reduce(mul, (sizes[factor].astype(float) for factor in above.split("*")))
    return product / sizes[below] if below else product


def fitted(losses: Losses, given: Mapping[str, Array]) -> list[Entry]:
    """The entries for these contests: the first whose condition holds counts."""
    found: list[Entry] = []
    left = np.ones(len(losses.loss), bool)
    while len(found) < DIVISIONS and (condition := _division(losses, given, left)):
        inside = left & condition.holds(given)
        found.append(Entry(condition, tuple(ordered(losses.about(inside)))))
        left &= ~inside
    return [*found, Entry(None, tuple(ordered(losses.about(left))))]


def losses_of(entries: Sequence[Entry], losses: Losses, given: Mapping[str, Array]) -> Array:
    """What the rule loses on each contest, as `orders.judged`."""
    found = np.full(len(losses.loss), np.nan)
    left = np.ones(len(losses.loss), bool)
    for entry in entries:
        here = left & (entry.when.holds(given) if entry.when else True)
        found[here] = judged(losses.of(here), entry.take)
        left &= ~here
    return found


def left_out(losses: Losses, given: Mapping[str, Array]) -> Array:
    """What a rule fitted to all other workloads loses on each contest; nan of a lone workload."""
    found = np.full(len(losses.loss), np.nan)
    for own in _each_workload(losses):
        if not own.all():
            others = {name: values[~own] for name, values in given.items()}
            entries = fitted(losses.of(~own), others)
            here = {name: values[own] for name, values in given.items()}
            found[own] = losses_of(entries, losses.of(own), here)
    return found


def _each_workload(losses: Losses) -> Iterator[Array]:
    for name in dict.fromkeys(losses.workloads):
        yield np.array([workload == name for workload in losses.workloads])


def _division(losses: Losses, given: Mapping[str, Array], left: Array) -> Condition | None:
    """The condition that pays most, if one pays; it holds for the fewer contests."""
    here = losses.of(left)
    if mean(here, judged(here, ordered(losses.about(left)))) < GAIN:
        return None
    most = _loss_of_lists(losses, [left]) - GAIN
    found = {}
    for condition in _conditions(losses, given, left):
        inside = left & condition.holds(given)
        found[condition] = _loss_of_lists(losses, [inside, left & ~inside])
    least = min(found.values(), default=np.inf)
    good = [condition for condition, loss in found.items() if loss <= least + NEXT]
    if not least <= most:
        return None
    first = min(FEATURES.index(condition.feature) for condition in good)
    same = [condition for condition in good if FEATURES.index(condition.feature) == first]
    return min(same, key=lambda condition: found[condition])


def _loss_of_lists(losses: Losses, sides: Sequence[Array]) -> float:
    """The mean loss where each side has a list of its own, half of it that on workloads left out:
    few as they are, each teaches what no other does."""
    others, own = np.full((2, len(losses.loss)), np.nan)
    for side in sides:
        own[side] = judged(losses.of(side), ordered(losses.about(side)))
        for workload in _each_workload(losses):
            if (workload & side).any() and not workload.all():
                order = ordered(losses.of(~workload).about(side[~workload]))
                others[workload & side] = judged(losses.of(workload & side), order)
    return round((mean(losses, own) + mean(losses, others)) / 2, 9)


def _conditions(losses: Losses, given: Mapping[str, Array], left: Array) -> Iterator[Condition]:
    """One for each way to divide the contests left in two, by the simplest feature that does."""
    seen: set[bytes] = set()
    for feature in FEATURES:
        for low, high in pairwise(np.unique(given[feature][left])):
            threshold = between(low, high)
            if threshold is None:
                continue
            below = left & (given[feature] <= threshold)
            sides = (below, left & ~below)
            if below.tobytes() not in seen and all(_enough(losses, side) for side in sides):
                seen |= {side.tobytes() for side in sides}
                fewer = "<=" if below.sum() <= sides[1].sum() else ">"
                yield Condition(feature, fewer, threshold)


def _enough(losses: Losses, side: Array) -> bool:
    return len({w for w, here in zip(losses.workloads, side, strict=True) if here}) >= WORKLOADS


def between(low: float, high: float) -> float | None:
    """The power of two p with low <= p < high that is nearest the middle of the two, if any."""
    least, most = ceil(log2(low)), ceil(log2(high)) - 1
    if least > most:
        return None
    wanted = round(log2(sqrt(low * high)))
    return float(2.0 ** min(max(wanted, least), most))
