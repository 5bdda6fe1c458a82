"""Right answers made wrong on purpose, one way each: what a gate is worth is what it rejects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from strategies import Operator


@dataclass(frozen=True)
class Answer:
    """An operator's result `[B, …]` for rows of these shapes."""

    operator: Operator
    result: Tensor
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @property
    def flat(self) -> Tensor:
        """`[B, m, n]` for a Jacobian, `[B, m, n, n]` for a Hessian, `[B, entries]` else."""
        n, m = prod(self.in_shape), prod(self.out_shape)
        B = len(self.result)
        if self.operator == Operator.JACOBIAN:
            return self.result.reshape(B, m, n)
        if self.operator == Operator.HESSIAN:
            return self.result.reshape(B, m, n, n)
        return self.result.reshape(B, -1)

    def with_flat(self, flat: Tensor) -> Tensor:
        return flat.reshape(self.result.shape)


# The changed result, or None where the change has no meaning for the operator and its shapes.
Mutate = Callable[[Answer], Tensor | None]


def _entry(value: float) -> Mutate:
    """The last entry of the last row replaced."""

    def mutate(a: Answer) -> Tensor:
        flat = a.result.flatten().clone()
        flat[-1] = value
        return a.with_flat(flat)

    return mutate


def _one_off(a: Answer) -> Tensor:
    """The first entry moved by a hundredth of the root mean square of all."""
    flat = a.result.flatten().clone()
    flat[0] += 0.01 * flat.square().mean().sqrt()
    return a.with_flat(flat)


def _transposed(a: Answer) -> Tensor | None:
    """Outputs taken for inputs; where a Hessian has one output, its two inputs."""
    flat = a.flat
    if flat.dim() < 3:
        return None
    first = 1 if flat.shape[1] == flat.shape[2] else 2
    if first + 1 >= flat.dim() or flat.shape[first] != flat.shape[first + 1]:
        return None
    return a.with_flat(flat.transpose(first, first + 1))


def _dropped(axis: int) -> Mutate:
    """One index fewer: another shape."""

    def mutate(a: Answer) -> Tensor | None:
        if a.result.dim() == 1 and axis:
            return None
        return a.result.narrow(axis, 0, a.result.shape[axis] - 1)

    return mutate


def _zeroed(axis: int) -> Mutate:
    """One index never filled: the shape is right."""

    def mutate(a: Answer) -> Tensor | None:
        flat = a.flat
        if flat.dim() == 2 and flat.shape[1] == 1 and axis:
            return None
        return a.with_flat(flat.index_fill(axis, torch.tensor([flat.shape[axis] - 1]), 0))

    return mutate


def _rows_swapped(a: Answer) -> Tensor:
    order = [1, 0, *range(2, len(a.result))]
    return a.result[order]


def _off_by_one(a: Answer) -> Tensor:
    """Every entry in its neighbour's place; of rows with one entry in the next row's."""
    flat = a.flat
    return a.with_flat(flat.roll(1, -1 if flat[0].numel() > 1 else 0))


def _diagonal_doubled(a: Answer) -> Tensor | None:
    flat = a.flat.clone()
    if flat.dim() < 3 or flat.shape[-1] != flat.shape[-2]:
        return None
    flat.diagonal(dim1=-2, dim2=-1).mul_(2)
    return a.with_flat(flat)


def _rounded(a: Answer) -> Tensor | None:
    return a.result.float().double() if a.result.dtype == torch.float64 else None


def _other_dtype(a: Answer) -> Tensor:
    return a.result.to(torch.float32 if a.result.dtype == torch.float64 else torch.float64)


MUTANTS: Mapping[str, Mutate] = {
    "zeros": lambda a: torch.zeros_like(a.result),
    "sign": lambda a: -a.result,
    "doubled": lambda a: 2 * a.result,
    "transposed": _transposed,
    "diagonal doubled": _diagonal_doubled,
    "row dropped": _dropped(0),
    "column dropped": _dropped(-1),
    "row zeroed": _zeroed(0),
    "column zeroed": _zeroed(-1),
    "rows swapped": _rows_swapped,
    "off by one": _off_by_one,
    "one entry off": _one_off,
    "NaN": _entry(float("nan")),
    "infinite": _entry(float("inf")),
    "rounded to float32": _rounded,
    "other dtype": _other_dtype,
    "other device": lambda a: a.result.to("meta"),
    "other layout": lambda a: a.result.to_sparse(),
    "other shape": lambda a: a.result[..., None],
}


def mutants(answer: Answer) -> Iterator[tuple[str, Tensor]]:
    """Every kind that has a meaning for the answer, with its wrong result."""
    for kind, mutate in MUTANTS.items():
        wrong = mutate(answer)
        if wrong is not None:
            yield kind, wrong


def equivalent(answer: Answer, wrong: Tensor) -> bool:
    """Whether a mutant is the answer itself, each number of it: there is nothing to reject."""
    same_kind = (wrong.dtype, wrong.layout, wrong.device) == (
        answer.result.dtype,
        answer.result.layout,
        answer.result.device,
    )
    return same_kind and torch.equal(wrong, answer.result)
