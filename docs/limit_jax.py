"""The works of `make limits` in JAX, jitted: its own transforms, and folx for Laplacians.

Both are optional: `pip install ".[peers]"`. Weights are arguments of what is jitted, as a plan
reads them at each call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from limit_lines import Call, installed
from limit_works import DIVERGENCE, HESSIAN, JACOBIAN, LAPLACIAN, Function, Summed
from torch import Tensor, nn

from bench.workloads.vision import AttentionBlock
from strategies import Operator

# JAX has no types where it is not there: its arrays, and functions of one row.
Array = Any
OneRow = Callable[[Array], Array]
Weights = Mapping[str, Any]


def jitted(operator: Operator, f: Function, x: Tensor) -> dict[str, Callable[[], Array]]:
    """What JAX and folx have for an operator of a network at x, compiled at the first call.

    Empty without JAX, for what is no network, and for one with a module that has no rule here.
    """
    if installed("jax") is None or not isinstance(f, nn.Module):
        return {}
    if not all(type(module) in RULES for module in f.modules()):
        return {}
    # Read when it is first imported; what other threads do, the clock would count.
    one_thread = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("XLA_FLAGS", one_thread)
    import jax

    jax.config.update("jax_enable_x64", True)
    held, at = weights(f), jax.numpy.asarray(x.numpy())

    def call(form: Callable[[OneRow], OneRow]) -> Call:
        run = jax.jit(lambda w, x: jax.vmap(form(lambda row: passed(f, w, row)))(x))
        return lambda: run(held, at).block_until_ready()

    return {name: call(form) for name, form in forms()[operator].items()}


def forms() -> dict[Operator, dict[str, Callable[[OneRow], OneRow]]]:
    """Of an operator, from a function of one row to its derivative."""
    from jax import hessian, jacfwd, jacrev
    from jax.numpy import trace

    def traced(form: Callable[[OneRow], OneRow]) -> Callable[[OneRow], OneRow]:
        return lambda f: lambda x: trace(form(f)(x), axis1=-2, axis2=-1)

    first = {"jax jacrev": jacrev, "jax jacfwd": jacfwd}
    folx = {} if installed("folx") is None else {"folx": _folx}
    laplacian = traced(hessian)
    return {
        JACOBIAN: first,
        HESSIAN: {"jax hessian": hessian},
        LAPLACIAN: {"jax hessian": laplacian, **folx},
        Operator.BILAPLACIAN: {"jax nested hessian": lambda f: laplacian(laplacian(f))},
        DIVERGENCE: {name: traced(form) for name, form in first.items()},
    }


def _folx(f: OneRow) -> OneRow:
    from folx import forward_laplacian

    return lambda x: forward_laplacian(f)(x).laplacian


def weights(module: nn.Module) -> dict[str, Any]:
    """Its parameters by name, those of its children in dictionaries of their own."""
    from jax.numpy import asarray

    own = {name: asarray(p.detach().numpy()) for name, p in module.named_parameters(recurse=False)}
    return own | {name: weights(child) for name, child in module.named_children()}


def passed(module: nn.Module, w: Weights, x: Array) -> Array:
    """What a module makes of x, without an axis of the batch."""
    return RULES[type(module)](module, w, x)


def _sequential(network: nn.Module, w: Weights, x: Array) -> Array:
    for name, layer in network.named_children():
        x = passed(layer, w[name], x)
    return x


def _tanh(_: nn.Module, w: Weights, x: Array) -> Array:
    from jax.numpy import tanh

    return tanh(x)


def _softplus(_: nn.Module, w: Weights, x: Array) -> Array:
    from jax.nn import softplus

    return softplus(x)


def _gelu(_: nn.Module, w: Weights, x: Array) -> Array:
    from jax.nn import gelu

    return gelu(x, approximate=False)


def _convolution(layer: nn.Module, w: Weights, x: Array) -> Array:
    from jax.lax import conv

    return conv(x[None], w["weight"], (1, 1), "SAME")[0] + w["bias"][:, None, None]


def _pooled(layer: Any, w: Weights, x: Array) -> Array:
    C, H, W = x.shape
    size = layer.kernel_size
    return x.reshape(C, H // size, size, W // size, size).mean((2, 4))


def _normed(layer: Any, w: Weights, x: Array) -> Array:
    apart = x - x.mean(-1, keepdims=True)
    spread = ((apart * apart).mean(-1, keepdims=True) + layer.eps) ** 0.5
    return apart / spread * w["weight"] + w["bias"]


def _attention(block: Any, w: Weights, x: Array) -> Array:
    from jax.nn import softmax

    def by(name: str, x: Array) -> Array:
        return passed(getattr(block, name), w[name], x)

    h = by("norm_attention", x)
    scores = by("queries", h) @ by("keys", h).T / x.shape[-1] ** 0.5
    x = x + softmax(scores) @ by("values", h)
    x = x + by("mlp", by("norm_mlp", x))
    return by("energy", x).sum()


def _summed(f: Any, w: Weights, x: Array) -> Array:
    return passed(f.network, w["network"], x.reshape(f.inside)).sum()[None]


RULES: dict[type[nn.Module], Callable[[Any, Weights, Array], Array]] = {
    nn.Sequential: _sequential,
    nn.Linear: lambda _, w, x: x @ w["weight"].T + w["bias"],
    nn.Tanh: _tanh,
    nn.Softplus: _softplus,
    nn.GELU: _gelu,
    nn.Conv2d: _convolution,
    nn.AvgPool2d: _pooled,
    nn.Flatten: lambda _, w, x: x.reshape(-1),
    nn.LayerNorm: _normed,
    AttentionBlock: _attention,
    Summed: _summed,
}
