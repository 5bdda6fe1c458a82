"""The README's pictures: the first screen of a page, light and dark, in the system's chromium.

python docs/pictures.py PAGE.html FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def pictures(page: Path, folder: Path) -> None:
    """Write `report-light.png` and `report-dark.png`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no chromium here; Debian has it as the package chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for theme in ("light", "dark"):
            view = browser.new_page(
                viewport={"width": 1280, "height": 900}, color_scheme=theme, device_scale_factor=1
            )
            view.goto(page.resolve().as_uri())
            view.screenshot(path=folder / f"report-{theme}.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pictures(Path(sys.argv[1]), Path(sys.argv[2]))
