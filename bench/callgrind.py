"""A dump of callgrind, read: instructions in all, and those of each native function itself.

The format is that of Valgrind's manual, "Callgrind Format Specification". A name is written out
once in a dump, after that as its number alone; the line after `calls=` is the cost of what is
called, which the called function's own lines hold already.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# One thing to a reader: in which of its functions a line of Python ends says nothing about it.
INTERPRETER = "interpreter"
_OF_PYTHON = re.compile(r"(^|/)(lib)?python[0-9.]*(\.so[0-9.]*)?$|/lib-dynload/")
_API = re.compile(r"_?Py[A-Z]")
_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
# A call's object and function have the numbers of those that are being executed.
_SPACES = {"ob": "ob", "cob": "ob", "fn": "fn", "cfn": "fn"}
_OPERATOR = re.compile(r"\boperator ?(\(\)|<=>|<<=?|>>=?|->\*?|<=?|>=?)")
_HIDDEN = dict(zip(map(ord, "<>()"), "\1\2\3\4", strict=True))
_SHOWN = {ord(hidden): chr(sign) for sign, hidden in _HIDDEN.items()}
_NAMELESS = re.compile(r"0x[0-9a-f]+$|\?\?\?$")


class DumpError(ValueError):
    """A file that is no dump of callgrind, or a cut one; the message is one line and says which."""


@dataclass(frozen=True)
class Dump:
    """Instructions in all, and those of each function itself, without what it calls."""

    total: int
    functions: Mapping[str, int]


@dataclass
class _Names:
    """Names by their numbers, objects and functions apart; the object and function of now."""

    known: dict[tuple[str, str], str] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=lambda: {"ob": "", "fn": ""})

    def say(self, key: str, text: str) -> None:
        """Follow a line `key=text`."""
        space, match = _SPACES.get(key), _NAME.match(text)
        if space is None:
            return
        if match and match[2] is not None:
            self.known[space, match[1]] = match[2]
        name = self.known.get((space, match[1]), "") if match else text
        if key == space:
            self.now[space] = name


def parse(text: str) -> Dump:
    """Read one dump of the event Ir. Raises `DumpError`."""
    lines = text.splitlines()
    if not lines or "callgrind" not in text[:200] or "events: Ir" not in lines:
        raise DumpError("not a dump of callgrind that counts instructions")
    costs: dict[tuple[str, str], int] = defaultdict(int)
    for place, cost in _self_costs(lines):
        costs[place] += cost
    total = sum(costs.values())
    if _stated(lines) != total:
        raise DumpError(f"a cut dump: its lines sum up to {total}, not to {_stated(lines)}")
    functions: dict[str, int] = defaultdict(int)
    for (obj, name), cost in costs.items():
        functions[function_name(obj, name)] += cost
    return Dump(total, dict(functions))


def _stated(lines: Iterable[str]) -> int:
    said = [line for line in lines if line.startswith("totals:")]
    return int(said[-1].split()[1]) if said else -1


def _self_costs(lines: Iterable[str]) -> Iterable[tuple[tuple[str, str], int]]:
    names, called = _Names(), False
    for line in lines:
        key, equals, text = line.partition("=")
        if equals and key.isalpha():
            names.say(key, text)
            called = key == "calls"
        elif line[:1] in tuple("0123456789+-*"):
            if not called:
                yield (names.now["ob"], names.now["fn"]), int(line.split()[1])
            called = False


def function_name(obj: str, name: str) -> str:
    """A native function as one would say it: without parameters, template arguments and return
    type; Python's interpreter as a whole; one without a name by its library."""
    if _OF_PYTHON.search(obj) or _API.match(name):
        return INTERPRETER
    if _NAMELESS.match(name):
        return f"{obj.rpartition('/')[2] or 'unknown'} (no name)"
    text = re.sub(r" \[clone [^]]*\]", "", name).replace("(anonymous namespace)::", "")
    # The brackets of an operator's own sign are no brackets.
    text = _outside_brackets(_OPERATOR.sub(lambda m: m[0].translate(_HIDDEN), text))
    found = re.search(r"(operator [\w\[\]]+|\S+)$", re.sub(r"( const| &+)+$", "", text.strip()))
    return found[1].translate(_SHOWN) if found else name


def _outside_brackets(text: str) -> str:
    """What is in neither round nor angle brackets."""
    kept, depth = [], 0
    for character in text:
        depth += (character in "(<") - (character in ")>")
        if depth == 0 and character not in ")>":
            kept.append(character)
    return "".join(kept)
