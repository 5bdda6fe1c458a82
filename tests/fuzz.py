"""Random calls of the library, good and bad, each from a seed of its own, and the rule for them.

A call returns what agrees with the reference, or raises: an error of ours that says something, or
what f itself raised. It leaves nothing behind in torch's global state. `python tests/fuzz.py 12 34`
tells what the calls of seeds 12 and 34 are and do.
"""

from __future__ import annotations

import contextlib
import dis
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import CodeType, TracebackType
from typing import Any

import numpy as np
import torch
from closed_forms import HELD, TYPES
from conftest import UNTRACEABLE, Array, Shape, array, contracted, draw
from fuzz_functions import DRAWING, Place, Subject, subject
from torch import Tensor
from torch.autograd import forward_ad

import strategies
from strategies import (
    DIRECTIONS,
    Operator,
    Orders,
    prepare,
    result_shape,
    strategies_for,
    unsafe,
)

LIBRARY = str(Path(strategies.__file__).parent)
OURS = tuple(
    found
    for found in (getattr(strategies, name) for name in strategies.__all__)
    if isinstance(found, type) and issubclass(found, Exception)
)
F32, F64 = torch.float32, torch.float64
TOLERANCE = {F64: 1e-4, F32: 2e-3, torch.half: 5e-2, torch.bfloat16: 3e-1}
SINGLE = {operator: getattr(strategies, operator.value.replace("-", "_")) for operator in Operator}


class Misbehaved(AssertionError):
    """A call that broke the rule; the message holds its seed."""


@dataclass(frozen=True)
class Call:
    """One call: `inputs` are what it is given, `later` what a plan is called with (None: the same).

    `around` names the surroundings; `by_plan`: through prepare, else through the library's call.
    """

    seed: int
    operator: Any
    subject: Subject
    inputs: tuple[Any, ...]
    how: dict[str, Any]
    by_plan: bool = False
    later: tuple[Any, ...] | None = None
    around: str = "nothing"
    twists: tuple[str, ...] = ()


# What is drawn when nothing is wrong.


def _axes(rng: Random, most: int) -> Shape:
    while True:
        shape = tuple(rng.choice((1, 1, 2, 2, 3)) for _ in range(rng.randint(0, most)))
        if int(np.prod(shape)) <= 4:
            return shape


def _out_shape(rng: Random, operator: Operator, in_shape: Shape) -> Shape:
    if rng.random() < 0.04:
        return _axes(rng, 2)
    if operator == Operator.DIVERGENCE:
        return in_shape
    if operator in (Operator.GRADIENT, Operator.HVP):
        return rng.choice([(), (1,), (1, 1)])
    return _axes(rng, 2)


def _values(rng: Random, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Off zero, where some functions have a kink that differences would smooth."""
    drawn = draw(*shape, seed=rng.randrange(10**6))
    return (drawn + 0.05 * drawn.sign()).to(dtype)


def _how(rng: Random, operator: Operator) -> dict[str, Any]:
    how: dict[str, Any] = {}
    if rng.random() < 0.7:
        found = rng.choice([s for s in strategies_for(operator) if s.exact])
        how["strategy"] = found.name
        if found.chunks and rng.random() < 0.7:
            how["chunk"] = rng.choice([None, 1, 2, 5])
        if found.name not in UNTRACEABLE and rng.random() < 0.04:
            how["execution"] = "traced"
    if rng.random() < 0.3:
        how["create_graph"] = rng.random() < 0.7
    if rng.random() < 0.3:
        how["values"] = rng.random() < 0.7
    return how


def call(seed: int) -> Call:
    """The call of that seed: a good one, into which none, one or two things are mixed."""
    rng = Random(seed)
    operator = rng.choice(list(Operator))
    in_shape, B = _axes(rng, 3), rng.choice((0, 1, 2, 3, 4, 5))
    out_shape, dtype = _out_shape(rng, operator, in_shape), rng.choice((F32, F64, F64))
    x = HELD[rng.choice(sorted(HELD))](_values(rng, (B, *in_shape), dtype))
    total, largest = float(x.detach().sum()), float(x.detach().abs().amax()) if B else 0.0
    place = Place(in_shape, out_shape, rng.randrange(10**6), total, largest)
    with_args = rng.random() < 0.15
    found = subject(rng, place, measured=bool(unsafe.table().strategies), args=with_args)
    side = DIRECTIONS.get(operator)
    like = out_shape if side == "out" else in_shape
    v = () if side is None else (_values(rng, (B, *like), dtype),)
    time, kind = _values(rng, (B, 1), dtype), torch.arange(B) % TYPES
    args = rng.choice([(time,), (kind,), (time, kind)]) if with_args else ()
    made = Call(seed, operator, found, (x, *v, *args), _how(rng, operator), rng.random() < 0.4)
    for name in rng.sample(sorted(TWISTS), rng.choices((0, 1, 2), (50, 38, 12))[0]):
        made = replace(TWISTS[name](rng, made), twists=(*made.twists, name))
    return made


# What is mixed in.


def _with_x(made: Call, change: Callable[[Tensor], Any]) -> Call:
    x, *others = made.inputs or (None,)
    return replace(made, inputs=(change(x), *others)) if isinstance(x, Tensor) else made


def _dtype_of_x(rng: Random, made: Call) -> Call:
    dtypes = "int64 int32 bool half bfloat16 complex64 complex128 float8_e4m3fn uint8"
    dtype = getattr(torch, rng.choice(dtypes.split()))
    everywhere = rng.random() < 0.5

    def cast(t: Any) -> Any:
        return t.detach().to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t

    if everywhere:
        return replace(made, inputs=tuple(map(cast, made.inputs)))
    return _with_x(made, cast)


def _shape_of_x(rng: Random, made: Call) -> Call:
    changes: list[Callable[[Tensor], Any]] = [
        lambda x: x.reshape(-1)[0] if x.numel() else x.new_zeros(()),
        lambda x: x[..., None],
        lambda x: x[None],
        lambda x: x.detach().new_zeros(len(x), 0) if x.dim() else x,
        lambda x: x.detach().new_zeros(len(x), 0, 3) if x.dim() else x,
        lambda x: x.detach().new_zeros(len(x), 5) if x.dim() else x,
        lambda x: x[:1] if x.dim() else x,
    ]
    return _with_x(made, rng.choice(changes))


def _kind_of_x(rng: Random, made: Call) -> Call:
    changes: list[Callable[[Tensor], Any]] = [
        lambda x: x.tolist(),
        lambda x: x.detach().numpy() if x.dtype != torch.bfloat16 else None,
        lambda x: None,
        lambda x: 1.5,
        lambda x: "x",
        lambda x: (x,),
        lambda x: x.detach().to("meta"),
        lambda x: x.detach().to_sparse() if x.dim() and x.itemsize > 1 else x,
        lambda x: torch.nn.Parameter(x.detach().clone()) if x.is_floating_point() else x,
    ]
    return _with_x(made, rng.choice(changes))


def _not_finite(rng: Random, made: Call) -> Call:
    value = rng.choice([float("nan"), float("inf"), -float("inf")])

    def spoil(x: Tensor) -> Tensor:
        z = x.detach().clone()
        if z.numel() and z.is_floating_point() and z.layout == torch.strided:
            z.view(-1)[rng.randrange(z.numel())] = value
        return z

    return _with_x(made, spoil)


def _directed(made: Call) -> bool:
    return isinstance(made.operator, Operator) and made.operator in DIRECTIONS


def _direction(rng: Random, made: Call) -> Call:
    if not _directed(made) or len(made.inputs) < 2:
        return replace(made, inputs=(*made.inputs, torch.ones(2)))
    changes: list[Callable[[Any], Any]] = [
        lambda v: None,
        lambda v: 1.0,
        lambda v: [1.0],
        lambda v: v[..., None],
        lambda v: v[1:],
        lambda v: v.sum(),
        lambda v: v.long(),
        lambda v: v.to(torch.complex64),
        lambda v: v.to(F32 if v.dtype == F64 else F64),
        lambda v: v.to("meta"),
        lambda v: v.clone().requires_grad_(),
        lambda v: v.to_sparse() if v.dim() else v,
        lambda v: v[:1].expand(v.shape),
    ]
    x, v, *args = made.inputs
    fits = isinstance(v, Tensor) and v.is_floating_point() and v.dim()
    return replace(made, inputs=(x, rng.choice(changes)(v), *args)) if fits else made


def _args(rng: Random, made: Call) -> Call:
    x = made.inputs[0] if made.inputs else None
    B = len(x) if isinstance(x, Tensor) and x.dim() else 2
    extra: list[tuple[Any, ...]] = [
        (torch.ones(B + 1, 1),),
        (torch.ones(()),),
        (0.5,),
        (None,),
        ("t",),
        ([0.5] * B,),
        (torch.ones(B, 1).to("meta"),),
        (torch.ones(B, 1).to(torch.complex64),),
        (torch.ones(B, 1).to_sparse(),),
    ]
    return replace(made, inputs=(*made.inputs, *rng.choice(extra)))


def _fewer(rng: Random, made: Call) -> Call:
    return replace(made, inputs=made.inputs[: rng.randrange(max(len(made.inputs), 1))])


def _strategy(rng: Random, made: Call) -> Call:
    names = ["nope", "", None, 3, [], "loop-grad", "Auto", b"auto", "fwd-rev", True]
    return replace(made, how={**made.how, "strategy": rng.choice(names)})


def _operator(rng: Random, made: Call) -> Call:
    names = ["nope", "", None, 3, [], "Jacobian", "hessian_diagonal", "trilaplacian", str]
    return replace(made, operator=rng.choice(names), by_plan=True)


def _options(rng: Random, made: Call) -> Call:
    wrong: dict[str, list[Any]] = {
        "chunk": [0, -1, 2.5, "8 GiB", "8GiB", "eight", "", True, False, [], 1, 3, 10**9],
        "layout": ["sparse", "dense", "csr", None, 3, []],
        "execution": ["compile", "cuda-graph", "nope", "", None, 3, [], "traced", True],
        "create_graph": [True, False, "yes", 1, 0, None, []],
        "values": [True, False, 1, "yes", None, []],
        "race": [True],
    }
    name = rng.choice(sorted(wrong))
    return replace(made, how={**made.how, name: rng.choice(wrong[name])})


def _later(rng: Random, made: Call) -> Call:
    """The plan is called with something else than it was prepared for."""
    changes: list[Callable[[tuple[Any, ...]], tuple[Any, ...]]] = [
        lambda given: tuple(t + 0.1 if _floating(t) else t for t in given),
        lambda given: tuple(t + 0.1 if _floating(t) else t for t in given),
        lambda given: given[:-1],
        lambda given: (*given, *given[:1]),
        lambda given: (None, *given[1:]),
        lambda given: (1.5, *given[1:]),
        lambda given: ([[1.0]], *given[1:]),
        lambda given: tuple(t[:1] if _floating(t) else t for t in given),
        lambda given: tuple(t.float() if _floating(t) else t for t in given),
        lambda given: tuple(t.detach().to("meta") if _floating(t) else t for t in given),
        lambda given: tuple(t.detach().clone().requires_grad_() for t in given if _floating(t)),
    ]
    return replace(made, by_plan=True, later=rng.choice(changes)(made.inputs))


def _floating(t: Any) -> bool:
    dense = isinstance(t, Tensor) and t.layout == torch.strided
    return dense and t.is_floating_point() and t.dim() > 0


def _around(rng: Random, made: Call) -> Call:
    return replace(made, around=rng.choice(sorted(AROUND)))


def _made_in_inference(rng: Random, made: Call) -> Call:
    with torch.inference_mode():
        return _with_x(made, lambda x: x.detach().clone())


TWISTS: dict[str, Callable[[Random, Call], Call]] = {
    "dtype-of-x": _dtype_of_x,
    "shape-of-x": _shape_of_x,
    "kind-of-x": _kind_of_x,
    "not-finite": _not_finite,
    "direction": _direction,
    "args": _args,
    "fewer": _fewer,
    "strategy": _strategy,
    "operator": _operator,
    "options": _options,
    "later": _later,
    "around": _around,
    "inference-x": _made_in_inference,
}


# What is around a call. Under a transform of the caller's own, x is what it transforms.


def _ordinary(manager: Callable[[], Any]) -> Callable[[Call], Any]:
    def within(made: Call) -> Any:
        with manager():
            return answer(made)

    return within


def _transformed(transform: Callable[[Callable[[Tensor], Any], Tensor], Any]) -> Callable:
    def within(made: Call) -> Any:
        if not (made.inputs and _floating(made.inputs[0])):
            return answer(made)
        of_x = lambda x: answer(replace(made, inputs=(x, *made.inputs[1:])))  # noqa: E731
        return transform(of_x, made.inputs[0].detach().clone())

    return within


def _by_vmap(of_x: Callable[[Tensor], Any], x: Tensor) -> Any:
    return torch.func.vmap(of_x)(torch.stack([x, x]))


def _by_grad(of_x: Callable[[Tensor], Any], x: Tensor) -> Any:
    return torch.func.grad(lambda z: _total(of_x(z)))(x)


def _by_jvp(of_x: Callable[[Tensor], Any], x: Tensor) -> Any:
    return torch.func.jvp(lambda z: _total(of_x(z)), (x,), (torch.ones_like(x),))


def _by_dual(of_x: Callable[[Tensor], Any], x: Tensor) -> Any:
    with forward_ad.dual_level():
        return of_x(forward_ad.make_dual(x, torch.ones_like(x)))


def _total(found: Any) -> Any:
    return sum(t.sum() for t in found if t is not None) if isinstance(found, tuple) else found.sum()


TRANSFORMS = {"vmap": _by_vmap, "grad": _by_grad, "jvp": _by_jvp, "dual": _by_dual}
AROUND: dict[str, Callable[[Call], Any]] = {
    "nothing": _ordinary(contextlib.nullcontext),
    "no-grad": _ordinary(torch.no_grad),
    "inference-mode": _ordinary(torch.inference_mode),
    "anomaly": _ordinary(lambda: torch.autograd.set_detect_anomaly(True, check_nan=False)),
    "autocast": _ordinary(lambda: torch.autocast("cpu", torch.bfloat16)),
} | {name: _transformed(transform) for name, transform in TRANSFORMS.items()}


def answer(made: Call) -> Any:
    f, inputs = made.subject.f, made.inputs
    if not made.by_plan:
        return SINGLE[made.operator](f, *inputs, **made.how)
    plan = prepare(made.operator, f, *inputs, **made.how)
    return plan(*(inputs if made.later is None else made.later))


# The rule.


def surroundings() -> tuple[Any, ...]:
    """What of torch's global state a call must leave as it was."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        forward_ad._current_level,
        len(torch.nn.modules.module._global_forward_pre_hooks),
        torch._C._functorch.peek_interpreter_stack(),
        torch._C._len_torch_dispatch_stack(),
        torch._C._len_torch_function_stack(),
    )


def outcome(made: Call) -> str:
    """`returned`, `refused: <class>` or `raised in f`; `Misbehaved` for all else."""
    around, kept = surroundings(), _kept(made)
    try:
        found = AROUND[made.around](made)
    except Exception as error:
        said = _judged(made, error)
    else:
        said = _compared(made, found)
    # Where all is NaN, no call tells that f is random, and the plan draws as f does.
    draws = said == "returned" and made.subject.name in DRAWING
    if surroundings()[draws:] != around[draws:]:
        raise Misbehaved(f"{told(made)}\nleaves something behind in torch's global state")
    if not _same(kept, _kept(made)) and made.subject.name != "writes-into-x":
        raise Misbehaved(f"{told(made)}\nchanges its inputs")
    return said


def _judged(made: Call, error: Exception) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    at = [frame.f_code for frame, _ in frames]
    ours = max((k for k, c in enumerate(at) if _of_the_library(c)), default=-1)
    inside = max((k for k, c in enumerate(at) if c.co_name == "called"), default=-1)
    if isinstance(error, OURS) and str(error).strip():
        return f"refused: {type(error).__name__}"
    if inside > ours:
        return "raised in f"
    if isinstance(error, ValueError | TypeError) and _raised_here(error.__traceback__):
        return f"refused: {type(error).__name__}"
    if isinstance(error, TypeError) and _signature(error):
        return "refused: TypeError"
    raise Misbehaved(f"{told(made)}\nraises {type(error).__name__}: {error}") from error


def _of_the_library(code: CodeType) -> bool:
    """Modes of the library stand between f and the functions of torch that f calls."""
    modes = ("__torch_function__", "__torch_dispatch__")
    return code.co_filename.startswith(LIBRARY) and code.co_name not in modes


def _raised_here(tb: TracebackType | None) -> bool:
    """Whether the innermost frame is the library's, at a raise statement with a message."""
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None or not tb.tb_frame.f_code.co_filename.startswith(LIBRARY):
        return False
    return tb.tb_frame.f_code.co_code[tb.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _signature(error: TypeError) -> bool:
    """Python's own words for a call that does not fit a signature."""
    return any(s in str(error) for s in ("unexpected keyword", "missing", "positional argument"))


def _compared(made: Call, found: Any) -> str:
    if made.around in TRANSFORMS and made.inputs and _floating(made.inputs[0]):
        raise Misbehaved(f"{told(made)}\nreturns under a transform of the caller's own")
    inputs = made.inputs if made.later is None else made.later
    x = inputs[0]
    B, place = len(x), made.subject.place
    place = replace(place, in_shape=tuple(x.shape[1:]))
    if place.n != made.subject.place.n:
        raise Misbehaved(f"{told(made)}\nreturns for an x of another shape than f takes")
    operator = Operator(made.operator)
    own = found
    if isinstance(found, Orders):
        own = found.first if found.second is None else found.second
    shape = result_shape(operator, B, place.in_shape, place.out_shape)
    if tuple(own.shape) != shape:
        raise Misbehaved(f"{told(made)}\nreturns {tuple(own.shape)}, not {shape}")
    if own.dtype != x.dtype:
        raise Misbehaved(f"{told(made)}\nreturns {own.dtype} for {x.dtype}")
    if not B or not bool(x.detach().isfinite().all()):
        return "returned"
    if not made.subject.answerable:
        raise Misbehaved(f"{told(made)}\nreturns {own}, where no answer is right")
    # Autocast leaves float64 alone.
    narrow = made.around == "autocast" and x.dtype == F32
    tolerance = TOLERANCE[torch.bfloat16 if narrow else x.dtype]
    _near(made, own.to_dense(), expected(made, operator, inputs), tolerance)
    if isinstance(found, Orders):
        args = inputs[2 if operator in DIRECTIONS else 1 :]
        exact = made.subject.exact(x, *args)
        _near(made, found.value, exact.value.reshape(found.value.shape), tolerance)
        if found.second is not None:
            _near(made, found.first, exact.first.reshape(found.first.shape), tolerance)
    return "returned"


def expected(made: Call, operator: Operator, inputs: tuple[Tensor, ...]) -> Array:
    x, directed = inputs[0], operator in DIRECTIONS
    place = replace(made.subject.place, in_shape=tuple(x.shape[1:]))
    exact = made.subject.exact(x, *inputs[2 if directed else 1 :])
    flat = contracted(operator, exact, array(inputs[1]) if directed else None)
    return flat.reshape(result_shape(operator, len(x), place.in_shape, place.out_shape))


def _near(made: Call, own: Tensor, exact: Array, tolerance: float) -> None:
    error = float(np.linalg.norm(array(own) - exact))
    if not error <= tolerance * (float(np.linalg.norm(exact)) + 1):
        raise Misbehaved(f"{told(made)}\nis wrong by {error:.2g}: {array(own)}, not {exact}")


def _kept(made: Call) -> list[tuple[Any, ...]]:
    tensors = [t for t in made.inputs if isinstance(t, Tensor) and t.layout == torch.strided]
    return [
        (t.requires_grad, t.is_leaf and t.grad is not None, None if t.is_meta else t.tolist())
        for t in tensors
        if t.dtype != torch.float8_e4m3fn
    ]


def _same(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> bool:
    # By what is printed, in which NaN is NaN.
    return repr(before) == repr(after)


def told(made: Call) -> str:
    """A call in words, with its seed."""
    given = [
        f"{tuple(t.shape)} {t.dtype}" if isinstance(t, Tensor) else repr(t) for t in made.inputs
    ]
    way = "plan of " if made.by_plan else ""
    return (
        f"seed {made.seed}: {way}{made.operator} of {made.subject.name!r} at {', '.join(given)};"
        f" {made.how}; around: {made.around}; twists: {', '.join(made.twists) or 'none'}"
    )


def outcomes(seeds: range) -> Counter[str]:
    """How often each outcome came; raises at the first call that misbehaves."""
    return Counter(outcome(call(seed)) for seed in seeds)


def misbehaviours(seeds: range) -> Iterator[str]:
    """All that misbehave, told: for looking at them together."""
    for seed in seeds:
        try:
            outcome(call(seed))
        except Misbehaved as error:
            yield str(error)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(told(call(int(argument))))
        print(outcome(call(int(argument))))
