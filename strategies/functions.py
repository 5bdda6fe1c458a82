"""The function contract: rows, flattening, what f is made of, whether its rows are independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import Module

from .operators import Shape

Function = Callable[..., Tensor]


# Of the floating-point types those that torch calculates in.
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_real(y: object) -> bool:
    """Whether it is what derivatives are taken of: a dense tensor of real numbers."""
    return isinstance(y, Tensor) and y.dtype in REAL and y.layout == torch.strided


def row(f: Function) -> Function:
    """`f` of one row: `[n] -> [m]`. Right only where rows are independent in both senses."""
    return lambda z, *args: f(z[None], *(arg[None] for arg in args))[0]


def single(f: Function) -> Function:
    """Adapt an unbatched `f: [*in] -> [*out]` to the batched contract `[B, *in] -> [B, *out]`.

    `jacobian(single(torch.sum), x)` differentiates `torch.sum` at each row of `x`.
    """
    return torch.func.vmap(f)


def flatten(f: Function, in_shape: Shape, out_shape: Shape) -> Function:
    """`f` as `[B, n] -> [B, m]`, whatever its input and output shape."""
    if len(in_shape) == 1 and len(out_shape) == 1:
        return f
    m = prod(out_shape)
    return lambda x, *args: f(x.reshape(len(x), *in_shape), *args).reshape(len(x), m)


def differentiable(x: Tensor, create_graph: bool) -> Tensor:
    """`x` as the start of a graph of its own.

    A view has its own node: what args or closures owe to the same tensor stays out of the
    derivative, while a second backward still reaches a non-leaf x.
    """
    return x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()


def moved(x: Tensor, scale: float, seed: int = 0) -> Tensor:
    """`x` a little aside, by `scale` of its own size; the global RNG is not touched."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64) + 0.5
    size = x.detach().abs().mean().clamp_min(1e-3) if x.numel() else x.new_ones(())
    return x.detach() + scale * size * noise.to(x)


def half_the_digits(dtype: torch.dtype) -> float:
    """Up to which share of them two results of a dtype are held for equal."""
    eps = torch.finfo(dtype).eps
    # Of the two or three digits of a 16-bit number half are none: there a few roundings count.
    return 16 * eps if eps > 1e-4 else 8 * eps**0.5


def agree(a: Tensor, b: Tensor, tolerance: float | None = None) -> bool:
    """Whether two results are equal up to rounding: in the norm, not finite where not finite.

    Rows alone and rows in a batch go through other matrix kernels: half the digits must agree.
    """
    if a.shape != b.shape:
        return False
    tolerance = tolerance or half_the_digits(a.dtype)
    a, b = a.detach().double(), b.detach().double()
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()):
        return False
    a, b = a[finite], b[finite]
    return bool((a - b).norm() <= tolerance * torch.maximum(a.norm(), b.norm()))


@contextmanager
def without_traces(device: torch.device, modules: Sequence[Module] = ()) -> Iterator[list[Module]]:
    """Run f as a probe: buffers of every module that runs, and the RNG, are as before afterwards.

    f may write into a buffer or put another tensor in its place: values and tensors both return.
    Yields the modules in the order in which they run, those already known first.
    """
    seen: dict[Module, dict[str, tuple[Tensor, Tensor]]] = {}
    order: list[Module] = []

    def remember(module: Module, _: object) -> None:
        if module not in seen:
            seen[module] = {k: (b, b.clone()) for k, b in module.named_buffers(recurse=False)}
            order.append(module)

    for module in modules:
        remember(module, None)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(remember)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield order
    finally:
        handle.remove()
        with torch.no_grad():
            # Backwards: of a buffer that two modules share (a trace holds those of f), the value
            # remembered first is the one from before.
            for module, buffers in reversed(seen.items()):
                for name, (buffer, before) in buffers.items():
                    module._buffers[name] = buffer
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)


def depends(f: Function, x: Tensor, args: Sequence[Tensor], y: Tensor) -> bool:
    """Whether moving x moves `y = f(x, *args)`, whatever autograd says."""
    with without_traces(x.device), torch.no_grad():
        return not torch.equal(f(moved(x, 0.1), *args), y)


@dataclass(frozen=True)
class Independence:
    """Whether row i of the output depends on row i of the inputs only.

    `alone`: `f(x[i:i+1])[0] == f(x)[i]`; `apart`: moving row j moves only row j.
    Each holds the reason where the sense is broken, else None.
    """

    alone: str | None
    apart: str | None


def check_rows_independent(f: Function, x: Tensor, *args: Tensor) -> Independence:
    """Test both senses of row independence at `x: [B, *in]`; buffers and RNG are restored.

    Example: BatchNorm in train mode breaks `apart`; a closure over a batched tensor `alone`.
    """
    x, args = x.detach(), tuple(arg.detach() for arg in args)
    with torch.no_grad():
        with without_traces(x.device):
            y = f(x, *args)
        return Independence(_alone(f, x, args, y), _apart(f, x, args, y))


def _alone(f: Function, x: Tensor, args: Sequence[Tensor], y: Tensor) -> str | None:
    # A branch on the whole batch may hit any row: of few rows each is tried.
    for i in range(len(x)) if len(x) <= 8 else (0, len(x) // 2, len(x) - 1):
        try:
            with without_traces(x.device):
                one = f(x[i : i + 1], *(arg[i : i + 1] for arg in args))
        except (RuntimeError, ValueError, IndexError) as error:
            return f"f of row {i} alone raises {type(error).__name__}: {first_line(error)}"
        if not agree(one, y[i : i + 1]):
            return (
                f"f of row {i} alone differs from row {i} of f of the batch; a tensor with a batch"
                " dimension belongs into args, not into a closure"
            )
    return None


def _apart(f: Function, x: Tensor, args: Sequence[Tensor], y: Tensor) -> str | None:
    for seed in (1, 2) if len(x) > 1 else ():
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for move, keep in (order.tensor_split(2), order.tensor_split(2)[::-1]):
            z = x.detach().clone()
            z[move] = moved(x, 1.0, seed)[move]
            with without_traces(x.device):
                if not agree(f(z, *args)[keep], y[keep]):
                    return (
                        "moving one row of x moves other rows of f"
                        " (BatchNorm in train mode, a sum over the batch?)"
                    )
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_MEMORY = ("can't allocate memory", "out of memory", "unable to allocate")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _MEMORY)


def limit_of_torch(error: RuntimeError | NotImplementedError) -> bool:
    """Whether an exception says that torch lacks a rule or a formula: not that memory, the stack or
    the device gave in, which says nothing of the strategy."""
    other = out_of_memory(error) or isinstance(error, RecursionError) or "CUDA error" in str(error)
    return not other
