"""Commands of the suite in processes of their own, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def surroundings(**changed: str) -> dict[str, str]:
    """The environment of a user, with some variables changed.

    pytest-benchmark does nothing where it finds that it runs beside other workers of pytest.
    """
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**outer, **changed}


def python(
    *arguments: str, timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=surroundings(**environment),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def command(
    *arguments: str, timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m` with these arguments."""
    return python("-m", *arguments, timeout_s=timeout_s, **environment)


def started(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`python -m` with these arguments, on its way."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=surroundings(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
