"""Training through what auto takes on the held-out networks, against differences of its result."""

from __future__ import annotations

from collections.abc import Callable

import heldout
import pytest
import torch
from torch import Tensor, nn

from bench.problem import direction
from strategies import Operator, Unsupported, prepare

# Every way that there is goes through formulas of torch that hold for fewer derivatives: layer
# norm's double backward takes mean and deviation for constants, fused attention has no second one.
REFUSED = {
    ("attention-energy", Operator.HVP),
    ("attention-energy", Operator.HESSIAN),
    ("vit-fused", Operator.VJP),
}
ASKED = [(name, operator) for name, asked in heldout.OPERATORS.items() for operator in asked]


def slope(of: Callable[[], Tensor], leaves: list[Tensor], along: list[Tensor]) -> float:
    """The derivative of a number by its leaves along a direction, from values, to about 1e-9."""

    def at(step: float) -> float:
        with torch.no_grad():
            for leaf, aside in zip(leaves, along, strict=True):
                leaf.add_(aside, alpha=step)
        found = float(of())
        with torch.no_grad():
            for leaf, aside in zip(leaves, along, strict=True):
                leaf.sub_(aside, alpha=step)
        return found

    h, half, quarter = ((at(s) - at(-s)) / (2 * s) for s in (2e-3, 1e-3, 5e-4))
    once, again = (4 * half - h) / 3, (4 * quarter - half) / 3
    return (16 * again - once) / 15


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize(("name", "operator"), ASKED)
def test_training_through_auto(name: str, operator: Operator) -> None:
    """By parameters, x, the direction and args at once."""
    problem = heldout.build(name, batch=3)
    out = tuple(problem.f(problem.x, *problem.args).shape[1:])
    v = direction(operator, problem, out)
    inputs = (problem.x, *(() if v is None else (v,)), *problem.args)
    leaves = [t.requires_grad_() for t in inputs if t.is_floating_point()]
    leaves += list(problem.f.parameters()) if isinstance(problem.f, nn.Module) else []
    generator = torch.Generator().manual_seed(5)
    if (name, operator) in REFUSED:
        with pytest.raises(Unsupported, match=r"every strategy for .* refuses: .*create_graph: "):
            prepare(operator, problem.f, *inputs, create_graph=True)
        return
    plan = prepare(operator, problem.f, *inputs, create_graph=True)
    found = plan(*inputs)
    assert isinstance(found, Tensor)
    # Random weights: smooth ones hide behind the symmetries of an energy.
    weights = torch.randn(found.shape, generator=generator, dtype=found.dtype)
    along = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in leaves]
    along = [d / d.norm() for d in along]
    grads = torch.autograd.grad((weights * found).sum(), leaves, materialize_grads=True)
    parts = [float((g * d).sum()) for g, d in zip(grads, along, strict=True)]
    trusted = slope(lambda: (weights * plan(*inputs).detach()).sum(), leaves, along)
    assert abs(sum(parts) - trusted) <= 1e-6 * sum(map(abs, parts))
