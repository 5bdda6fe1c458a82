"""The tables of docs/choosing.md: the rule with what it brings, costs at one size, regret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import words
from .advise import SPECIAL
from .answer import Answer
from .blocks import rank
from .fit import BYTES
from .markdown import as_code, table_row
from .points import problem
from .regret import CHOICES, summary, with_interval
from .schema import DEFAULTS, LOOPS

Rule = Mapping[str, Any]
# The needs that not every f meets, in the words of a column.
_KINDS = {
    "chain": "a chain of layers",
    "separable": "inputs that do not meet",
    "sparse": "mostly zeros",
}
# Of which operators the costs are shown, and the size nearest to which.
SHOWN = ("jacobian", "divergence", "hvp", "hessian", "laplacian")
SIZE = {"n": 16, "B": 16}
FASTEST = 5


def rule_table(rule: Rule, found: Answer) -> str:
    """A line for each list of the rule: what it takes first, up to the first strategy that takes
    nothing special for granted, and what that brought in the measured problems it is for."""
    heads = [
        *("operator", "where", "take the first that does not refuse", "problems"),
        *("over a loop", "over torch.func", "evaluations of f"),
    ]
    lines = [table_row(heads), table_row(["---"] * len(heads))]
    for device, own in rule.items():
        for purpose, operators in own["lists"].items():
            for operator in sorted(operators, key=rank):
                cases = _asked(found, device, purpose, operator)
                lines += _entries(operator, purpose, operators[operator], cases, found)
    return "\n".join([*lines, ""])


def _asked(found: Answer, device: str, purpose: str, operator: str) -> pd.DataFrame:
    """The cases that a purpose of the rule is for, with the `bytes` of a number."""
    train, special = purpose.startswith("train"), purpose.partition(" ")[2]
    cases = found.cases[(found.cases["device"] == device) & (found.cases["execution"] == "eager")]
    cases = cases[(cases["operator"] == operator) & (cases["create_graph"] == train)]
    cases = cases[(cases["layout"] == "sparse") == ("sparse" in special)]
    cases = cases[cases["chunk"].notna() == ("chunked" in special)]
    return cases.assign(bytes=cases["dtype"].map(BYTES))


def _entries(
    operator: str, purpose: str, entries: Sequence[Rule], cases: pd.DataFrame, found: Answer
) -> Iterator[str]:
    rest = cases
    for entry in entries:
        holds = rest.eval(entry["when"]) if "when" in entry and len(rest) else rest["n"] > 0
        here, rest = rest[holds], rest[~holds]
        where = [] if purpose == "evaluate" else [purpose]
        where += [entry["when"]] if "when" in entry else ["else"] if len(entries) > 1 else []
        yield table_row(
            [
                operator,
                ", ".join(where),
                ", ".join(map(as_code, _head(operator, entry["take"], found))),
                *_brought(operator, entry["take"], here),
            ]
        )


def _head(operator: str, names: Sequence[str], found: Answer) -> list[str]:
    """The names up to the first that any f can have."""
    for k, name in enumerate(names):
        if not _special(operator, name, found):
            return list(names[: k + 1])
    return list(names)


def _special(operator: str, name: str, found: Answer) -> list[str]:
    known = found.run.header.get("strategies", {}).get(f"{operator}/{name}", {})
    return [_KINDS[need] for need in sorted(SPECIAL & set(known.get("needs", [])))]


def _brought(operator: str, names: Sequence[str], cases: pd.DataFrame) -> list[str]:
    """In how many problems, and in geometric means over them how much faster than the loop and than
    torch.func's default, and after how many evaluations of f the strategies that were taken end."""
    logs = np.log(cases["seconds"].astype(float)).groupby([cases["contest"], cases["strategy"]])
    times = logs.mean().unstack() if len(cases) else pd.DataFrame()
    passes = cases.pivot_table(index="contest", columns="strategy", values="forward_passes")
    taken = {c: next((n for n in names if pd.notna(t.get(n))), "") for c, t in times.iterrows()}
    taken = {contest: name for contest, name in taken.items() if name}
    ratios = []
    for other in (LOOPS[operator], DEFAULTS[operator]):
        apart = [times.loc[c].get(other, np.nan) - times.loc[c, n] for c, n in taken.items()]
        known = [value for value in apart if pd.notna(value)]
        ratios.append(words.factor(float(np.exp(np.mean(known)))) if known else words.NOTHING)
    counts = [passes.loc[c].get(n, np.nan) for c, n in taken.items() if c in passes.index]
    counts = sorted(value for value in counts if pd.notna(value))
    span = _span(counts) if counts else words.NOTHING
    return [str(len(taken)), *ratios, span]


def _span(values: Sequence[float]) -> str:
    low, high = (words.significant(value, 0.1) for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def costs_table(found: Answer) -> str:
    """Of some operators, at the problem nearest to one size, the fastest strategies, the loop and
    torch.func's default: time, evaluations of f, memory, what they take for granted."""
    heads = [
        *("operator, problem", "strategy", "time", "evaluations of f", "in FLOPs"),
        *("peak memory", "only for"),
    ]
    lines = [table_row(heads), table_row(["---"] * len(heads))]
    for operator in SHOWN:
        cases = _nearest(found, operator).sort_values("seconds")
        plain = cases["strategy"].isin([LOOPS[operator], DEFAULTS[operator]])
        shown = cases[plain | (np.arange(len(cases)) < FASTEST)]
        for k, (_, case) in enumerate(shown.iterrows()):
            place = f"{operator}, {problem(case['contest'])}" if not k else ""
            lines.append(table_row([place, *_cost(case, found)]))
    return "\n".join([*lines, ""])


def _nearest(found: Answer, operator: str) -> pd.DataFrame:
    cases = found.cases[(found.cases["operator"] == operator) & (found.cases["status"] == "ok")]
    plain = (cases["execution"] == "eager") & cases["chunk"].isna() & ~cases["create_graph"]
    cases = cases[plain & (cases["layout"] == "dense") & (cases["dtype"] == "float32")]
    if cases.empty:
        return cases
    far = sum((np.log(cases[name].astype(float)) - np.log(of)).abs() for name, of in SIZE.items())
    # Of problems that are as near the one that most strategies solve.
    near = cases[far <= far.min() + 1e-9]["contest"]
    most = (
        near.value_counts().reset_index().sort_values(["count", "contest"], ascending=[False, True])
    )
    return cases[cases["contest"] == most["contest"].iloc[0]]


def _cost(case: pd.Series, found: Answer) -> list[str]:
    special = _special(str(case["operator"]), str(case["strategy"]), found)
    return [
        as_code(str(case["strategy"])),
        words.seconds(case["seconds"], case["half_width"]),
        *(_count(case[name]) for name in ("forward_passes", "forward_flops_ratio")),
        words.bytes_(case["peak_bytes"]),
        words.listed(special) or words.NOTHING,
    ]


def _count(value: float) -> str:
    return words.NOTHING if words.missing(value) else words.significant(value)


def regret_table(*found: tuple[str, Answer]) -> str:
    """A line for each choice in each set of problems: its regret, and its worst."""
    heads = [
        *("choice", "problems", "geometric mean", "one in ten above", "worst"),
        *("over torch.func", "to prepare"),
    ]
    lines = [table_row(heads), table_row(["---"] * len(heads))]
    for name, each in found:
        table = summary(each.regrets).set_index("choice")
        for choice in (choice for choice in CHOICES if choice in table.index):
            line = table.loc[choice]
            worst = problem(str(line["worst_contest"]))
            lines.append(
                table_row(
                    [
                        f"{as_code(choice)}, {name}"
                        if choice.startswith("auto")
                        else f"{choice}, {name}",
                        f"{line['judged']} of {line['problems']}",
                        with_interval(line, "mean", "low", "high"),
                        words.factor(line["tenth"]),
                        f"{with_interval(line, 'worst', 'worst_low', 'worst_high')}, {worst}",
                        with_interval(line, "speedup", "speedup_low", "speedup_high"),
                        _to_prepare(each, choice),
                    ]
                )
            )
    return "\n".join([*lines, ""])


def _to_prepare(found: Answer, choice: str) -> str:
    """What a chooser takes to prepare, its choice included: the median, and at most."""
    own = found.every[(found.every["strategy"] == choice) & (found.every["status"] == "ok")]
    if own.empty:
        return words.NOTHING
    seconds = own["prepare_s"].astype(float)
    return f"{words.seconds(seconds.median())}, at most {words.seconds(seconds.max())}"
