"""Networks kept apart: the choice of a strategy is judged on them, and nothing is fitted to them.

Each is a recipe `function(dtype, device, generator)` and can be measured by its file, as in
`python -m bench run --workload tests/heldout/particles.py:lennard_jones_13`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bench.problem import Problem
from bench.workloads.registry import Workload
from strategies import Operator

from . import coordinates, densities, images, particles, perceptrons, sequences, tokens

Recipe = Callable[..., Problem]

# The recipes by name, and the operators that they are asked for.
RECIPES: Mapping[str, Recipe] = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (
        perceptrons.gelu_mlp,
        perceptrons.residual_mlp,
        perceptrons.rational,
        coordinates.siren,
        coordinates.siren_scalar,
        coordinates.fourier_features,
        coordinates.deep_operator,
        tokens.vit_block,
        tokens.vit_fused,
        tokens.attention_energy,
        images.unet,
        sequences.unrolled_gru,
        sequences.coupling_flow,
        densities.mixture_density,
        densities.radial_basis,
        particles.lennard_jones_3,
        particles.lennard_jones_13,
        particles.message_passing,
    )
}

_FIRST = (Operator.JACOBIAN, Operator.VJP, Operator.JVP)
_SQUARE = (*_FIRST, Operator.DIVERGENCE)
_ENERGY = (Operator.GRADIENT, Operator.HVP, Operator.HESSIAN)
_SCALAR = (*_ENERGY, Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN)

OPERATORS: Mapping[str, tuple[Operator, ...]] = {
    "gelu-mlp": _FIRST,
    "residual-mlp": _SCALAR,
    "rational": (*_SQUARE, Operator.LAPLACIAN),
    "siren": (*_SQUARE, Operator.LAPLACIAN),
    "siren-scalar": _SCALAR,
    "fourier-features": _SCALAR,
    "deep-operator": _SCALAR,
    "vit-block": _FIRST,
    "vit-fused": _FIRST,
    "attention-energy": _SCALAR,
    "unet": _SQUARE,
    "unrolled-gru": _FIRST,
    "coupling-flow": _SQUARE,
    "mixture-density": _ENERGY,
    "radial-basis": (*_FIRST, Operator.HESSIAN_DIAGONAL, Operator.LAPLACIAN),
    "lennard-jones-3": _SCALAR,
    "lennard-jones-13": _SCALAR,
    "message-passing": (*_ENERGY, Operator.LAPLACIAN),
}


def build(name: str, dtype: torch.dtype = torch.float64, batch: int | None = None) -> Problem:
    """The network's problem on the CPU, the same each time; batch: None for the recipe's own."""
    recipe = RECIPES[name]
    made = Workload(name, recipe.__doc__ or "", 0, recipe)
    return made.build(dtype, torch.device("cpu"), torch.Generator().manual_seed(0), batch=batch)


def spec(name: str) -> str:
    """As `--workload` takes it: `FILE.py:function`."""
    recipe = RECIPES[name]
    return f"{Path(recipe.__code__.co_filename)}:{recipe.__name__}"
