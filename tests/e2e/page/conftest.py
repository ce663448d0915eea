"""A board's page in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustnoise.records import EvaluationRecord
from robustnoise.report.page import Listed, index_page, page_files
from tests import page_boards as boards

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def playwright() -> Any:
    return pytest.importorskip("playwright.sync_api", reason="playwright for Python is not installed")


def expect(part: Any) -> Any:
    """What is then said of a part of a page is waited for."""
    return playwright().expect(part)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (set CHROMIUM to its path)")
    with playwright().sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def found() -> list[EvaluationRecord]:
    return boards.records(4, names={1: boards.HOSTILE, 2: boards.FORMULA, 3: "noisy"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, found: list[EvaluationRecord]) -> Path:
    """A small board, a large one and the index over them."""
    folder = tmp_path_factory.mktemp("site")
    curves = [boards.curve("votes", [1, 4, 16, 64], log=True), boards.curve("layer", ["conv1", "conv2"])]
    images = {r.digest: boards.examples(r) for r in found if r.attack and r.attack["name"] == "transfer"}
    small, large = boards.data(found, boards.contents(found)._replace(curves=curves), images), boards.large()
    files = page_files("toy.html", small) | page_files("large.html", large)
    files["index.html"] = index_page("Boards", [Listed("toy.html", small), Listed("large.html", large)])
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


class Visit:
    """Pages in a window of its own, with everything they ask for and complain about."""

    def __init__(self, browser: Any, site: Path, **settings: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.site = site
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

    def open(self, name: str = "toy.html") -> Any:
        self.page.goto((self.site / name.partition("#")[0]).as_uri() + "".join(name.partition("#")[1:]))
        return self.page

    def check(self) -> None:
        """Nothing was loaded but the site's own pages and what they hold; nothing was reported."""
        assert [url for url in self.asked if not url.startswith((self.site.as_uri(), "data:", "blob:"))] == []
        assert self.said == []


@pytest.fixture(scope="module")
def window(browser: Any, site: Path) -> Iterator[Visit]:
    """One for all tests that keep nothing in it: a new one takes a third of a second."""
    window = Visit(browser, site)
    yield window
    window.context.close()


@pytest.fixture
def visit(window: Visit) -> Iterator[Visit]:
    window.asked.clear()
    window.said.clear()
    yield window
    window.check()


def column(page: Any, key: str) -> list[str]:
    return page.locator(f"table.rows td[data-key={key}]").all_inner_texts()
