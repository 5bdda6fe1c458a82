"""Any f in float64, or on complex numbers, from the very values it holds.

f is not rebuilt: below PyTorch's dispatcher every floating tensor is cast up before an operation
sees it, so that parameters, closures and constants take part with the values they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.special
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
Array = np.ndarray


class Precise(TorchDispatchMode):
    """Runs every operation in `dtype`: float64, or complex128 with `COMPLEX` rules where torch
    has no complex kernel."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.rules: Mapping[Any, Callable[..., Any]] = COMPLEX if dtype.is_complex else {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # What is real stays real until it meets a complex number: operations that torch takes apart
        # into real and imaginary parts would otherwise never see an end. A fresh tensor may be
        # meant to be written into, so it can hold what x can.
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        dtype = self.dtype if not given or any(t.is_complex() for t in given) else torch.float64
        args, kwargs = _up((args, kwargs or {}), dtype)
        kind = kwargs.get("dtype")
        if isinstance(kind, torch.dtype) and kind.is_floating_point:
            kwargs["dtype"] = dtype
        run = self.rules.get(func, func) if dtype.is_complex else func
        # A rule works on real parts too: nothing may cast them up again on their way.
        with torch._C.DisableTorchFunction():
            return _up(run(*args, **kwargs), torch.float64 if given else self.dtype)


class PreciseArguments(TorchFunctionMode):
    """Casts arguments before torch compares their dtypes, as convolutions do on the way down."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.rules = COMPLEX_FUNCTIONS if dtype.is_complex else {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = _up((args, kwargs or {}), self.dtype)
        return self.rules.get(func, func)(*args, **kwargs)


def _up(tree: Any, dtype: torch.dtype) -> Any:
    def one(value: Any) -> Any:
        if isinstance(value, Tensor) and _inexact(value.dtype) and value.dtype != dtype:
            return value if value.is_complex() else value.to(dtype)
        return value

    return tree_map(one, tree)


def _inexact(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    # Shifting by a constant changes nothing; its maximum over the real parts is one.
    e = (x - x.real.amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return x - _logsumexp(x, [dim], keepdim=True)


def _logsumexp(x: Tensor, dim: list[int], keepdim: bool = False) -> Tensor:
    shift = x.real.amax(dim, keepdim=True)
    total = (x - shift).exp().sum(dim, keepdim=True).log() + shift
    return total if keepdim else total.squeeze(dim)


def _erf(x: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(scipy.special.erf(x.cpu().numpy()))).to(x.device)


def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh())
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    z = beta * x
    return torch.where(z.real > threshold, x, (1 + z.exp()).log() / beta)


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    dims = tuple(range(-len(shape), 0))
    mean = x.mean(dims, keepdim=True)
    # The square, not the squared modulus: the norm must stay analytic.
    scale = (((x - mean) ** 2).mean(dims, keepdim=True) + eps) ** -0.5
    y = (x - mean) * scale
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), mean, scale


def _by_parts(linear: Any) -> Callable[..., Tensor]:
    """A real linear operation on the real and the imaginary part."""
    return lambda x, *rest, **how: torch.complex(
        linear(x.real.contiguous(), *rest, **how), linear(x.imag.contiguous(), *rest, **how)
    )


def _convolved(convolve: Any) -> Callable[..., Tensor]:
    """A convolution by real ones: torch takes complex numbers apart above the dispatcher, where
    `Precise` would make each part complex again."""

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None, *how: Any, **named: Any) -> Any:
        def real(part: Tensor, of: Tensor) -> Tensor:
            return convolve(part.contiguous(), of.contiguous(), None, *how, **named)

        with _disable_current_modes():
            y = torch.complex(
                real(x.real, weight.real) - real(x.imag, weight.imag),
                real(x.real, weight.imag) + real(x.imag, weight.real),
            )
            return y if bias is None else y + bias.reshape(-1, *[1] * (y.dim() - 2))

    return run


COMPLEX: Mapping[Any, Callable[..., Any]] = {
    aten._softmax.default: _softmax,
    aten._log_softmax.default: _log_softmax,
    aten.logsumexp.default: _logsumexp,
    aten.erf.default: _erf,
    aten.gelu.default: _gelu,
    aten.softplus.default: _softplus,
    aten.native_layer_norm.default: _layer_norm,
    # Which branch is taken is a matter of the real line.
    aten.lt.Scalar: lambda x, bound: x.real < bound,
    aten.le.Scalar: lambda x, bound: x.real <= bound,
    aten.gt.Scalar: lambda x, bound: x.real > bound,
    aten.ge.Scalar: lambda x, bound: x.real >= bound,
    aten.silu.default: lambda x: x / (1 + (-x).exp()),
    aten.avg_pool2d.default: _by_parts(aten.avg_pool2d.default),
    aten._adaptive_avg_pool2d.default: _by_parts(aten._adaptive_avg_pool2d.default),
}


# Functions that must be met before torch takes them apart.
COMPLEX_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    convolve: _convolved(convolve) for convolve in (torch.conv1d, torch.conv2d, torch.conv3d)
}


class Evaluator:
    """`f` at many points at once: `[K, B, n] -> [K, B, m]` in numpy, real or complex.

    Points are stacked along the batch where f of a stacked batch is what it is of each; where it is
    not (a batched closure), f is called once a point. Where one row moves another (BatchNorm in
    train mode) each row is moved alone: the derivatives are those of row b by row b.
    """

    # Of many points as many at once as their layers stay in a cache for: of large rows fewer.
    ROWS, NUMBERS = 2048, 2**17

    def __init__(self, f: Callable[..., Tensor], x: Tensor, args: tuple[Tensor, ...]) -> None:
        self._f, self._x, self._args = f, x.detach(), args
        self.B, self.n = len(x), x[0].numel()
        self.at = x.detach().cpu().double().reshape(self.B, self.n).numpy()
        self.stacks, self.apart = False, True
        self.apart = self._are_apart()
        self.stacks = self.apart and self._may_stack()

    def _are_apart(self) -> bool:
        """Whether moving the first row leaves the others."""
        moved = np.stack([self.at, self.at])
        moved[1, 0] += 1e-2
        before, after = self(moved)
        return bool(np.allclose(before[1:], after[1:], rtol=1e-9, atol=1e-12, equal_nan=True))

    def _may_stack(self) -> bool:
        points = self.at + np.array([0.0, 1e-2, -1e-2])[:, None, None]
        one_by_one = self(points)
        try:
            stacked = self._call(points.reshape(-1, self.n), 3)
        except (RuntimeError, ValueError, IndexError):
            return False
        return stacked.size == one_by_one.size and bool(
            np.allclose(stacked.reshape(one_by_one.shape), one_by_one, rtol=1e-9, atol=1e-12)
        )

    def __call__(self, points: Array) -> Array:
        """`[K, B, n]`, real or complex, to `[K, B, m]`."""
        if not self.apart:
            return np.stack([self._each_row_alone(rows) for rows in points])
        rows = min(self.ROWS, self.NUMBERS // self.n)
        at_once = max(1, rows // self.B) if self.stacks else 1
        blocks = [
            self._call(block.reshape(-1, self.n), len(block))
            for block in (points[k : k + at_once] for k in range(0, len(points), at_once))
        ]
        return np.concatenate(blocks).reshape(len(points), self.B, -1)

    def _each_row_alone(self, rows: Array) -> Array:
        found = []
        for b in range(self.B):
            alone = self.at.astype(rows.dtype)
            alone[b] = rows[b]
            found.append(self._call(alone, 1)[b])
        return np.stack(found).reshape(self.B, -1)

    def _call(self, rows: Array, copies: int) -> Array:
        dtype = torch.complex128 if np.iscomplexobj(rows) else torch.float64
        x = torch.from_numpy(np.ascontiguousarray(rows)).to(self._x.device, dtype)
        x = x.reshape(-1, *self._x.shape[1:])
        args = tuple(a.repeat(copies, *[1] * (a.dim() - 1)) for a in self._args)
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            Precise(dtype),
            PreciseArguments(dtype),
        ):
            return self._f(x, *args).detach().cpu().numpy()
