"""Commits as folders: what a repository holds at a revision, or in its working tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A hook's own, which would point git at another repository or index than that of the folder.
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


class CheckoutError(RuntimeError):
    """A revision that is not there, or no repository; the message is one line and says which."""


@dataclass(frozen=True)
class Checkout:
    """The files of a commit in a folder of their own.

    revision: the commit; of a working tree the one it is based on. dirty: whether files differ from
    that commit.
    """

    folder: Path
    revision: str
    dirty: bool


def repository(at: Path) -> Path:
    """The top of the repository that holds a folder."""
    return Path(_git(at, "rev-parse", "--show-toplevel"))


def checkout(of: Path, revision: str | None, folder: Path) -> Checkout:
    """Put the files of a revision into a new folder; None is the working tree, files that git does
    not know yet included, those that it ignores and those of submodules not."""
    known = _commit(of, "HEAD" if revision is None else revision)
    own = _own_index(of, folder)
    if revision is None:
        _git(of, "add", "--all", **own)
    else:
        _git(of, "read-tree", known, **own)
    tree = _git(of, "write-tree", **own)
    # Neither a worktree, which would stay in the repository if this process is killed, nor an
    # archive, which leaves out what `export-ignore` names and holds all files in memory.
    folder.mkdir(parents=True)
    _git(of, "checkout-index", "--all", f"--prefix={folder}/", **own)
    return Checkout(folder, known, tree != _git(of, "rev-parse", f"{known}^{{tree}}"))


def _commit(of: Path, revision: str) -> str:
    try:
        return _git(of, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except CheckoutError as error:
        shallow = _git(of, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; its clone is shallow, fetch all of the history" if shallow else ""
        raise CheckoutError(f"{of} has no commit {revision!r}{hint}") from error


def _own_index(of: Path, folder: Path) -> dict[str, str]:
    """An index and a store of new objects of its own: the repository stays as it is."""
    objects = folder.with_suffix(".objects")
    objects.mkdir(parents=True)
    index, shared = (
        of / _git(of, "rev-parse", "--git-path", name) for name in ("index", "objects")
    )
    # A copy, since the index knows which files a sparse checkout lacks; with its time, by which git
    # sees that a file as new as the index must be read again.
    if index.is_file():
        shutil.copy2(index, folder.with_suffix(".index"))
    alternates = [str(shared), *filter(None, [os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")])]
    return {
        "GIT_INDEX_FILE": str(folder.with_suffix(".index")),
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(alternates),
    }


def _git(at: Path, *arguments: str, **environment: str) -> str:
    return _run(at, arguments, **environment).decode().removesuffix("\n")


def _run(at: Path, arguments: Sequence[str], **environment: str) -> bytes:
    command = ["git", "-C", str(at), *arguments]
    outer = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    # Its words are shown, and looked through.
    own = {**outer, "LC_ALL": "C", **environment}
    try:
        done = subprocess.run(command, capture_output=True, env=own, check=False)
    except OSError as error:
        raise CheckoutError(f"git cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        fatal = [line for line in said if line.startswith(("fatal: ", "error: "))]
        last = (fatal or said or ["there is none such"])[-1]
        raise CheckoutError(f"git {arguments[0]} in {at}: {last}")
    return done.stdout
