"""Commits as folders: what a repository holds at a revision, or in its working tree."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
    not know yet included, those that it ignores not."""
    known = _commit(of, revision or "HEAD")
    tree = known if revision else _working_tree(of, folder.with_suffix(".index"))
    dirty = tree not in (known, _git(of, "rev-parse", f"{known}^{{tree}}"))
    # Not a worktree: nothing is left behind in the repository, however this process ends.
    packed = _run(of, ["archive", "--format=tar", tree])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return Checkout(folder, known, dirty)


def _commit(of: Path, revision: str) -> str:
    try:
        return _git(of, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except CheckoutError as error:
        raise CheckoutError(f"{of} has no commit {revision!r}") from error


def _working_tree(of: Path, index: Path) -> str:
    """The tree that a commit of everything would have, by an index of its own."""
    own = {"GIT_INDEX_FILE": str(index)}
    _git(of, "read-tree", "HEAD", **own)
    _git(of, "add", "--all", **own)
    return _git(of, "write-tree", **own)


def _git(at: Path, *arguments: str, **environment: str) -> str:
    return _run(at, arguments, **environment).decode().strip()


def _run(at: Path, arguments: Sequence[str], **environment: str) -> bytes:
    command = ["git", "-C", str(at), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, env={**os.environ, **environment}, check=False
        )
    except OSError as error:
        raise CheckoutError(f"git cannot be run: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode().strip().splitlines()
        raise CheckoutError(f"{' '.join(command)}: {said[-1] if said else 'there is none such'}")
    return done.stdout
