"""Why a strategy does not answer a request: each refusal with its reason and what would work."""

from __future__ import annotations

import torch

from .executions import EXECUTIONS
from .functions import depends
from .registry import Options, Strategy, Unsupported, strategies_for
from .request import Setting
from .unsafe import wrong

# With numbers of fewer digits, rounding drowns what a difference of values would show.
_COARSE = 1e-4


def refuse(setting: Setting, strategy: Strategy, *, by_table: bool = True) -> None:
    """Raise `Unsupported` with the reason for which the strategy cannot answer the request."""
    _options(strategy, setting.options)
    _inference(setting)
    if len(setting.x):
        _writes(setting)
        _randomness(setting)
        _detached(setting)
        _own_graph(setting, strategy)
        _dependent_rows(setting, strategy)
        if by_table:
            _unsafe(setting, strategy)


def _options(strategy: Strategy, options: Options) -> None:
    if options.execution not in EXECUTIONS:
        raise Unsupported(
            f"no execution {options.execution!r}; known: {', '.join(sorted(EXECUTIONS))}"
        )
    if options.chunk is not None and not strategy.chunks:
        raise Unsupported(
            f"chunk={options.chunk!r}: it takes its directions as they come; {_chunked(strategy)}"
        )
    if options.samples is not None and strategy.draws is None:
        raise Unsupported(
            f"samples={options.samples!r}: it draws no probes; estimators do, by their names"
        )
    if options.layout == "sparse" and not strategy.sparse:
        raise Unsupported(f"layout={options.layout!r}: its result is dense")
    if options.create_graph and strategy.not_differentiable:
        raise Unsupported(f"create_graph: {strategy.not_differentiable}")


def _chunked(strategy: Strategy) -> str:
    others = [s.name for s in strategies_for(strategy.operator) if s.chunks]
    if not others:
        return f"so does every strategy for {strategy.operator}"
    return f"{' and '.join(others)} take so many at once"


def _inference(setting: Setting) -> None:
    if torch.is_inference_mode_enabled():
        raise Unsupported(
            "inference_mode is on, under which torch differentiates nothing and some calls return"
            " zeros; leave it, torch.no_grad() does no harm"
        )
    if any(t.is_inference() for t in setting.inputs):
        raise Unsupported(
            "an input is an inference tensor, which no graph may hold; .clone() outside of"
            " inference_mode makes an ordinary one"
        )


def _writes(setting: Setting) -> None:
    if setting.probe.writes:
        raise Unsupported(
            f"f writes into {setting.probe.writes}, so that a second call finds other values;"
            " write into a tensor that f makes itself, or a clone"
        )


def _randomness(setting: Setting) -> None:
    if not setting.probe.repeats:
        raise Unsupported(
            "f is random, or keeps a state: the same inputs gave two answers; take dropout to"
            " .eval(), or draw the noise outside and hand it in as an arg"
        )


def _detached(setting: Setting) -> None:
    seen = setting.probe
    if not seen.connected:
        if depends(setting.f, setting.x, setting.args, seen.y):
            raise Unsupported(
                "f is detached: moving x moves its output, but no graph leads from the output to x"
                " (.detach(), .data, torch.no_grad() or numpy inside f?)"
            )
    elif seen.cuts and torch.finfo(setting.x.dtype).eps > _COARSE:
        raise Unsupported(
            f"x left the graph in {', '.join(seen.cuts)}, and whether that changes the derivative"
            f" cannot be told by differences in {setting.x.dtype}; try float32"
        )
    elif seen.cuts and not setting.honest:
        raise Unsupported(
            "f is detached in part: its graph gives another derivative than its values, since"
            f" x left the graph in {', '.join(seen.cuts)}; forward and reverse mode would differ"
            " (.detach(), .data or torch.no_grad() inside f?)"
        )


def _own_graph(setting: Setting, strategy: Strategy) -> None:
    # Forward mode alone calls f with an x that carries no graph: a tangent, which is lost there.
    if setting.probe.leaves and strategy.mode.endswith("forward"):
        raise Unsupported(
            "f starts a graph of its own where x carries none"
            f" ({', '.join(setting.probe.leaves)}), which cuts the tangents of forward mode"
        )


def _dependent_rows(setting: Setting, strategy: Strategy) -> None:
    if not strategy.needs & {"rows", "sum"}:
        return
    rows = setting.independence
    if "rows" in strategy.needs and rows.alone:
        raise Unsupported(f"rows are not independent: {rows.alone}")
    if rows.apart:
        raise Unsupported(f"rows are not independent: {rows.apart}")


def _unsafe(setting: Setting, strategy: Strategy) -> None:
    if found := wrong(strategy, setting.options.execution, setting.probe.operations):
        names = ", ".join(name.removeprefix("aten::") for name in found)
        raise Unsupported(
            f"torch {torch.__version__} computes {strategy.mode} this way through {names} silently"
            " wrong; strategy='auto' takes one that is right"
        )
