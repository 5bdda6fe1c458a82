"""The answer of `python -m reports advise` as text, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from . import words
from .advice import line
from .advise import SPECIAL, Advised, Pick
from .asked import SIZES, Asked

WIDTH = 80
# As many problems of one operator as are told whole; of more a line each.
WHOLE = 3
_NEEDS = {
    "chain": "f is a chain of affine and elementwise layers",
    "separable": "no two inputs of a row meet, so that every Hessian is diagonal",
    "sparse": "most of the result is zero",
    "rows": "f takes each row by itself",
    "sum": "the rows of f(x) are apart",
    "scalar": "m = 1",
    "square": "m = n",
}
# What the second way is for: another f than the first needs, or a user's own that changes.
_OTHERWISE = {False: "otherwise", True: "should that change,"}
_OWN = (
    "Another f may differ: python -m bench advise --workload FILE.py:function measures"
    " yours and answers."
)


def text(found: Sequence[Advised], asked: Asked) -> str:
    """Every answer, an operator and device after the other."""
    parts = []
    several = len({each.run for each in found}) > 1
    for _, group in groupby(found, key=_place):
        own = list(group)
        if len(own) > WHOLE:
            parts.append(_brief(own, asked, several))
        else:
            parts += [_whole(each, asked, several) for each in own]
            parts += [_in_all(own)] if len(own) > 1 else []
    others = [] if all(each.problem["own"] for each in found) else [_wrapped(_OWN, "")]
    return "\n\n".join([*parts, *others]) + "\n"


def _place(each: Advised) -> tuple[str, str]:
    return str(each.problem["operator"]), str(each.problem["device"])


def _wrapped(said: str, indent: str, more: str | None = None) -> str:
    """Lines of at most 80 columns; names are never broken."""
    return textwrap.fill(
        said,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if more is None else more,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _field(name: str, said: str) -> str:
    return _wrapped(said, f"  {name:<16}", " " * 18)


def _whole(each: Advised, asked: Asked, several: bool) -> str:
    lines = [_wrapped(_heading(each, asked), ""), _near(each, asked, several), ""]
    if each.best is None:
        lines.append(_wrapped("No way that was measured there fits.", ""))
    else:
        lines += _told("use", each, each.best, asked)
    if each.general is not None:
        lines += ["", *_told(_OTHERWISE[bool(each.problem["own"])], each, each.general, asked)]
    elif each.best is not None and each.best.needs & SPECIAL:
        lines.append("No other measured way that fits does without that.")
    return "\n".join([*lines, *_left_out(each, asked), *_faster(each)])


def _heading(each: Advised, asked: Asked) -> str:
    case = each.problem
    place = words.on_threads(str(case["device"]), case["threads"])
    said = [str(case["operator"]), f"on {place}", asked.execution]
    said += ["to train"] if case["create_graph"] else []
    said += [str(case["layout"])] if case["layout"] != "dense" else []
    return f"{said[0]} {', '.join(said[1:])}"


def _near(each: Advised, asked: Asked, several: bool) -> str:
    run = f", run {each.run}" if several else ""
    return _wrapped(nearest(each.problem, asked) + run, "", "  ")


def nearest(problem: pd.Series, asked: Asked) -> str:
    """`nearest measured: mlp, n=32 (asked 50), m=1, B=16 (asked 256), float32`."""
    exact, sizes = True, []
    for size in SIZES:
        wanted = getattr(asked, size)
        same = wanted in (None, problem[size])
        exact &= same
        sizes.append(f"{size}={problem[size]}{'' if same else f' (asked {wanted})'}")
    same = asked.dtype in (None, problem["dtype"])
    sizes.append(f"{problem['dtype']}{'' if same else f' (asked {asked.dtype})'}")
    head = "measured exactly" if exact and same else "nearest measured"
    if not any(getattr(asked, size) for size in SIZES):
        head = "measured"
    return f"{head}: {problem['workload']}, {', '.join(sizes)}"


def _told(word: str, each: Advised, pick: Pick, asked: Asked) -> Iterator[str]:
    """What to use, on what condition, how fast, how sure, with how much memory; the code."""
    case = pick.case
    special = [_NEEDS[need] for need in sorted(pick.needs & SPECIAL)]
    # The user's own f, on which it was measured, meets its needs.
    of = "since" if each.problem["own"] else "if"
    condition = f", {of} {words.listed(special)}" if special else ""
    yield _wrapped(f"{word} {case['way']}{condition}", "", "  ")
    yield _field("time", words.seconds(case["seconds"], case["half_width"]))
    if word != "use":
        yield _field("over the first", _ratio(*pick.ratio))
    if pick.margin:
        beside = pick.margin
        numbers = _ratio(beside["margin"], beside["margin_low"], beside["margin_high"])
        yield _field("next best", f"{beside['next_best']} takes {numbers}")
        ties = words.listed(list(beside["ties"])) or beside["judged"]
        yield _field("ties with" if beside["ties"] else "judged", ties)
    yield _field("peak memory", _memory(case, asked))
    granted = [_NEEDS[need] for need in sorted(pick.needs - SPECIAL) if need in _NEEDS]
    if granted:
        yield _field("for granted", words.listed(granted))
    yield from _code(case)


def _ratio(value: float, low: float, high: float) -> str:
    span = words.factor_interval(low, high)
    said = words.factor(value)
    return said if span == words.NOTHING else f"{said} ({span})"


def _memory(case: pd.Series, asked: Asked) -> str:
    peak = case["peak_bytes"]
    if words.missing(peak) or asked.B in (None, case["B"]) or not case["B"]:
        return "not measured" if words.missing(peak) else words.bytes_(peak)
    scaled = peak * asked.B / case["B"]
    above = asked.memory_bytes is not None and scaled > asked.memory_bytes
    return (
        f"{words.bytes_(peak)} as measured; an estimate of {words.bytes_(scaled)} at B={asked.B}"
        f" if it grows with B{', more than what was asked for' if above else ''}"
    )


def _code(case: pd.Series) -> Iterator[str]:
    imported, call = line(case).split("; ", 1)
    yield f"    {imported}"
    if len(call) + 4 <= WIDTH:
        yield f"    {call}"
    else:
        name, inside = call.rstrip(")").split("(", 1)
        yield from (f"    {name}(", f"        {inside}", "    )")


def _left_out(each: Advised, asked: Asked) -> list[str]:
    said = []
    if each.large and asked.memory_bytes is not None:
        peaks = [f"{name} {words.bytes_(peak)}" for name, peak in sorted(each.large.items())]
        most = words.bytes_(asked.memory_bytes)
        said.append(f"left out, their peaks at the measured sizes above {most}: {_few(peaks)}")
    if each.unfit:
        why = words.listed(sorted(set(each.unfit.values())))
        said.append(f"left out, they need {why}: {_few(sorted(each.unfit))}")
    return [_wrapped(text, "", "  ") for text in said]


def _few(names: list[str], most: int = 6) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return words.listed([*names[:most], *more])


def _faster(each: Advised) -> list[str]:
    if each.faster is None:
        return []
    case, part = each.faster
    said = (
        f"faster still: {case['way']} takes {words.factor(part)} the time of the first, after"
        f" {words.seconds(case['prepare_s'])} to prepare"
    )
    return [_wrapped(said, "", "  ")]


def _brief(own: list[Advised], asked: Asked, several: bool) -> str:
    """A line for each problem, where there are too many to tell them whole."""
    sizes = [name for size, name in SIZES.items() if getattr(asked, size) is None]
    more = f"; --{', --'.join(sizes)} would choose among them" if sizes else ""
    head = f"{_heading(own[0], asked)}: {len(own)} problems{more}"
    lines = [_near(each, asked, several) for each in own]
    told = [_wrapped(_in_short(each), "    ", "      ") for each in own]
    both = [part for pair in zip(lines, told, strict=True) for part in pair]
    return "\n".join([_wrapped(head, "", "  "), *both, _in_all(own)])


def _in_short(each: Advised) -> str:
    if each.best is None:
        return "no way that was measured fits"
    picks: list[tuple[str, Pick]] = [("", each.best)]
    picks += [("otherwise ", each.general)] if each.general is not None else []
    return "; ".join(f"{word}{_short(pick)}" for word, pick in picks)


def _short(pick: Pick) -> str:
    case: Any = pick.case
    said = f"{case['way']} {words.seconds(case['seconds'], case['half_width'])}"
    ties = len(pick.margin.get("ties", []))
    special = " and ".join(sorted(pick.needs & SPECIAL))
    said += f", a tie with {ties} other{'s' * (ties > 1)}" if ties else ""
    return f"{said}{f' (of {special})' if special else ''}"


def _in_all(own: list[Advised]) -> str:
    """Who is the best, or ties with it, in every one of several problems."""
    near = [
        {str(each.best.case["way"]), *each.best.margin.get("ties", [])} if each.best else set()
        for each in own
    ]
    shared = sorted(set.intersection(*near))
    if not shared:
        return _wrapped("No way is the best, or ties with the best, in all of these.", "")
    return _wrapped(f"Best, or tied with the best, in all of these: {words.listed(shared)}.", "")
