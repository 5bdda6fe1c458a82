"""Workloads by name: the decorator that adds one, and the user's own file."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem

Build = Callable[..., Problem]


class UnknownWorkload(LookupError):
    """No workload of that name; the message lists the known ones."""


class DuplicateWorkload(ValueError):
    """Two workloads of one name."""


class WorkloadError(ValueError):
    """A workload that cannot be loaded or built; the message says which and why."""


@dataclass(frozen=True)
class Workload:
    """A recipe: `build(dtype, device, generator, batch=…, **params)` makes its problem.

    `version` is raised whenever the numbers that it makes change.
    """

    name: str
    text: str
    version: int
    recipe: Build

    def build(
        self,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator,
        *,
        batch: int | None = None,
        **params: Any,
    ) -> Problem:
        """The problem, the same for the same generator state; the global RNG is not touched."""
        sizes = params if batch is None else {"batch": batch, **params}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            return self.recipe(dtype, device, generator, **sizes)


WORKLOADS: dict[str, Workload] = {}


def workload(*, version: int) -> Callable[[Build], Build]:
    """Register a recipe under its name with dashes; its docstring's first line describes it."""

    def register(recipe: Build) -> Build:
        name = recipe.__name__.replace("_", "-")
        if name in WORKLOADS:
            raise DuplicateWorkload(f"there already is a workload {name!r}")
        text = (recipe.__doc__ or "").strip().partition("\n")[0]
        WORKLOADS[name] = Workload(name, text, version, recipe)
        return recipe

    return register


def find_workload(name: str) -> Workload:
    """The workload of that name; `UnknownWorkload` lists the known ones."""
    if name.startswith("probe-"):
        # Only now: probes are made of workloads, and no run but that of coverage needs them.
        from ..probes import PROBES

        return PROBES[name]
    if name not in WORKLOADS:
        raise UnknownWorkload(f"no workload {name!r}; known: {', '.join(WORKLOADS)}")
    return WORKLOADS[name]


@functools.cache
def load_workload(spec: str) -> Workload:
    """The user's own: `FILE.py:function` with `function(dtype, device, generator)`.

    The function returns a `Problem` or just `(f, x)`. `VERSION` of the file, default 0, is the
    workload's version. It is registered under the function's name, and tried once.
    """
    path, _, function = spec.rpartition(":")
    module = _module(path or spec)
    recipe = getattr(module, function, None) if path else None
    if not callable(recipe):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise WorkloadError(
            f"{spec}: name a function, as FILE.py:function; there are: {', '.join(known) or 'none'}"
        )
    name = function.replace("_", "-")
    if name in WORKLOADS:
        raise WorkloadError(f"{spec}: there already is a workload {name!r}; rename the function")
    text = (recipe.__doc__ or "").strip().partition("\n")[0] or Path(path).name
    made = Workload(name, text, getattr(module, "VERSION", 0), _guarded(spec, recipe))
    made.build(torch.float32, torch.device("cpu"), torch.Generator().manual_seed(0))
    WORKLOADS[name] = made
    return made


def _module(path: str) -> ModuleType:
    if not Path(path).is_file():
        raise WorkloadError(f"no workload file {path}")
    spec = importlib.util.spec_from_file_location(f"user_workload_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise WorkloadError(f"{path} raises {_said(error)}") from error
    return module


def _guarded(spec: str, recipe: Callable[..., Any]) -> Build:
    """The user's function with its exceptions and its result made clear."""

    def build(
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator,
        *,
        batch: int | None = None,
    ) -> Problem:
        try:
            made = recipe(dtype, device, generator)
        except Exception as error:
            raise WorkloadError(f"{spec} raises {_said(error)}") from error
        problem = made if isinstance(made, Problem) else _pair(spec, made)
        _callable_at_x(spec, problem)
        if batch not in (None, len(problem.x)):
            raise WorkloadError(f"{spec} makes x of {len(problem.x)} rows, not of {batch}")
        return problem

    return build


def _pair(spec: str, made: Any) -> Problem:
    if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0])):
        raise WorkloadError(f"{spec} must return Problem(f, x, …) or (f, x), not {type(made)}")
    return Problem(made[0], made[1])


def _callable_at_x(spec: str, problem: Problem) -> None:
    x = problem.x
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0:
        kind = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise WorkloadError(f"{spec}: x must be a floating-point tensor [B, …], not {kind}")
    try:
        with torch.no_grad():
            problem.f(x, *problem.args)
    except Exception as error:
        raise WorkloadError(f"{spec}: f(x, *args) raises {_said(error)}") from error


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
