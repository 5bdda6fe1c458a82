"""Strategies by operator and name: the decorator that adds one, and how to find it again."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import NoneType
from typing import Literal, TypedDict

from torch import Tensor

from .functions import Function, first_line
from .operators import Operator, Orders

Inputs = tuple[Tensor, ...]
Evaluate = Callable[..., Tensor | Orders]
Need = Literal["rows", "sum", "scalar", "square", "separable", "chain", "sparse"]

# Raised when the meaning of a strategy's inputs or results changes: runs before and after are
# not comparable.
CONTRACT = 1
ENTRY_POINTS = "input_derivatives.strategies"

_BUDGET = re.compile(r"\s*\d+(\.\d+)?\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)\s*")


# Of what type each option is.
_KINDS: dict[str, tuple[type, ...]] = {
    "create_graph": (bool,),
    "chunk": (int, str, NoneType),
    "layout": (str,),
    "execution": (str,),
    "values": (bool,),
    "samples": (int, NoneType),
}


class Unsupported(ValueError):
    """A strategy does not offer what was asked; the message is the reason."""


class TorchLimit(Unsupported):
    """torch itself raised where a strategy asked it for a derivative; the message is torch's."""


class UnknownStrategy(LookupError):
    """No strategy of that name for the operator; the message lists the known ones."""


class DuplicateStrategy(ValueError):
    """Two strategies of one name for one operator."""


class StrategyFileError(ValueError):
    """A file of strategies that cannot be read, raises, or adds none."""


@dataclass(frozen=True)
class Options:
    """How an operator is to be evaluated.

    `create_graph`: the result is differentiable with respect to parameters, x, args and the
    direction. `chunk`: directions at once, or a budget ("8 GiB"): bytes that one evaluation may
    allocate, its result included, which `prepare` turns into a number for the strategy. `layout`:
    "dense" or "sparse". `execution`: how the strategy's code runs. `values`: return `Orders`.
    `samples`: how many products an estimator takes, None for `drawing.SAMPLES`.
    """

    create_graph: bool = False
    chunk: int | str | None = None
    layout: Literal["dense", "sparse"] = "dense"
    execution: str = "eager"
    values: bool = False
    samples: int | None = None

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if not isinstance(given := getattr(self, name), kind):
                words = " or ".join("None" if k is NoneType else k.__name__ for k in kind)
                raise TypeError(f"{name} is {words}, not {given!r}")
        if self.layout not in ("dense", "sparse"):
            raise ValueError(f'layout is "dense" or "sparse", not {self.layout!r}')
        if isinstance(self.chunk, int) and (isinstance(self.chunk, bool) or self.chunk < 1):
            raise ValueError(f"chunk counts directions, from 1 on, not {self.chunk!r}")
        if isinstance(self.chunk, str) and not _BUDGET.fullmatch(self.chunk):
            raise ValueError(f'chunk as a budget reads like "8 GiB", not {self.chunk!r}')
        if self.samples is not None and (isinstance(self.samples, bool) or self.samples < 1):
            raise ValueError(f"samples counts products, from 1 on, not {self.samples!r}")


class Keywords(TypedDict, total=False):
    """The keywords that every operator takes; see `Options`."""

    create_graph: bool
    chunk: int | str | None
    layout: Literal["dense", "sparse"]
    execution: str
    samples: int | None


# Draws the probes of one evaluation, `[k, B, n]`; made anew for each plan.
Draw = Callable[[], Tensor]
Draws = Callable[[Inputs, Options], Draw]
Prepare = Callable[[Function, Inputs, Options], Evaluate]


@dataclass(frozen=True)
class Strategy:
    """One way to compute one operator.

    `prepare(f, inputs, options)` gets f as `[B, n] -> [B, m]` and the example inputs and returns
    the function that is timed. `needs`: what it takes for granted of f (`rows`: both senses of
    row independence; `sum`: that rows are apart; `scalar`: m = 1; `square`: m = n; `separable`:
    that no two inputs of a row meet, so that every Hessian is diagonal; `chain`: that f is a chain
    of affine and elementwise layers; `sparse`: that most of the result is zero whatever the
    values). `sparse`: it offers `layout="sparse"`. `draws`: of an estimator (`exact` is false),
    what makes its probes, which its function takes after x, see `drawing`.
    """

    name: str
    operator: Operator
    mode: str
    sweep: str
    summary: str
    prepare: Prepare
    exact: bool = True
    needs: frozenset[Need] = frozenset()
    chunks: bool = False
    not_differentiable: str | None = None
    sparse: bool = False
    draws: Draws | None = None


STRATEGIES: dict[tuple[Operator, str], Strategy] = {}


def strategy(
    operator: Operator,
    *,
    mode: str,
    sweep: str,
    name: str | None = None,
    needs: Iterable[Need] = (),
    exact: bool = True,
    chunks: bool = False,
    not_differentiable: str | None = None,
    sparse: bool = False,
    draws: Draws | None = None,
) -> Callable[[Prepare], Prepare]:
    """Register a function transform `(f, inputs, options) -> evaluate` as a strategy.

    Its name with dashes is the public name, the first line of its docstring the sentence that the
    report prints. `chunks` says that it honours `options.chunk`; `not_differentiable` is the
    reason for which it refuses `create_graph`; `sparse` says that it offers `layout="sparse"`. An
    estimator says `exact=False` and, by `draws`, what its probes are.
    """

    def register(prepare: Prepare) -> Prepare:
        public = name or prepare.__name__.replace("_", "-")
        if (operator, public) in STRATEGIES:
            raise DuplicateStrategy(f"there already is a strategy {public!r} for {operator}")
        summary = (prepare.__doc__ or "").strip().partition("\n")[0]
        STRATEGIES[operator, public] = Strategy(
            *(public, operator, mode, sweep, summary, prepare, exact, frozenset(needs)),
            *(chunks, not_differentiable, sparse, draws),
        )
        return prepare

    return register


def summed(prepare: Prepare) -> Prepare:
    """The Laplacian from a strategy for the Hessian diagonal: `[B, m, n]` summed over n."""

    @functools.wraps(prepare)
    def prepare_sum(f: Function, inputs: Inputs, options: Options) -> Evaluate:
        diagonal = prepare(f, inputs, options)

        def evaluate(x: Tensor, *args: Tensor) -> Tensor | Orders:
            found = diagonal(x, *args)
            if isinstance(found, Orders):
                assert found.second is not None
                return found._replace(second=found.second.sum(-1))
            return found.sum(-1)

        return evaluate

    return prepare_sum


def strategies_for(operator: Operator) -> list[Strategy]:
    """The operator's strategies, in reading order."""
    return [s for (of, _), s in STRATEGIES.items() if of == operator]


def find(operator: Operator, name: str) -> Strategy:
    """The strategy of that name; `UnknownStrategy` lists the known ones."""
    if not isinstance(name, str):
        raise TypeError(f"a strategy is asked for by its name, not by {name!r}")
    if (operator, name) not in STRATEGIES:
        load_installed()
    if (operator, name) not in STRATEGIES:
        known = ", ".join(["auto", *(s.name for s in strategies_for(operator))])
        raise UnknownStrategy(f"no strategy {name!r} for {operator}; known: {known}")
    return STRATEGIES[operator, name]


@functools.cache
def load_installed() -> None:
    """Import the strategies of installed packages (entry points `input_derivatives.strategies`)."""
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


@functools.cache
def load_strategies(path: str) -> tuple[Strategy, ...]:
    """Run a user's file of decorated functions; returns what it added to `STRATEGIES`."""
    if not Path(path).is_file():
        raise StrategyFileError(f"no strategies file {path}")
    before = set(STRATEGIES)
    spec = importlib.util.spec_from_file_location(f"user_strategies_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise StrategyFileError(f"{path} is not a Python file")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise StrategyFileError(
            f"{path} raises {type(error).__name__}: {first_line(error)}"
        ) from error
    added = tuple(s for key, s in STRATEGIES.items() if key not in before)
    if not added:
        raise StrategyFileError(f"{path} adds no strategy: decorate a function with @strategy(…)")
    return added
