"""What the fuzz differentiates: functions good and bad, with a float64 twin where there is one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

import torch
from closed_forms import OUTER, Formula, formula
from conftest import Exact, Net, Shape, draw, one_row_differences
from torch import Tensor, nn

Core = Callable[[Tensor], Tensor]


class OwnError(Exception):
    """What a function of the fuzz raises by itself."""


class OwnRuntimeError(RuntimeError):
    """The same, as a RuntimeError: torch's own errors are such too."""


@dataclass(frozen=True)
class Place:
    """Where a function lives: its shapes, and of the batch it will meet the sum and largest."""

    in_shape: Shape
    out_shape: Shape
    seed: int
    total: float
    largest: float

    @property
    def n(self) -> int:
        return prod(self.in_shape)

    @property
    def m(self) -> int:
        return prod(self.out_shape)

    def matrix(self) -> Tensor:
        return draw(self.n, self.m, seed=self.seed)


@dataclass(frozen=True)
class Subject:
    """A function under its name; `twin`: the same in float64, or None where no answer is right."""

    name: str
    f: Any
    place: Place
    twin: Callable[..., Tensor] | None = None

    @property
    def answerable(self) -> bool:
        return self.twin is not None

    def exact(self, x: Tensor, *args: Tensor) -> Exact:
        """By its formula, else by differences that move one row at a time."""
        f, place = self.twin, self.place
        assert f is not None
        if isinstance(f, Formula) and all(arg.dim() == 1 + arg.is_floating_point() for arg in args):
            return f.exact(x, *args)
        args = tuple(arg.double() if arg.is_floating_point() else arg for arg in args)

        def flat(z: Tensor) -> Tensor:
            return f(z.reshape(len(z), *place.in_shape), *args).reshape(len(z), place.m)

        return one_row_differences(flat, x.detach().double().reshape(len(x), place.n))


def watched(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function under one code object, by which a traceback is seen to pass through it."""

    def called(*inputs: Any) -> Any:
        return f(*inputs)

    return called


def shaped(core: Core, place: Place) -> Callable[..., Tensor]:
    """`[B, n] -> [B, m]` in the shapes of the place; args are ignored."""

    def of_shapes(x: Tensor, *args: Tensor) -> Tensor:
        return core(x.reshape(len(x), place.n)).reshape(len(x), *place.out_shape)

    return of_shapes


def _mixed(place: Place) -> Core:
    A = place.matrix()
    return lambda z: (z @ A.to(z.dtype)).sin() + z[:, :1] * z[:, -1:] ** 2


# Right ones, flat: each is its own twin.


def _in_place_on_its_own(place: Place) -> Core:
    A = place.matrix()
    return lambda z: (z @ A.to(z.dtype)).mul_(2).sin_()


def _where(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(torch.where(z > 0, z**2, z**3))


def _branching(place: Place) -> Core:
    f, above = _mixed(place), 0.0 if abs(place.total) > 0.05 else 10.0
    return lambda z: f(z) ** 2 if z.sum() > above else f(z)


def _by_row(place: Place) -> Core:
    """A Python branch on the largest row, as solvers have that stop when all rows are done."""
    f, above = _mixed(place), 0.6 if abs(place.largest - 0.6) > 0.05 else 10.0
    return lambda z: f(z) ** 2 if z.abs().amax() > above else f(z)


def _closure_of_rows(place: Place) -> Core:
    f, factor = _mixed(place), draw(8, 1, seed=place.seed + 1)
    return lambda z: f(z) * factor[: len(z)].to(z.dtype)


def _centred(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(z - 0.5 * z.mean(0))


def _weak_coupling(place: Place) -> Core:
    """The second row alone moves the first."""
    f = _mixed(place)
    return lambda z: f(z + 0.3 * z.roll(1, 0) ** 2)


def _counting(place: Place) -> Core:
    f, calls = _mixed(place), []

    def counted(z: Tensor) -> Tensor:
        calls.append(len(z))
        return f(z)

    return counted


def _upcasting(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(z).double()


def _sums(place: Place) -> Core:
    return lambda z: (z**3).sum(1, keepdim=True).expand(len(z), place.m)


def _force_by_func(place: Place) -> Core:
    f = _mixed(place)
    total = torch.func.grad(lambda z: f(z).sum())
    return lambda z: total(z).sum(1, keepdim=True) * f(z)


def _force_by_autograd(place: Place) -> Core:
    f = _mixed(place)

    def force(z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            (g,) = torch.autograd.grad(f(z).sum(), z, create_graph=True)
        return g.sum(1, keepdim=True) * f(z)

    return force


def _fourier(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(torch.fft.rfft(z).real[:, :1] * z)


def _softmax(place: Place) -> Core:
    A = place.matrix()
    return lambda z: (z @ A.to(z.dtype)).softmax(-1) * z[:, :1]


def _checkpointed(place: Place) -> Core:
    f = _mixed(place)
    from torch.utils.checkpoint import checkpoint

    return lambda z: checkpoint(f, z, use_reentrant=False)


def _scanned(place: Place) -> Core:
    f, B = _mixed(place), torch.arange(2)
    return lambda z: torch.func.vmap(lambda k: f(z * (1 + k)))(B).sum(0)


RIGHT: dict[str, Callable[[Place], Core]] = {
    "mixed": _mixed,
    "in-place": _in_place_on_its_own,
    "where": _where,
    "branching": _branching,
    "by-row": _by_row,
    "closure-of-rows": _closure_of_rows,
    "centred": _centred,
    "weak-coupling": _weak_coupling,
    "counting": _counting,
    "upcasting": _upcasting,
    "sums": _sums,
    "force-func": _force_by_func,
    "force-autograd": _force_by_autograd,
    "fourier": _fourier,
    "softmax": _softmax,
    "checkpointed": _checkpointed,
    "vmap-inside": _scanned,
}


# Right ones that are modules: the twin is a copy in float64.


def _net(place: Place) -> nn.Module:
    return Net(place.n, place.m)


def _batch_norm(place: Place) -> nn.Module:
    """With a large eps: of rows all the same, differences would not see the curvature."""
    return nn.Sequential(nn.BatchNorm1d(place.n, eps=0.1), Net(place.n, place.m)).double().train()


def _batch_norm_eval(place: Place) -> nn.Module:
    return _batch_norm(place).eval()


def _dropout_eval(place: Place) -> nn.Module:
    return nn.Sequential(Net(place.n, place.m), nn.Dropout(0.5)).eval()


MODULES: dict[str, Callable[[Place], nn.Module]] = {
    "net": _net,
    "batch-norm": _batch_norm,
    "batch-norm-eval": _batch_norm_eval,
    "dropout-eval": _dropout_eval,
}


# Those that torch itself computes wrong in places: right ones as soon as the table knows where.


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return gradients[0] * 3 * z**2


def _det(place: Place) -> Core:
    f, A = _mixed(place), draw(2, 2, place.n, seed=place.seed + 3)
    eye = 2 * torch.eye(2)

    def det(z: Tensor) -> Tensor:
        matrices = eye.to(z.dtype) + torch.einsum("ijk,bk->bij", A.to(z.dtype), z + z**2) / 4
        return f(z) * torch.linalg.det(matrices)[:, None]

    return det


def _solve(place: Place) -> Core:
    f, A = _mixed(place), draw(2, 2, place.n, seed=place.seed + 3)
    eye, one = 3 * torch.eye(2), torch.ones(2)

    def solve(z: Tensor) -> Tensor:
        matrices = eye.to(z.dtype) + torch.einsum("ijk,bk->bij", A.to(z.dtype), z + z**2) / 4
        found = torch.linalg.solve(matrices, one.to(z.dtype).expand(len(z), 2))
        return f(z) * found.sum(-1, keepdim=True)

    return solve


def _layer_norm(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(nn.functional.layer_norm(z, (place.n,), eps=0.1) + z)


def _custom(place: Place) -> Core:
    f = _mixed(place)
    return lambda z: f(_Cube.apply(z))


MEASURED: dict[str, Callable[[Place], Core]] = {
    "det": _det,
    "solve": _solve,
    "layer-norm": _layer_norm,
    "custom-function": _custom,
}


# Bad ones, as they are called: no answer is right, so there must be none.


def _writes_into_x(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(x.mul_(1.5))


def _writes_outside(place: Place) -> Any:
    f, total = shaped(_mixed(place), place), torch.zeros(())

    def adding(x: Tensor, *args: Tensor) -> Tensor:
        total.add_(1)
        return f(x)

    return adding


def _keeps_a_state(place: Place) -> Any:
    f, calls = shaped(_mixed(place), place), [0]

    def drifting(x: Tensor, *args: Tensor) -> Tensor:
        calls[0] += 1
        return f(x) * calls[0]

    return drifting


def _random(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(nn.functional.dropout(x, 0.5))


def _noisy(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(x + 0.1 * torch.randn(x.shape).to(x.dtype))


def _detached(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(x.detach())


def _detached_in_part(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(x) + 3 * f(x.detach())


def _through_numpy(place: Place) -> Any:
    f = shaped(_mixed(place), place)
    return lambda x, *args: f(torch.from_numpy(x.detach().numpy() * 2))


def _raises(place: Place) -> Any:
    def raising(x: Tensor, *args: Tensor) -> Tensor:
        raise OwnError("not today")

    return raising


def _raises_runtime(place: Place) -> Any:
    def raising(x: Tensor, *args: Tensor) -> Tensor:
        raise OwnRuntimeError

    return raising


def _inference_parameters(place: Place) -> Any:
    with torch.inference_mode():
        net = Net(place.n, place.m)
    return shaped(net, place)


def _returning(change: Callable[[Tensor], Any]) -> Callable[[Place], Any]:
    def build(place: Place) -> Any:
        f = shaped(_mixed(place), place)
        return lambda x, *args: change(f(x))

    return build


BAD: dict[str, Callable[[Place], Any]] = {
    "writes-into-x": _writes_into_x,
    "writes-outside": _writes_outside,
    "keeps-a-state": _keeps_a_state,
    "random": _random,
    "noisy": _noisy,
    "detached": _detached,
    "detached-in-part": _detached_in_part,
    "through-numpy": _through_numpy,
    "raises": _raises,
    "raises-runtime-error": _raises_runtime,
    "inference-parameters": _inference_parameters,
    "returns-none": _returning(lambda y: None),
    "returns-tuple": _returning(lambda y: (y, y)),
    "returns-list": _returning(lambda y: [y]),
    "returns-rows-twice": _returning(lambda y: torch.cat([y, y])),
    "returns-integers": _returning(lambda y: y.long()),
    "returns-booleans": _returning(lambda y: y > 0),
    "returns-complex": _returning(lambda y: torch.complex(y.double(), y.double())),
    "returns-sum": _returning(lambda y: y.sum()),
    "returns-sparse": _returning(lambda y: y.to_sparse()),
    "returns-float": _returning(lambda y: float(y.sum())),
    "returns-array": _returning(lambda y: y.detach().numpy()),
    "returns-nothing-a-row": _returning(lambda y: y.reshape(len(y), -1)[:, :0]),
    "takes-too-much": lambda place: lambda x, a, b, c, d: x,
}
DRAWING = ("random", "noisy")
NOT_CALLABLE = {"none": None, "a number": 3, "a name": "f", "a tensor": torch.ones(2)}


def subject(rng: Random, place: Place, *, measured: bool, args: bool) -> Subject:
    """A function by chance: mostly a right one; formulas only where it is to take args."""
    kind = "formula" if args else rng.choices(_KINDS, _WEIGHTS)[0]
    if kind == "bad":
        name = rng.choice(sorted(BAD))
        return Subject(name, watched(BAD[name](place)), place)
    if kind == "not callable":
        name = rng.choice(sorted(NOT_CALLABLE))
        return Subject(name, NOT_CALLABLE[name], place)
    if kind == "formula":
        name = rng.choice(sorted(OUTER))
        known = formula(name, place.in_shape, place.out_shape, place.seed)
        return Subject(name, watched(known), place, known)
    if kind == "module":
        return _module(rng.choice(sorted(MODULES)), place)
    cores = RIGHT | MEASURED if measured else RIGHT
    name = rng.choice(sorted(cores))
    return Subject(
        name, watched(shaped(cores[name](place), place)), place, shaped(cores[name](place), place)
    )


_KINDS = ("formula", "right", "module", "bad", "not callable")
_WEIGHTS = (35, 30, 10, 23, 2)


def _module(name: str, place: Place) -> Subject:
    """A module that takes the dtype of its x at each call."""
    module = MODULES[name](place)
    copies = {d: copy.deepcopy(module).to(d) for d in (torch.float32, torch.float64)}
    core = lambda z: copies.get(z.dtype, module)(z)  # noqa: E731
    return Subject(name, watched(shaped(core, place)), place, shaped(module, place))
