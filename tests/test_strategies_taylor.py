"""Taylor mode: each rule against differences of values, what it refuses, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from conftest import Function, distance, draw, one_row_differences, only
from torch import Tensor, nn
from torch.func import hessian, vmap
from torch.utils.flop_counter import FlopCounterMode

from strategies import Orders, Unsupported, jacobian, jet_evaluation, jvp, laplacian, prepare

B, N = 3, 4
W, V = draw(N, 5, seed=1), draw(5, N, seed=2)
SQUARE, MASK = draw(N, N, seed=3), torch.tensor([True, False, True, False])
IMAGE, KERNEL = (2, 4, 4), draw(3, 2, 3, 3, seed=4)


TO_IMAGE = draw(N, 32, seed=5)
BENT = draw(N, 32, seed=6)
SLOPES = draw(N, seed=8)
POWERS = draw(N, seed=9)
BIAS = draw(5, seed=7)
OFFSETS = draw(3, seed=1)
GAIN = draw(N, seed=1)
SHIFT = draw(N, seed=2)
MEANS = draw(2, seed=1)
SHIFTS = draw(2, seed=2)
SPREADS = draw(2, seed=2).abs()
GAINS = draw(2, seed=3)
SCORES = draw(3, 3, seed=1)


def mixed(x: Tensor) -> Tensor:
    """All entries of a row, nonlinearly, away from kinks and poles."""
    return torch.sin(x @ SQUARE) + 0.3 * x * x.roll(1, -1)


def on_mixed(g: Function) -> Function:
    return lambda x: g(mixed(x)).reshape(len(x), -1)


def positive(x: Tensor) -> Tensor:
    return mixed(x) ** 2 + 0.5


def on_positive(g: Function) -> Function:
    return lambda x: g(positive(x)).reshape(len(x), -1)


def small(x: Tensor) -> Tensor:
    return 0.4 * torch.sin(x @ SQUARE)


def pairs(g: Function) -> Function:
    """Of two tensors that both depend on x."""
    return lambda x: g(mixed(x), positive(x @ V.T @ V)).reshape(len(x), -1)


def matrices(g: Function) -> Function:
    """Of a matrix a row, positive definite."""

    def f(x: Tensor) -> Tensor:
        u = mixed(x).reshape(-1, 2, 2)
        return g(u @ u.mT + torch.eye(2, dtype=x.dtype)).reshape(len(x), -1)

    return f


def images(g: Function) -> Function:
    def f(x: Tensor) -> Tensor:
        flat = torch.sin(x @ TO_IMAGE) + 0.1 * (x * x) @ BENT
        return g(flat.reshape(-1, *IMAGE)).reshape(len(x), -1)

    return f


def written(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :2] = mixed(x)[:, 1:3]
    y.mul_(x).add_(1)
    return y


def attention(q: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    u = torch.stack([q, q.roll(1, -1), q * q], 1)[:, None]
    return F.scaled_dot_product_attention(u, u.sin(), u.cos(), attn_mask=mask, is_causal=causal)


UNARY = {
    **{
        name: on_mixed(getattr(torch, name)) for name in ("tanh", "sigmoid", "exp", "exp2", "expm1")
    },
    **{name: on_mixed(getattr(torch, name)) for name in ("sin", "cos", "sinh", "cosh", "atan")},
    **{name: on_mixed(getattr(torch, name)) for name in ("asinh", "erf", "erfc", "abs", "relu")},
    **{name: on_positive(getattr(torch, name)) for name in ("log", "log2", "log10", "log1p")},
    **{name: on_positive(getattr(torch, name)) for name in ("sqrt", "rsqrt", "reciprocal")},
    **{name: on_positive(getattr(torch, name)) for name in ("square", "lgamma", "digamma")},
    **{name: on_mixed(getattr(F, name)) for name in ("silu", "mish", "gelu", "softplus", "elu")},
    **{name: on_mixed(getattr(F, name)) for name in ("selu", "celu", "hardswish", "hardsigmoid")},
    **{name: on_mixed(getattr(F, name)) for name in ("hardtanh", "relu6", "leaky_relu")},
    **{name: on_mixed(getattr(F, name)) for name in ("softshrink", "hardshrink", "logsigmoid")},
    **{
        name: (lambda g: lambda x: g(small(x)))(getattr(torch, name))
        for name in ("asin", "acos", "atanh", "erfinv", "tan")
    },
    "acosh": lambda x: torch.acosh(1 + positive(x)),
    "logit": lambda x: torch.logit(torch.sigmoid(x) ** 2),
    "gelu-tanh": on_mixed(lambda u: F.gelu(u, approximate="tanh")),
    "softplus-beta": on_mixed(lambda u: F.softplus(u, beta=3.0, threshold=2.0)),
    "elu-alpha": on_mixed(lambda u: F.elu(u, alpha=0.7)),
    "threshold": on_mixed(lambda u: F.threshold(u, 0.1, -1.0)),
    "prelu": on_mixed(lambda u: F.prelu(u, SLOPES)),
    "clamp": on_mixed(lambda u: u.clamp(-0.4, 0.5)),
    "clamp-min": on_mixed(lambda u: u.clamp_min(0.1)),
    "clamp-max": on_mixed(lambda u: u.clamp_max(0.1)),
    "pow-2": on_mixed(lambda u: u**2),
    "pow-3": on_mixed(lambda u: u**3),
    "pow-1": on_mixed(lambda u: u**1),
    "pow-fraction": on_positive(lambda u: u**-1.5),
    "base": on_mixed(lambda u: 1.7**u),
    "fmod": on_mixed(lambda u: torch.fmod(3 * u, 0.7)),
}

BINARY = {
    "add": pairs(lambda a, b: torch.add(a, b, alpha=0.3)),
    "sub": pairs(lambda a, b: torch.sub(a, b, alpha=0.3)),
    "rsub": on_mixed(lambda u: 2 - u),
    "mul": pairs(torch.mul),
    "mul-self": on_mixed(lambda u: u * u),
    "mul-broadcast": pairs(lambda a, b: a[:, :, None] * b[:, None]),
    "div": pairs(torch.div),
    "div-constant": on_mixed(lambda u: u / 3),
    "constant-div": on_positive(lambda u: 3 / u),
    "pow-tensors": pairs(lambda a, b: b**a),
    "pow-constant": on_positive(lambda u: u**POWERS),
    "maximum": pairs(torch.maximum),
    "minimum": pairs(torch.minimum),
    "logaddexp": pairs(torch.logaddexp),
    "atan2": pairs(torch.atan2),
    "atan2-constant": on_mixed(lambda u: torch.atan2(u, torch.ones(N, dtype=u.dtype))),
    "hypot": pairs(torch.hypot),
    "xlogy": pairs(torch.xlogy),
    "lerp": pairs(lambda a, b: torch.lerp(a, b, 0.3)),
    "addcmul": pairs(lambda a, b: torch.addcmul(a, a, b, value=0.5)),
    "addcdiv": pairs(lambda a, b: torch.addcdiv(a, a, b, value=0.5)),
    "where": pairs(lambda a, b: torch.where(MASK, a, b)),
    "where-constant": on_mixed(lambda u: torch.where(u > 0, u * u, 1.0)),
    "masked-fill": on_mixed(lambda u: u.masked_fill(MASK, -2.0)),
}

LINEAR = {
    "x": lambda x: x,
    "linear": lambda x: F.linear(x, W.T, BIAS),
    "linear-deep": on_mixed(lambda u: F.linear(u, W.T, BIAS)),
    "linear-tokens": lambda x: torch.tanh(x.reshape(-1, 2, 2) @ SQUARE[:2, :2]).flatten(1),
    "scaled-x": lambda x: torch.tanh((2 * x - 1) @ W),
    "vector": on_mixed(lambda u: u @ SQUARE[0]),
    "x-vector": lambda x: torch.exp(x @ SQUARE[0])[:, None],
    "from-left": on_mixed(lambda u: (V @ u.T).T),
    "addmm": on_mixed(lambda u: torch.addmm(u @ W, u, W, beta=0.5, alpha=2)),
    "views": on_mixed(lambda u: u.reshape(-1, 2, 2).transpose(1, 2).permute(0, 2, 1).mT),
    "expand": on_mixed(lambda u: u[:, None].expand(-1, 2, -1)),
    "squeeze": on_mixed(lambda u: u.unsqueeze(1).unsqueeze(-1).squeeze(1)),
    "select": on_mixed(lambda u: u[:, 1:] * u[:, :1]),
    "split": on_mixed(lambda u: torch.cat([p * p for p in u.split([1, 3], -1)], -1)),
    "chunk": on_mixed(lambda u: torch.mul(*u.chunk(2, -1))),
    "unbind": on_mixed(lambda u: torch.stack([p.exp() for p in u.unbind(-1)], -1)),
    "cat": on_mixed(lambda u: torch.cat([u, torch.ones_like(u), u * u], -1)),
    "index": on_mixed(lambda u: u[:, torch.tensor([2, 0, 2])]),
    "index-select": on_mixed(lambda u: u.index_select(-1, torch.tensor([2, 0]))),
    "gather": on_mixed(lambda u: u.gather(-1, torch.tensor([[2, 0]]).expand(len(u), 2))),
    "scatter": on_mixed(lambda u: u.scatter_add(1, torch.zeros(len(u), 4).long(), u * u)),
    "roll-flip": on_mixed(lambda u: u.roll(1, -1).flip(-1)),
    "pad": on_mixed(lambda u: F.pad(u, (1, 2), value=3.0)),
    "sum": on_mixed(lambda u: u.sum(-1, keepdim=True)),
    "mean": on_mixed(lambda u: u.reshape(-1, 2, 2).mean((1, 2))),
    "cumsum": on_mixed(lambda u: u.cumsum(-1)),
    "triangle": on_mixed(lambda u: u.reshape(-1, 2, 2).tril()),
    "diagonal": on_mixed(lambda u: u.reshape(-1, 2, 2).diagonal(dim1=1, dim2=2)),
    "in-place": written,
    "convolution": images(lambda u: F.conv2d(u, KERNEL, OFFSETS, padding=1).tanh()),
    "convolution-first": lambda x: (
        F.conv1d(x[:, None], KERNEL[:, :1, 0], padding=1).sin().flatten(1)
    ),
    "convolution-transposed": images(lambda u: F.conv_transpose2d(u, KERNEL.transpose(0, 1))),
    "average-pool": images(lambda u: F.avg_pool2d(u, 2)),
    "adaptive-pool": images(lambda u: F.adaptive_avg_pool2d(u, 1)),
    "upsample": images(lambda u: F.interpolate(u, scale_factor=2, mode="bilinear")),
}

LAYERS = {
    "matmul": on_mixed(lambda u: u.reshape(-1, 2, 2) @ u.reshape(-1, 2, 2).mT),
    "matmul-constant": on_mixed(lambda u: SQUARE[:2, :2] @ u.reshape(-1, 2, 2)),
    "bmm-constant": on_mixed(lambda u: u.reshape(-1, 2, 2) @ SQUARE[:2, :2].expand(len(u), 2, 2)),
    "einsum": on_mixed(lambda u: torch.einsum("bi,bj->bij", u, u)),
    "softmax": on_mixed(lambda u: u.softmax(-1)),
    "softmax-of-x": lambda x: x.softmax(-1),
    "log-softmax": on_mixed(lambda u: u.log_softmax(-1)),
    "logsumexp": on_mixed(lambda u: u.logsumexp(-1)),
    "logsumexp-of-x": lambda x: x.logsumexp(-1, keepdim=True),
    "layer-norm": on_mixed(lambda u: F.layer_norm(u, (N,), GAIN, SHIFT)),
    "layer-norm-of-x": lambda x: F.layer_norm(x, (N,)),
    "group-norm": images(lambda u: F.group_norm(u, 2, MEANS, SHIFTS)),
    "instance-norm": images(F.instance_norm),
    "batch-norm": images(lambda u: F.batch_norm(u, MEANS, SPREADS + 1, GAINS)),
    "var": on_mixed(lambda u: u.var(-1)),
    "var-biased": on_mixed(lambda u: u.var(-1, correction=0, keepdim=True)),
    "std": on_mixed(lambda u: u.std(-1)),
    "norm": on_mixed(lambda u: u.norm(dim=-1)),
    "norm-1": on_mixed(lambda u: u.norm(p=1, dim=-1)),
    "norm-3": on_mixed(lambda u: u.norm(p=3, dim=-1)),
    "norm-inf": on_mixed(lambda u: u.norm(p=math.inf, dim=-1)),
    "amax": on_mixed(lambda u: u.amax(-1)),
    "max": on_mixed(lambda u: u.max(-1).values),
    "sort": on_mixed(lambda u: u.sort(-1).values),
    "topk": on_mixed(lambda u: u.topk(2, -1).values),
    "max-pool": images(lambda u: F.max_pool2d(u, 2)),
    "prod": on_mixed(lambda u: u.prod(-1)),
    "cumprod": on_mixed(lambda u: u.cumprod(-1)),
    "cdist": on_mixed(lambda u: torch.cdist(u.reshape(-1, 2, 2), SQUARE[:3, :2])),
    "inverse": matrices(torch.linalg.inv),
    "solve": matrices(lambda A: torch.linalg.solve(A, A[:, :, :1].sin())),
    "solve-vector": matrices(lambda A: torch.linalg.solve(A, A[:, :, 0].sin())),
    "solve-constant": matrices(lambda A: torch.linalg.solve(SQUARE[:2, :2], A)),
    "det": matrices(torch.linalg.det),
    "logdet": matrices(torch.logdet),
    "cholesky": matrices(torch.linalg.cholesky),
    "attention": on_mixed(attention),
    "attention-causal": on_mixed(lambda u: attention(u, causal=True)),
    "attention-mask": on_mixed(lambda u: attention(u, mask=SCORES)),
}
CASES = {**UNARY, **BINARY, **LINEAR, **LAYERS}


def check(found: Tensor, by_values: Tensor) -> None:
    """Up to the noise of differences of second order."""
    assert found.shape == by_values.shape
    assert (found - by_values).norm() <= 2e-4 * by_values.norm() + 1e-5


# By differences alone: torch has no second derivative by reverse mode.
BY_VALUES = {"mish", "hardsigmoid", "cdist", "attention", "attention-causal", "attention-mask"}


# torch says that it loops where a batching rule is missing, for the other strategies.
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    """In every form: first order alone, collapsed, and by direction with all orders."""
    f, x = (lambda z: CASES[name](z).reshape(len(z), -1)), draw(B, N, seed=11)
    exact = one_row_differences(f, x)
    diagonal = torch.from_numpy(exact.second).diagonal(dim1=-2, dim2=-1)
    for strategy in ("forward-laplacian", "taylor2"):
        found = prepare("laplacian", f, x, strategy=strategy, values=True)(x)
        assert isinstance(found, Orders)
        value, first, second = (t for t in found if t is not None)
        assert distance(value, exact.value) <= 1e-12
        assert distance(first.reshape(exact.first.shape), exact.first) <= 1e-7
        check(second, diagonal.sum(-1))
        if name not in BY_VALUES:
            by_reverse = laplacian(f, x, strategy="loop-double-backward")
            torch.testing.assert_close(second, by_reverse, rtol=1e-9, atol=1e-9)
    found = only(prepare("hessian-diagonal", f, x, strategy="taylor2")(x))
    torch.testing.assert_close(found.sum(-1), second, rtol=1e-10, atol=1e-10)
    check(found, diagonal)
    by_first = jacobian(f, x, strategy="zero-aware-forward").reshape(first.shape)
    assert torch.equal(by_first, first)
    v = draw(B, N, seed=12)
    along = jvp(f, x, v, strategy="zero-aware-forward")
    matrix = first.reshape(B, -1, N)
    torch.testing.assert_close(along.reshape(B, -1), (matrix @ v[:, :, None])[..., 0])


BOTH = ("forward-laplacian", "taylor2")


def test_what_has_no_rule_is_named() -> None:
    def f(x: Tensor) -> Tensor:
        u = x.reshape(-1, 2, 2)
        return torch.linalg.eigvalsh(u @ u.mT).logcumsumexp(-1)

    x = draw(B, N, seed=11)
    with pytest.raises(Unsupported) as refusal:
        prepare("laplacian", f, x, strategy="forward-laplacian")
    assert "no rule for aten._linalg_eigh, aten.logcumsumexp" in str(refusal.value)
    assert str(refusal.value).endswith("in Taylor mode")
    assert "\n" not in str(refusal.value)


def test_what_has_no_rule_is_taken_apart() -> None:
    grid = 0.8 * torch.tanh(KERNEL).flatten()[:32].reshape(1, 4, 4, 2)
    f = images(lambda u: F.grid_sample(u, grid.expand(len(u), 4, 4, 2), align_corners=False))
    x = draw(B, N, seed=11)
    diagonal = torch.from_numpy(one_row_differences(f, x).second).diagonal(dim1=-2, dim2=-1)
    check(laplacian(f, x, strategy="forward-laplacian"), diagonal.sum(-1))


class Straight(torch.autograd.Function):
    """Rounds, and lets gradients through."""

    @staticmethod
    def forward(ctx: object, u: Tensor) -> Tensor:
        return u.round()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g


@pytest.mark.parametrize("strategy", BOTH)
def test_a_backward_of_its_own_is_refused(strategy: str) -> None:
    with pytest.raises(Unsupported, match="differentiates f otherwise than the operations"):
        prepare(
            "laplacian", lambda x: Straight.apply(3 * x), draw(B, N, seed=11), strategy=strategy
        )


def mlp(*sizes: int) -> nn.Sequential:
    pairs = pairwise(sizes)
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).double()


def flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("execution", ["eager", "traced"])
@pytest.mark.parametrize("rows", [1, 40])
def test_a_laplacian_costs_as_many_passes_as_fields(execution: str, rows: int) -> None:
    """50 tangents, value and Laplacian; the first layer costs one pass, and no identity."""
    net, x = mlp(50, 768, 768, 512, 512, 1), draw(rows, 50, seed=1)
    plan = prepare("laplacian", net, x, strategy="forward-laplacian", execution=execution)
    once = flops(lambda: net(x))
    first = 2 * rows * 50 * 768
    assert flops(lambda: plan(x)) <= 1.01 * (first + 52 * (once - first))
    assert flops(lambda: plan(x)) <= 51 * once


@pytest.mark.parametrize("execution", ["eager", "traced"])
def test_a_tangent_costs_one_pass(execution: str) -> None:
    """With the value's own: 2 F for one direction where `torch.func.jvp` takes 3, 1 + n for n."""
    net, x = mlp(16, 64, 64, 16), draw(5, 16, seed=1)
    once, first = flops(lambda: net(x)), 2 * 5 * 16 * 64
    along = prepare("jvp", net, x, x, strategy="zero-aware-forward", execution=execution)
    assert flops(lambda: along(x, x)) == 2 * once
    every = prepare("jacobian", net, x, strategy="zero-aware-forward", execution=execution)
    # The tangents of the first layer are the rows of its weight.
    assert flops(lambda: every(x)) == first + 17 * (once - first)
    by_torch = prepare("jvp", net, x, x, strategy="func-jvp")
    assert flops(lambda: by_torch(x, x)) == 3 * once


class Attention(nn.Module):
    """A block of a transformer over tokens, with one output."""

    def __init__(self, tokens: int = 4, width: int = 8) -> None:
        super().__init__()
        self.shape = (tokens, width)
        self.norm, self.mixed = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), mlp(width, 2 * width, width))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        u = x.reshape(len(x), *self.shape)
        q, k, v = self.mixed(self.norm(u)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        u = u + (weights @ v).transpose(1, 2).flatten(2)
        return (u + self.mlp(u)).mean((1, 2))


def cnn() -> nn.Module:
    layers = [nn.Unflatten(1, (2, 6, 6)), nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(4, 3, 3), nn.GELU("tanh"), nn.Flatten(), nn.Linear(3, 2)]
    return nn.Sequential(*layers).double()


def from_hessians(f: Function, x: Tensor) -> Tensor:
    full = vmap(hessian(lambda z: f(z[None])[0]))(x)
    return full.diagonal(dim1=-2, dim2=-1)


@pytest.mark.parametrize("execution", ["eager", "traced"])
@pytest.mark.parametrize(("build", "n"), [(Attention, 32), (cnn, 72)], ids=["attention", "cnn"])
def test_networks(build: Callable[[], nn.Module], n: int, execution: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net, x = build(), draw(3, n, seed=1)
    expected = from_hessians(net, x)
    for strategy in BOTH:
        found = laplacian(net, x, strategy=strategy, execution=execution)
        assert distance(found, expected.sum(-1).detach().numpy()) <= 1e-9
    plan = prepare("hessian-diagonal", net, x, strategy="taylor2", execution=execution)
    assert distance(only(plan(x)), expected.detach().numpy()) <= 1e-9


@pytest.mark.parametrize("strategy", BOTH)
@pytest.mark.parametrize("execution", ["eager", "traced"])
def test_large_blocks_go_in_pieces(
    strategy: str, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x, t = mlp(4, 16, 3), draw(7, 3, seed=1), draw(7, 1, seed=2)

    def f(x: Tensor, t: Tensor) -> Tensor:
        return net(torch.cat([x, t], -1))

    ask = {"strategy": strategy, "execution": execution, "values": True}
    whole = laplacian(f, x, t, **ask)
    monkeypatch.setattr(jet_evaluation, "_LARGE", 0)
    monkeypatch.setattr(jet_evaluation, "_PIECE", 3 * 3 * 16 * 8)
    pieces = prepare("laplacian", f, x, t, **ask)
    for a, b in zip(pieces(x, t), whole, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("f", [nn.Linear(N, 2, dtype=torch.float64), lambda x: x.clone()])
def test_results_are_the_callers_own(f: Function) -> None:
    x = draw(B, N, seed=1)
    plan = prepare("laplacian", f, x, strategy="forward-laplacian", values=True)
    before = [t.clone() for t in (x, *plan(x)[:3])]
    for part in plan(x)[:3]:
        part.fill_(9)
    for part, old in zip((x, *plan(x)[:3]), before, strict=True):
        assert torch.equal(part, old)


def test_x_beside_its_product() -> None:
    """The tangents of x itself are read where x is more than a factor."""
    f, x = (lambda x: torch.addmm(x, x, SQUARE).exp()), draw(B, N, seed=1)
    found = laplacian(f, x, strategy="forward-laplacian")
    torch.testing.assert_close(found, laplacian(f, x, strategy="nested-jvp"))
