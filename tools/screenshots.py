"""Draw the pictures of boards that the documents show, into docs/images: ``python -m tools.screenshots``.

Needs Playwright, Pillow and a Chromium (CHROMIUM names one that isn't on the path).
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from robustnoise.cli.looking import write_index

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


class Shot(NamedTuple):
    """A picture: its name, the page, a window, light or dark, and what to click first or to begin at."""

    name: str
    page: str
    size: tuple[int, int]
    scheme: str
    click: str | None = None
    begin: str | None = None


SHOTS = (
    Shot("board-light", "quickstart.html", (1280, 1010), "light"),
    Shot("board-dark", "quickstart.html", (1280, 900), "dark", begin="#rows"),
    Shot("board-row", "quickstart.html", (1100, 1180), "light", click="tr[data-index='14'] .link"),
    Shot("board-curves", "analog-mnist.html", (1280, 900), "dark", begin="#curves"),
    Shot("board-phone", "quickstart.html", (360, 740), "light", begin="#answer"),
)


def main() -> None:
    """Draw all of them."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        write_index([str(ROOT / "leaderboards")], Path(folder))
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for shot in SHOTS:
            path = IMAGES / f"{shot.name}.png"
            path.write_bytes(_small(_draw(browser, Path(folder), shot)))
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
        browser.close()


def _draw(browser: Any, folder: Path, shot: Shot) -> bytes:
    width, height = shot.size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=shot.scheme)
    page.emulate_media(color_scheme=shot.scheme, reduced_motion="reduce")
    page.goto((folder / shot.page).as_uri())
    if shot.click:
        page.locator(shot.click).click()
    if shot.begin:
        page.locator(shot.begin).evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(500)  # charts follow the width
    content: bytes = page.screenshot()
    page.close()
    return content


def _small(content: bytes) -> bytes:
    """As PNG with a palette: a third of the size, and no difference to see."""
    from PIL import Image

    made = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
        made, "PNG", optimize=True
    )
    return made.getvalue()


if __name__ == "__main__":
    main()
