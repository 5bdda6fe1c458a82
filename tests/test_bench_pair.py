"""`python -m bench pair`: whose code runs, what is refused, what it says and exits with."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from made_runs import rows, write

from bench import arms as arms_module
from bench import facts, judge, pair, pair_command, runner
from bench import scratch as scratch_module
from bench.__main__ import main
from bench.arms import Arm, ArmError, Asked, Listed, arms
from bench.checkouts import CheckoutError, checkout, repository
from bench.runner import Outcome, Request
from reports import folder as folder_module
from reports.__main__ import main as reports_main
from reports.load import load
from reports.schema import AXES
from reports.verdicts import RULES
from reports.verdicts import judge as judged

# Repositories


def in_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `judge.ask` gives, without the seconds of a process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = reports_main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of these tests are nobody else's, nor is a git that runs them from a hook theirs."""
    monkeypatch.setattr(scratch_module.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(judge, "ask", in_process)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "protocol.file.allow=always"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, **files: str) -> str:
    """A commit of these files, `name__py` for name.py; made where there is none."""
    if not (folder / ".git").exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "-q", "-b", "main")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_working_tree_is_head_with_new_files_and_without_ignored_ones(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    known = commit(top, a__py="1", gone__py="", __gitignore="ignored.py\n")
    clean = checkout(top, None, tmp_path / "clean")
    (top / "a.py").write_text("2")
    (top / "new.py").write_text("")
    (top / "ignored.py").write_text("")
    (top / "gone.py").unlink()
    before = git(top, "status", "--porcelain"), git(top, "count-objects", "-v")
    dirty = checkout(top, None, tmp_path / "dirty")
    committed = checkout(top, "HEAD", tmp_path / "committed")
    assert listing(dirty.folder) == {".gitignore", "a.py", "new.py"}
    assert listing(committed.folder) == {".gitignore", "a.py", "gone.py"}
    assert [(dirty.folder / "a.py").read_text(), (committed.folder / "a.py").read_text()] == [*"21"]
    assert [clean.dirty, dirty.dirty, committed.dirty] == [False, True, False]
    assert {clean.revision, dirty.revision, committed.revision} == {known}
    # Neither its index nor its objects: nothing is staged, nothing left to be collected.
    assert (git(top, "status", "--porcelain"), git(top, "count-objects", "-v")) == before


def test_what_an_archive_would_change_is_as_in_the_commit(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    commit(top, a__py="$Format:%H$", __gitattributes="a.py export-ignore export-subst\n")
    (top / "absolute").symlink_to("/nowhere")
    (top / "outside").symlink_to("../../x")
    commit(top)
    held = checkout(top, "main", tmp_path / "held").folder
    assert (held / "a.py").read_text() == "$Format:%H$"
    found = [os.readlink(held / name) for name in ("absolute", "outside")]
    assert found == ["/nowhere", "../../x"]


def test_a_submodule_is_an_empty_folder(tmp_path: Path) -> None:
    commit(tmp_path / "part", a__py="")
    commit(tmp_path / "whole")
    git(tmp_path / "whole", "submodule", "--quiet", "add", str(tmp_path / "part"), "part")
    held = checkout(tmp_path / "whole", None, tmp_path / "held").folder
    assert listing(held / "part") == set()


def test_a_hooks_own_repository_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "one", a__py="")
    commit(tmp_path / "other", b__py="")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert repository(tmp_path / "one") == (tmp_path / "one").resolve()
    assert listing(checkout(tmp_path / "one", None, tmp_path / "held").folder) == {"a.py"}


def test_a_shallow_clone_is_named_where_a_commit_is_not_there(tmp_path: Path) -> None:
    first = commit(tmp_path / "origin")
    commit(tmp_path / "origin", a__py="")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tmp_path}/origin", "clone")
    with pytest.raises(CheckoutError, match="; its clone is shallow, fetch all of the history"):
        checkout(tmp_path / "clone", first, tmp_path / "held")


# Arms

FACTS: dict[str, Any] = {"cases": [], "line": {"contract": 1, "code": "abc"}}
Sides = tuple[tuple[str, str | None, str], tuple[str, str | None, str]]
SIDES: Sides = (("base", "main", sys.executable), ("head", None, sys.executable))


@pytest.fixture
def asked_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What each arm's process would be asked; none is started."""
    seen: list[tuple[Any, ...]] = []

    def found(name: str, job: Any, arguments: Sequence[str]) -> dict[str, Any]:
        seen.append((name, job, arguments))
        return FACTS

    monkeypatch.setattr(arms_module, "_facts", found)
    return seen


def test_files_of_the_repository_are_the_arms_own_and_others_as_they_are(
    tmp_path: Path, asked_with: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    top, outside = tmp_path / "repository", tmp_path / "outside.py"
    (top / "deep").mkdir(parents=True)
    outside.write_text("")
    commit(top, ways__py="", net__py="")
    (top / "new.py").write_text("")
    monkeypatch.syspath_prepend(str(top / "deep"))
    given = Asked(top / "deep", ["../ways.py", "../new.py", str(outside)], ["../net.py:f"], [])
    base, head = arms(given, tmp_path / "code", *SIDES)
    own = [tmp_path / "code" / name for name in ("base", "head")]
    assert base.strategies == (f"{own[0]}/ways.py", str(outside))
    assert head.strategies == (f"{own[1]}/ways.py", f"{own[1]}/new.py", str(outside))
    assert (base.workloads, head.workloads) == ((f"{own[0]}/net.py:f",), (f"{own[1]}/net.py:f",))
    assert (base.path, head.path) == ((f"{own[0]}/deep",), (f"{own[1]}/deep",))
    assert [base.line["dirty"], head.line["dirty"]] == [False, True]
    assert (base.source, head.source) == (None, None)
    assert f"--strategies={own[0]}/new.py" not in asked_with[0][2]


SUITE = '[project]\nname = "input-derivatives"\n'


def test_strategies_are_the_arms_where_the_repository_is_the_suites(
    tmp_path: Path, asked_with: list[tuple[Any, ...]]
) -> None:
    top = tmp_path / "repository"
    (top / "strategies").mkdir(parents=True)
    (top / "strategies" / "__init__.py").write_text("")
    commit(top, pyproject__toml=SUITE)
    base, _ = arms(Asked(top, [], [], []), tmp_path / "code", *SIDES)
    assert base.source is not None
    assert listing(base.source) == {"strategies"}
    linked = (base.source / "strategies").resolve()
    assert linked == (tmp_path / "code" / "base" / "strategies").resolve()


def _ignored(top: Path) -> Asked:
    (top / ".gitignore").write_text("ways.py\n")
    (top / "ways.py").write_text("")
    return Asked(top, ["ways.py"], [], [])


def _bare_suite(top: Path) -> Asked:
    commit(top, pyproject__toml=SUITE)
    return Asked(top, [], [], [])


def _new_network(top: Path) -> Asked:
    (top / "net.py").write_text("")
    return Asked(top, [], ["net.py:f"], [])


REFUSED: dict[str, tuple[Callable[[Path], Asked], str]] = {
    "in-neither": (_ignored, "ways.py is in neither commit: it is not there, ignored by git or "),
    "suite-without": (_bare_suite, "base has no folder `strategies`: nothing to compare"),
    "network-in-head-only": (_new_network, "base has none of net.py:f: nothing to compare"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_arm_that_would_run_other_code_is_refused(
    tmp_path: Path, asked_with: list[tuple[Any, ...]], case: str
) -> None:
    made, said = REFUSED[case]
    commit(tmp_path / "repository")
    with pytest.raises(ArmError, match=re.escape(said)):
        arms(made(tmp_path / "repository"), tmp_path / "code", *SIDES)


def module(name: str, file: Path) -> ModuleType:
    made = ModuleType(name)
    made.__file__ = str(file)
    return made


@pytest.mark.parametrize(
    ("where", "own"),
    [
        ("top/held/helper.py", True),
        ("top/.venv/lib/site-packages/helper.py", False),
        ("elsewhere/helper.py", False),
    ],
)
def test_modules_of_the_arm_make_it_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, own: bool
) -> None:
    file = tmp_path / where
    file.parent.mkdir(parents=True)
    file.write_text("1")
    monkeypatch.setitem(sys.modules, "helper", module("helper", file))
    found = facts.code(tmp_path / "top", tmp_path / "top" / "held")
    assert bool(found) is own
    file.write_text("2")
    assert (facts.code(tmp_path / "top", tmp_path / "top" / "held") != found) is own


@pytest.mark.parametrize("name", ["bench.facts", "reports.load", "__main__", "__mp_main__"])
def test_what_measures_is_this_checkouts_in_both_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, module(name, tmp_path / "top" / "facts.py"))
    assert facts.code(tmp_path / "top", tmp_path / "held") == ""


def test_a_module_of_the_working_tree_is_of_neither_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "helper", module("helper", tmp_path / "top" / "helper.py"))
    with pytest.raises(SystemExit, match=r"^module helper came from .*/helper.py, not from the c"):
        facts.code(tmp_path / "top", tmp_path / "held")


# What is said before anything is measured


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main(["pair", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


WRONG = {
    "no-commit": (["nope"], "has no commit 'nope'"),
    "empty-base": ([""], "has no commit ''"),
    "empty-head": (["main", ""], "has no commit ''"),
    "no-python": (["main", "--base-python", "no/python"], "no python no/python to run on"),
    "no-comparison": (["main", "--resume", "none"], "none is no folder of a comparison: nothing "),
    "no-waivers": (["main", "--waivers", "none.toml"], "none.toml"),
    "no-file": (["main", "--strategies", "no.py"], "no.py is in neither commit"),
    "same-code": (["main"], "neither commit's files would run, base and head are the same"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    arguments, said = WRONG[case]
    commit(tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setattr(
        arms_module, "_facts", lambda *_: {**FACTS, "line": {"contract": 1, "code": ""}}
    )
    code, out, err = told(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bench: ")
    assert said in err
    assert list((tmp_path / "repository").iterdir()) == [tmp_path / "repository" / ".git"]


def test_without_a_repository_it_is_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    code, _, err = told(capsys, "main")
    assert (code, err.count("\n")) == (2, 1)
    assert "fatal: not a git repository" in err


# Planted arms and files

Rows = list[dict[str, Any]]
LINE = {
    **{"contract": 1, "commit": "abc", "code": "def", "dirty": False, "strategies": {}},
    "workloads": {"net": {"text": "", "version": 1}},
    "environment": {"cpu": "x", "pinned": []},
}


def measured(*names: str, ratio: float = 1.0, noise: float = 0.01, **fields: Any) -> Rows:
    return rows(lambda *_: ratio * 1e-4, strategies=names, passes=8, noise=noise, **fields)


def an_arm(name: str, found: Rows, **changed: Any) -> Arm:
    axes = [{axis: row.get(axis, absent) for axis, absent in AXES.items()} for row in found]
    listed = {case.id: case for case in map(Listed, axes)}
    line = {**LINE, **changed.pop("line", {})}
    made = Arm(name, None, (), (), (), sys.executable, tuple(listed.values()), line)
    return replace(made, **changed)


Plant = Callable[..., list[Request]]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    """Arms and what they measured; a confirmation measures the same. Returns what was asked for."""
    monkeypatch.chdir(tmp_path)

    def planted(base: Rows, head: Rows, of_base: Any = None, of_head: Any = None) -> list[Request]:
        found = [an_arm("base", base, **of_base or {}), an_arm("head", head, **of_head or {})]
        monkeypatch.setattr(pair_command, "arms", lambda *_: found)
        asked: list[Request] = []

        def in_turn(requests: Sequence[Request], order: Any) -> list[Outcome]:
            asked.extend(requests)
            for request, kept in zip(requests, (base, head), strict=True):
                request.results.mkdir(parents=True, exist_ok=True)
                path = request.results / f"{request.name}.jsonl"
                twice = [{**row, "pass": row["pass"] + 8} for row in kept]
                whole = [row for row in (*kept, *twice) if row["pass"] < request.passes]
                write(path, whole, **{**request.line, "passes": request.passes})
            return [Outcome(request.results, {}) for request in requests]

        monkeypatch.setattr(pair, "run_in_turn", in_turn)
        return asked

    return planted


SAME = measured("a", "b", noise=0.012)


def lost(found: Rows) -> Rows:
    """Without a time of `a` in a pass."""
    return [
        row | {"wall_s": [float("nan")] * 3} if (row["strategy"], row["pass"]) == ("a", 3) else row
        for row in found
    ]


def id_of(name: str) -> str:
    return f"jacobian/{name}/net/n=16/B=4/float32/cpu"


OUTCOMES: dict[str, tuple[Rows, dict[str, Any], int, str]] = {
    "same": (SAME, {}, 0, "2 same"),
    "slower": (
        measured("a", ratio=1.3, noise=0.012) + measured("b", noise=0.012),
        {},
        1,
        f"slower: {id_of('a')}: 1.29",
    ),
    "faster": (
        measured("a", ratio=0.7, noise=0.012) + measured("b", noise=0.012),
        {},
        0,
        f"faster: {id_of('a')}: 0.69",
    ),
    "removed": (measured("b", noise=0.012), {}, 1, f"removed: {id_of('a')}"),
    "renamed": (measured("c", "b", noise=0.012), {}, 1, f"new: {id_of('c')}"),
    "failing": (
        measured("a", status="error", reason="KeyError: 'x'") + measured("b", noise=0.012),
        {},
        1,
        f"failing: {id_of('a')}: error: KeyError: 'x'",
    ),
    "version": (
        SAME,
        {"line": {"workloads": {"net": {"version": 2}}}},
        2,
        f"not-comparable: {id_of('a')}: version 2 of workload net, in base 1",
    ),
    "shape": (
        measured("a", noise=0.012, in_shape=[9]) + measured("b", noise=0.012),
        {},
        0,
        f"not-comparable: {id_of('a')}: x and f of [9] and [16] in a row, in base [16] and [16]",
    ),
    "nan": (lost(SAME), {}, 0, f"not-comparable: {id_of('a')}: 7 of 8 pairs of passes have both"),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_what_was_measured_is_said_and_is_the_exit_code(
    plant: Plant, capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str
) -> None:
    head, of_head, code, said = OUTCOMES[case]
    plant(measured("a", "b"), head, of_head=of_head)
    found, out, _ = told(capsys, "main")
    assert found == code, out
    assert any(line.startswith(said) for line in out.splitlines()), out
    folder = Path(out.splitlines()[-1]).parent
    assert json.loads((folder / "verdicts.json").read_text())["title"] == "main → working tree"
    assert {"verdicts.md", "verdicts.xml"} < listing(folder)


def test_what_was_renamed_is_gone_under_its_old_name(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(measured("a", "b"), measured("c", "b"))
    assert f"removed: {id_of('a')}" in told(capsys, "main")[1]


def test_a_fixed_case_does_not_fail(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    plant(measured("a", status="wrong", reason="r") + measured("b"), SAME)
    code, out, _ = told(capsys, "main")
    assert code == 0
    assert f"fixed: {id_of('a')}: it was wrong" in out


def test_what_is_unclear_fails_only_where_strict(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(measured("a"), measured("a", noise=0.4))
    assert [told(capsys, "main")[0], told(capsys, "main", "--strict")[0]] == [0, 3]


@pytest.mark.parametrize(("expires", "code"), [("2020-01-31", 1), ("2999-01-31", 0)])
def test_a_waiver_holds_until_its_last_day(
    plant: Plant, capsys: pytest.CaptureFixture[str], tmp_path: Path, expires: str, code: int
) -> None:
    said = f'[[waiver]]\ncase = "*/a/*"\nceiling = 1.5\nexpires = {expires}\nreason = "r"\n'
    (tmp_path / "waivers.toml").write_text(said)
    plant(measured("a", "b"), OUTCOMES["slower"][0])
    found, out, _ = told(capsys, "main", "--waivers", "waivers.toml")
    assert found == code
    assert f"slower: {id_of('a')}" in out
    assert ("expired" in out) == bool(code)


REFUSALS: dict[str, tuple[Rows, dict[str, Any], list[str], str]] = {
    "contract": (SAME, {"line": {"contract": 2}}, [], "base has contract 1 of strategies, head 2"),
    "nothing-common": (measured("c"), {}, [], "base and head have no case in common"),
    "older-than-the-suite": (
        SAME,
        {"source": Path("x")},
        [],
        "base is from before this suite had `strategies`",
    ),
    "pairs": (SAME, {}, ["--pairs", "4"], "4 pairs of passes cannot reach p <= 0.1"),
    "inject-unknown": (SAME, {}, ["--inject", "nope=1.1"], "--inject nope=1.1: it is ID=RATIO"),
    "inject-removed": (
        measured("b"),
        {},
        ["--inject", f"{id_of('a')}=1.1"],
        "of a case of head, such as",
    ),
    "inject-infinite": (SAME, {}, ["--inject", f"{id_of('a')}=inf"], "it is ID=RATIO"),
    "inject-faster": (SAME, {}, ["--inject", f"{id_of('a')}=0.9"], "it is ID=RATIO"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_compared_is_said_before_it_is_measured(
    plant: Plant, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    head, of_head, arguments, said = REFUSALS[case]
    asked = plant(measured("a", "b"), head, of_head=of_head)
    code, out, err = told(capsys, "main", *arguments)
    assert (code, out, asked) == (2, "", [])
    assert said in err.splitlines()[-1]


def test_two_commits_without_a_case_say_so(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant([], [])
    code, _, err = told(capsys, "main", "--only", "nope")
    assert code == 2
    assert "no case is selected, in base and in head" in err


def test_only_suspects_are_measured_again(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    asked = plant(measured("a", "b"), OUTCOMES["slower"][0])
    told(capsys, "main")
    own = [[c.id for c in r.cases if not c.id.startswith("control/")] for r in asked]
    assert own == [[id_of("a"), id_of("b")]] * 2 + [[id_of("a")]] * 2
    assert [r.passes for r in asked] == [8, 8, 10, 10]
    assert [r.line["pair"]["stage"] for r in asked] == ["screen", "screen", "confirm", "confirm"]
    assert [r.line["pair"]["arm"] for r in asked] == ["base", "head"] * 2


def test_the_screen_alone_leaves_its_suspects_to_a_later_confirmation(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = plant(measured("a", "b"), OUTCOMES["slower"][0])
    code, out, _ = told(capsys, "main", "--screen-only")
    assert (code, [r.line["pair"]["stage"] for r in asked]) == (0, ["screen"] * 2)
    assert "suspected slower, not measured again" in out
    folder = Path(out.splitlines()[-1]).parent
    asked.clear()
    code, out, _ = told(capsys, *resumed(folder))
    assert (code, [r.line["pair"]["stage"] for r in asked[2:]]) == (1, ["confirm"] * 2)
    assert f"slower: {id_of('a')}" in out


def test_a_machine_that_changed_is_no_slower_case(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything takes longer in the passes of head, what holds no code of it too."""
    control = partial(rows, strategies=["copy"], passes=8, noise=0.012, operator="control")
    base = [*measured("a", "b", noise=0.012), *control(lambda *_: 1e-4)]
    head = [*measured("a", "b", ratio=1.3, noise=0.012), *control(lambda *_: 1.3e-4)]
    plant(base, head)
    code, out, _ = told(capsys, "main")
    assert (code, out.splitlines()[0]) == (3, "contaminated: 2 unclear")
    assert "contains no code of either arm and took 1.30×" in out


def test_head_alone_is_slowed_and_every_output_says_so(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, text = plant(measured("a", "b"), SAME), f"{id_of('a')}=1.1"
    _, out, _ = told(capsys, "main", "--inject", text)
    assert [r.job.inject for r in asked] == [(), (text,)]
    assert [r.line["pair"]["inject"] for r in asked] == [[], [text]]
    folder = Path(out.splitlines()[-1]).parent
    for name in ("verdicts.json", "verdicts.md", "verdicts.xml"):
        assert f"slowed on purpose: {text}" in (folder / name).read_text()


def test_as_many_cores_are_claimed_as_a_case_has_threads(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    there = len(os.sched_getaffinity(0))
    asked = plant(measured("a", threads=there), measured("a", threads=there))
    told(capsys, "main")
    assert len(asked[0].job.pinned) == there
    assert asked[0].line["environment"]["pinned"] == list(asked[0].job.pinned)
    assert asked[0].line["environment"]["threads"] == there


# The judge is a process of its own


def test_a_folder_that_was_kept_is_judged_again_by_a_process(
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plant(measured("a", "b"), OUTCOMES["slower"][0])
    _, out, _ = told(capsys, "main")
    folder = Path(out.splitlines()[-1]).parent
    monkeypatch.undo()
    # A package of its name where it is run from is not the one that is asked.
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").write_text("raise ImportError('another reports')")
    monkeypatch.chdir(tmp_path)
    assert judge.suspects(folder) == {id_of("a")}
    assert judge.verdicts(folder, "main → working tree", None, strict=False) == 1
    assert capsys.readouterr().out == out
    with pytest.raises(judge.JudgeError, match="none is no folder of a comparison: it holds no"):
        judge.verdicts(tmp_path / "none", "x", None, strict=False)


# Going on


def resumed(folder: Path) -> list[str]:
    return ["main", "--resume", str(folder)]


def planted_folder(plant: Plant, capsys: pytest.CaptureFixture[str]) -> Path:
    plant(measured("a", "b"), SAME)
    return Path(told(capsys, "main")[1].splitlines()[-1]).parent


def test_a_comparison_that_is_there_is_gone_on_with(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = planted_folder(plant, capsys)
    asked = plant(measured("a", "b"), SAME)
    assert told(capsys, *resumed(folder))[0] == 0
    assert [r.resume for r in asked] == [folder / "screen-base.jsonl", folder / "screen-head.jsonl"]


@pytest.mark.parametrize(
    ("of_head", "arguments", "said"),
    [
        ({"line": {"code": "other"}}, [], "was measured on other files than those that are there"),
        ({}, ["--inject", f"{id_of('a')}=1.1"], "was measured with --inject [], now it is"),
    ],
    ids=["files", "inject"],
)
def test_passes_of_other_code_are_not_added(
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    of_head: dict[str, Any],
    arguments: list[str],
    said: str,
) -> None:
    folder = planted_folder(plant, capsys)
    asked = plant(measured("a", "b"), SAME, of_head=of_head)
    code, _, err = told(capsys, *resumed(folder), *arguments)
    assert (code, asked) == (2, [])
    assert said in err.splitlines()[-1]


def test_an_empty_file_is_not_gone_on_with(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = planted_folder(plant, capsys)
    (folder / "screen-base.jsonl").write_text("")
    code, _, err = told(capsys, *resumed(folder))
    assert (code, err.count("\n")) == (2, 1)
    assert "screen-base.jsonl is empty: remove it, and it is measured again" in err


# Real ones

WAYS = '''
import warnings
import helper
import torch
from strategies import Operator, strategy

@strategy(Operator.JACOBIAN, mode="forward", sweep="loop", needs=["sum"])
def {name}(f, inputs, options):
    """Columns, one after the other."""
    warnings.warn("code of " + helper.WHOSE)
    def evaluate(x, *args):
        push = lambda v: torch.func.jvp(lambda z: f(z, *args), (x,), (v,))[1]
        return torch.stack([push(e.expand_as(x)) for e in torch.eye(3, dtype=x.dtype)], -1)
    return evaluate
'''
NETWORK = '''
import torch

def sines(dtype, device, generator):
    """Sines of sums."""
    A = torch.ones(2, 3, dtype=dtype, device=device)
    x = torch.rand(4, 3, generator=generator, dtype=dtype)
    return (lambda x: (x @ A.T).sin()), x.to(device)
'''
OWN = ["--strategies", "ways.py", "--strategies", "more.py", "--workload", "net.py:sines"]
OWN += ["--only", "jacobian/our-", "--pairs", "2", "--results", "../results"]


def test_a_users_repository_is_interrupted_gone_on_with_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both arms run their own files and what these import; a file that git does not know is new."""
    top = tmp_path / "repository"
    commit(top, ways__py=WAYS.format(name="our_way"), net__py=NETWORK, helper__py="WHOSE = 'base'")
    (top / "helper.py").write_text("WHOSE = 'head'")
    (top / "more.py").write_text(WAYS.format(name="our_new_way"))
    monkeypatch.chdir(top)
    monkeypatch.syspath_prepend(str(top))
    # What costs are the processes: two pairs show whose code runs, if no level has to be reached.
    easy = replace(RULES, screen_level=0.6)
    monkeypatch.setattr(pair, "RULES", easy)
    monkeypatch.setattr(folder_module, "suspects", lambda _: ())
    monkeypatch.setattr(folder_module, "judge", lambda found: judged(found, easy))
    monkeypatch.setattr(pair, "controls", lambda *_: [])
    measure, stopped = runner._pass, []

    def interrupting(request: Request, number: int, *rest: Any) -> None:
        if number == 1 and not stopped:
            stopped.append(os.kill(os.getpid(), signal.SIGINT))
        measure(request, number, *rest)

    monkeypatch.setattr(runner, "_pass", interrupting)
    monkeypatch.setattr(sys, "argv", ["bench", "pair", "main", *OWN])
    code, out, err = told(capsys, "main", *OWN)
    assert (code, out) == (130, ""), err
    again = err.splitlines()[-1].partition("; go on with: python -m bench pair ")[2].split()
    code, out, err = told(capsys, *again)
    assert code == 0, err
    assert "new: jacobian/our-new-way/sines/B=4/float32/cpu" in out
    folder = Path(out.splitlines()[-1]).parent
    assert folder.parent == Path("../results")
    for name in ("base", "head"):
        run = load(folder / f"screen-{name}.jsonl")
        assert sorted(set(run.rows["pass"])) == [0, 1]
        said = [text for found in run.rows["warnings"] for text in found]
        assert {text for text in said if text.startswith("code of ")} == {f"code of {name}"}
    assert list(scratch_module.user_folder().glob("run-*")) == []


def test_a_base_that_does_not_import_is_shown_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "repository"
    commit(top, ways__py="import nowhere")
    monkeypatch.chdir(top)
    code, out, err = told(capsys, "main", "--strategies", "ways.py")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bench: base cannot be measured: ")
    assert "ways.py raises ModuleNotFoundError: No module named 'nowhere'" in err


def test_strategies_from_elsewhere_end_the_comparison(
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plant(SAME, SAME, {"source": tmp_path / "there"}, {"source": tmp_path / "there"})
    monkeypatch.setattr(pair, "run_in_turn", runner.run_in_turn)
    code, out, err = told(capsys, "main")
    assert (code, out) == (2, "")
    assert re.search(r"strategies came from \S+, not from \S+/there$", err.splitlines()[-1])
