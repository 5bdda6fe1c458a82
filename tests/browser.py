"""The page in a real browser, as a reader opens it: from disk, with no network, all recorded."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
]
# Where it is 1, as in CI, a browser that is missing is a failure.
REQUIRED = "REQUIRE_BROWSER"
# The last is A4 without its margins.
WIDE, NARROW, PAPER = (1280, 900), (390, 844), (718, 1000)
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")


@dataclass(frozen=True)
class Visit:
    """A page that is open; what it asked for besides itself, and what the browser complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open_details(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    def show(self, theme: Theme, size: tuple[int, int]) -> None:
        self.page.emulate_media(color_scheme=theme)
        self.page.set_viewport_size({"width": size[0], "height": size[1]})

    def seen(self, selector: str) -> int:
        """How many such elements a reader can see, scrolling."""
        return self.page.evaluate(
            "s => [...document.querySelectorAll(s)].filter(e => e.checkVisibility()).length",
            selector,
        )


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's chromium; without one the test is skipped, or fails where it is required."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        _missing("no chromium here; Debian has it as the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def _missing(reason: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, and {REQUIRED} is 1")
    pytest.skip(reason)


@contextmanager
def visit(
    browser: Browser, file: Path, size: tuple[int, int] = WIDE, view: str = "", **context: Any
) -> Iterator[Visit]:
    """The file, open in a profile of its own that reaches nothing but the disk.

    view: what follows `#` in its address. context: what playwright's `new_context` takes, such as
    `color_scheme`, `java_script_enabled`.
    """
    width, height = size
    profile = browser.new_context(
        viewport={"width": width, "height": height}, offline=True, **context
    )
    found = Visit(profile.new_page())
    _record(found, file.resolve().as_uri())
    try:
        found.page.goto(file.resolve().as_uri() + (f"#{view}" if view else ""))
        yield found
    finally:
        profile.close()


def _record(found: Visit, own: str) -> None:
    def asked(request: Request) -> None:
        # A data: address is a part of the page.
        if request.url.partition("#")[0] != own and not request.url.startswith("data:"):
            found.requests.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.complaints.append(message.text)

    found.page.route(re.compile(r"^(https?|wss?):"), lambda route: route.abort())
    found.page.on("request", asked)
    found.page.on("console", said)
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
