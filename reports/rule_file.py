"""The rule as a file with one list a line, and how well it does as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .divisions import Entry
from .fit import Fitted, Source

HEAD = (
    "device, purpose, operator",
    "contests",
    "workloads",
    "regret",
    "worst",
    "left out",
    "worst",
)
WIDTHS = (36, 8, 9, 7, 7, 8, 7)


def as_json(rule: Sequence[Fitted], sources: Sequence[Source]) -> str:
    """`{device: {"runs": […], "lists": {purpose: {operator: [{"when", "take"}, …]}}}}`: the first
    entry whose condition holds counts, the last has none."""
    devices = dict.fromkeys(each.device for each in rule)
    return _text({device: _device(device, rule, sources) for device in devices}) + "\n"


def _device(device: str, rule: Sequence[Fitted], sources: Sequence[Source]) -> dict[str, Any]:
    runs = [asdict(source) for source in sources if source.device == device]
    lists: dict[str, Any] = {}
    for each in (each for each in rule if each.device == device):
        entries = [_entry(entry) for entry in each.entries]
        lists.setdefault(each.purpose, {})[each.operator] = entries
    return {
        "runs": [{k: v for k, v in run.items() if k != "device"} for run in runs],
        "lists": lists,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    condition = {"when": str(entry.when)} if entry.when else {}
    return condition | {"take": list(entry.take)}


def _text(value: Any, indent: str = "") -> str:
    """JSON in which a run and a list are a line each."""
    if not _holds_tables(value):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(name)}: {_text(v, inner)}" for name, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _text(v, inner) for v in value) + f"\n{indent}]"


def _holds_tables(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(each, dict) or _holds_tables(each) for each in value.values())
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def quality(rule: Sequence[Fitted]) -> str:
    """A line for each operator and purpose: contests, workloads, and the regret on them and on
    workloads left out; last the geometric means over all lists that were judged."""
    lines = [_line(HEAD), *map(_fitted, rule)]
    for purpose in dict.fromkeys(each.purpose for each in rule):
        some = [each for each in rule if each.purpose == purpose]
        own = [each.own.mean for each in some]
        others = [each.others.mean for each in some if not np.isnan(each.others.mean)]
        means = [f"{np.exp(np.mean(np.log(each))):.3f}" if each else "–" for each in (own, others)]
        lines.append(_line((f"all, {purpose}", "", "", means[0], "", means[1], "")))
    return "\n".join(lines)


def _fitted(each: Fitted) -> str:
    numbers = (each.own.mean, each.own.worst, each.others.mean, each.others.worst)
    said = ["–" if np.isnan(number) else f"{number:.3f}" for number in numbers]
    name = ", ".join([each.device, each.purpose, each.operator])
    return _line((name, str(each.contests), str(each.workloads), *said))


def _line(words: Sequence[str]) -> str:
    first, *others = (word.rjust(width) for word, width in zip(words, WIDTHS, strict=True))
    return " ".join([words[0].ljust(len(first)), *others])
