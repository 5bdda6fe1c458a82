"""A judgement as files: verdicts.json, JUnit XML for a CI's test view, Markdown for its summary."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import accumulate
from math import isfinite, nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import words
from .comparison import Control, Judgement, Verdict, exit_code

VERSION = 1


class VerdictFileError(ValueError):
    """A file that is no verdicts.json; the message is one line and says why."""


# A job summary of GitHub takes 1 MiB, and not one byte of a longer one.
MOST_BYTES = 900_000
_REASON, _NOTES = 300, 40


def as_dict(judgement: Judgement, *, strict: bool = False) -> dict[str, Any]:
    """What verdicts.json holds; numbers that are not there are None."""
    return {
        "version": VERSION,
        "exit_code": exit_code(judgement, strict=strict),
        "strict": strict,
        "contaminated": judgement.contaminated,
        "counts": judgement.counts,
        "rules": asdict(judgement.rules),
        "notes": list(judgement.notes),
        "controls": [_finite(asdict(control)) for control in judgement.controls],
        "cases": [_finite(asdict(verdict)) for verdict in judgement.verdicts],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def read(path: str | Path) -> tuple[Judgement, str]:
    """The judgement that a verdicts.json holds, and its title.

    Raises `VerdictFileError` where it is no file of verdicts.
    """
    try:
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
        if whole["version"] == VERSION:
            return _judgement(whole), str(whole["title"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerdictFileError(f"{path} is no file of verdicts: {error}") from error
    raise VerdictFileError(f"{path} has version {whole['version']}; this version reads {VERSION}")


def _judgement(whole: dict[str, Any]) -> Judgement:
    verdicts = tuple(Verdict(**_numbers(case)) for case in whole["cases"])
    controls = tuple(Control(**_numbers(control)) for control in whole["controls"])
    return Judgement(verdicts, controls, tuple(whole["notes"]))


def _numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """With NaN again for the numbers that were not there."""
    return {name: nan if value is None else value for name, value in fields.items()}


def headline(judgement: Judgement) -> str:
    """`1 slower, 2 unclear, 57 same`, with how many of the slower are waived."""
    waived = sum(bool(verdict.waived) for verdict in judgement.verdicts)
    counted = [f"{n} {word}" for word, n in judgement.counts.items()]
    said = words.listed(counted) or "no cases"
    said += f" ({waived} slower waived)" if waived else ""
    return f"contaminated: {said}" if judgement.contaminated else said


def sentence(verdict: Verdict) -> str:
    """The numbers and the reason of a verdict in one line, without its case and word."""
    said = []
    if isfinite(verdict.ratio):
        span = words.factor_interval(verdict.low, verdict.high)
        said.append(f"{verdict.ratio:.3f}×" + (f" ({span})" if span != words.NOTHING else ""))
    if isfinite(verdict.mde):
        said.append(f"MDE {_mde(verdict.mde)}")
    said += [f"waived {verdict.waived}"] if verdict.waived else []
    said += [verdict.reason] if verdict.reason else []
    return "; ".join([*said, *_counters(verdict)])


def _mde(ratio: float) -> str:
    return f"+{100 * (ratio - 1):.1f} %"


def _counters(verdict: Verdict) -> list[str]:
    return [
        f"{name} {before:,.0f} → {after:,.0f}" for name, (before, after) in verdict.counters.items()
    ]


def junit(judgement: Judgement, name: str = "comparison") -> str:
    """JUnit XML: one test a case. Slower, failing and removed are failures unless waived; waived,
    unclear and not-comparable are skipped with the reason; a control that moved is an error."""
    name = _plain(name)
    suite = ElementTree.Element("testsuite", name=name)
    for control in judgement.controls:
        test = ElementTree.SubElement(
            suite,
            "testcase",
            classname="controls",
            name=_plain(f"{control.name} ({control.stage})"),
        )
        if control.moved:
            ElementTree.SubElement(test, "error", message=_plain(_control(control)))
    for verdict in judgement.verdicts:
        test = ElementTree.SubElement(suite, "testcase", classname=name, name=_plain(verdict.case))
        message = _plain(f"{verdict.word}: {sentence(verdict)}")
        if verdict.fails:
            ElementTree.SubElement(test, "failure", message=message, type=verdict.word)
        elif verdict.waived or verdict.word in ("unclear", "not-comparable"):
            ElementTree.SubElement(test, "skipped", message=message)
    for kind, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    if judgement.notes:
        ElementTree.SubElement(suite, "system-out").text = _plain("\n".join(judgement.notes))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Without the characters that XML 1.0 has no way to write."""
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def _control(control: Control) -> str:
    span = words.factor_interval(control.low, control.high)
    return f"{control.name} took {control.ratio:.3f}× ({span}, 99 %) in the {control.stage}"


def text(judgement: Judgement, most: int = 40) -> str:
    """For a terminal: headline, controls that moved, notes, and the worst cases, one a line."""
    told = [v for v in judgement.verdicts if v.word != "same"]
    lines = [headline(judgement)]
    lines += [f"contaminated: {_control(c)}" for c in judgement.controls if c.moved]
    lines += [_line_of(note) for note in judgement.notes]
    lines += [_line_of(f"{v.word}: {v.case}: {sentence(v)}").removesuffix(":") for v in told[:most]]
    lines += [f"and {len(told) - most} more"] if len(told) > most else []
    return "\n".join(lines)


_HEAD = ("verdict", "case", "head / base", "95 % interval", "MDE", "why")


def markdown(judgement: Judgement, title: str = "Comparison", limit: int = MOST_BYTES) -> str:
    """At most `limit` bytes: headline, what moved, notes, then the cases, worst first.

    What does not fit is left out from the end, and how much that is, is said.
    """
    top = [f"# {_cell(title)}", "", f"**{headline(judgement)}**", ""]
    moved = [f"**contaminated**: {_cell(_control(c))}" for c in judgement.controls if c.moved]
    top += _few([*moved, *(_cell(note) for note in judgement.notes)])
    top += ["", _row(_HEAD), _row(["---"] * len(_HEAD))]
    return _cut(top, [_line(verdict) for verdict in judgement.verdicts], limit)


def _cut(top: Sequence[str], lines: Sequence[str], limit: int) -> str:
    # The statement of what was left out has room in every case.
    room = limit - 200 - _size(top)
    kept = sum(total <= room for total in accumulate(_size([line]) for line in lines))
    left = len(lines) - kept
    said = ["", f"{left} of {len(lines)} cases are left out, the least bad; verdicts.json has all."]
    return "\n".join([*top, *lines[:kept], *(said if left else []), ""])


def _few(notes: Sequence[str]) -> list[str]:
    more = len(notes) - _NOTES
    said = [*notes[:_NOTES], *([f"and {more} more, in verdicts.json"] if more > 0 else [])]
    return [f"- {note}" for note in said]


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _line(verdict: Verdict) -> str:
    word = f"{verdict.word}, waived" if verdict.waived else verdict.word
    timed = isfinite(verdict.ratio)
    why = [f"waived {verdict.waived}"] if verdict.waived else []
    why += [verdict.reason] if verdict.reason else []
    return _row(
        [
            f"**{word}**" if verdict.fails else word,
            _code(verdict.case),
            f"{verdict.ratio:.3f}×" if timed else words.NOTHING,
            words.factor_interval(verdict.low, verdict.high),
            _mde(verdict.mde) if isfinite(verdict.mde) else words.NOTHING,
            _cell("; ".join([*why, *_counters(verdict)])),
        ]
    )


def _cell(text: str) -> str:
    """Prose that neither ends a table's cell nor begins a tag."""
    return html.escape(_line_of(text), quote=False).replace("|", "&#124;")


def _code(text: str) -> str:
    """A name as code, in which only the pipe has an escape."""
    return f"`{_line_of(text).replace('|', chr(92) + '|').replace('`', chr(39))}`"


def _line_of(text: str) -> str:
    """The first line, of a traceback too, and no more than a page can show."""
    first = next(iter(text.strip().splitlines()), "")
    return first if len(first) <= _REASON else f"{first[:_REASON]}…"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(judgement: Judgement, title: str = "Comparison", *, strict: bool = False) -> str:
    """verdicts.json."""
    whole = {"title": title, **as_dict(judgement, strict=strict)}
    return json.dumps(whole, allow_nan=False, indent=1) + "\n"


# By the ending of a file's name.
FORMS: dict[str, Callable[[Judgement, str], str]] = {
    ".json": as_json,
    ".xml": junit,
    ".md": markdown,
}
