"""A board's page in a real browser: its charts, on any screen, and safe whatever its texts are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise.report.page import MAX_BYTES
from tests import page_boards as boards
from tests.e2e.page.conftest import Visit, column, expect


def test_a_legend_hides_lines_and_an_axis_turns_logarithmic(visit: Visit) -> None:
    page = visit.open()
    chart = page.locator(".chart").first
    assert chart.locator(".plot path.line").count() == 2
    second = chart.get_by_role("button", name=boards.HOSTILE)
    second.click()
    assert second.get_attribute("aria-pressed") == "false"
    assert chart.locator(".plot path.line").count() == 1
    assert chart.locator(".plot path.band").count() == 1
    curve = chart.locator(".plot path.line")
    logarithmic = curve.get_attribute("d")
    corners = [float(x) for x in re.findall(r"[ML]([\d.]+),", logarithmic)]
    assert np.allclose(np.diff(corners), np.diff(corners)[0], atol=0.3)  # 1, 4, 16, 64
    chart.get_by_label("log axis").press("Space")
    assert curve.get_attribute("d") != logarithmic
    names = page.locator(".chart").nth(1)
    assert names.get_by_label("log axis").count() == 0
    assert "conv1" in names.locator("svg text").all_text_contents()


def test_arrow_keys_and_the_pointer_read_a_chart(visit: Visit) -> None:
    page = visit.open()
    chart = page.locator(".chart").first
    plot, readout = chart.locator(".plot"), chart.locator(".readout")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert "1:" in readout.inner_text()
    assert "90.0 [88.0, 92.0]" in readout.inner_text().replace("\n", " ")
    page.keyboard.press("End")
    assert "64:" in readout.inner_text()
    plot.blur()
    assert readout.inner_text() == ""
    plot.hover(position={"x": 60, "y": 60})
    assert readout.inner_text().startswith("1:")


@pytest.mark.parametrize("name", ["toy.html", "index.html"])
def test_a_phones_width_is_enough(browser: Any, site: Path, name: str) -> None:
    visit = Visit(browser, site, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = visit.open(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if name == "toy.html":
        card = page.locator(".rows tbody tr").nth(6)
        card.scroll_into_view_if_needed()
        assert card.bounding_box()["width"] <= 360
        card.locator("td[data-key=robust]").tap()
        assert page.locator("#detail").bounding_box()["width"] == 360
        assert page.locator("#detail").evaluate("node => node.scrollWidth") <= 360
    visit.check()
    visit.context.close()


def brightness(page: Any) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765


def test_dark_follows_the_system_until_the_reader_decides(browser: Any, site: Path) -> None:
    visit = Visit(browser, site, color_scheme="dark")
    page = visit.open()
    assert brightness(page) < 0.15
    theme = page.locator("#theme")
    theme.press("Enter")
    assert theme.inner_text() == "Theme: light"
    assert brightness(page) > 0.9
    page.reload()
    assert brightness(page) > 0.9
    theme.press("Enter")
    assert brightness(page) < 0.15
    visit.check()
    visit.context.close()


def test_hostile_texts_stay_texts(visit: Visit) -> None:
    page = visit.open()
    page.locator(".rows .link").nth(4).click()
    assert page.locator("h1").inner_text() == f"A toy {boards.HOSTILE}"
    assert boards.HOSTILE in column(page, "victim")
    assert boards.BREAKOUT in page.locator(".about").first.inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("[...document.images].every(image => image.src.startsWith('data:image/png'))")
    assert page.evaluate("document.scripts.length") == 2


def test_the_policy_lets_nothing_run_and_nothing_load(browser: Any, site: Path) -> None:
    visit = Visit(browser, site)
    page = visit.open()
    tried = """async () => {
      const node = document.createElement("div");
      node.innerHTML = "<img src='https://example.org/x.png'><img src='x:' onerror='window.hacked = 3'>";
      document.body.append(node);
      const script = document.createElement("script");
      script.textContent = "window.hacked = 4";
      document.body.append(script);
      const got = await fetch("https://example.org/").then(() => "answered", () => "refused");
      return [got, window.hacked ?? null];
    }"""
    assert page.evaluate(tried) == ["refused", None]
    assert any("Content Security Policy" in said for said in visit.said)
    visit.context.close()


def test_five_hundred_rows_fit_and_are_drawn(visit: Visit, site: Path) -> None:
    written = [site / "large.html", *(site / "large-rows").glob("*.html")]
    assert len(written) > 1
    assert all(path.stat().st_size < MAX_BYTES for path in written)
    page = visit.open("large.html")
    expect(page.locator(".rows tbody tr")).to_have_count(500)
    assert page.locator("#count").inner_text() == "500 of 500 rows"
    data = json.loads(page.locator("#data").text_content())
    elsewhere = next(i for i, row in enumerate(data["rows"]) if row["page"])
    page.locator(f".rows tr[data-index='{elsewhere}'] .link").click()
    page.get_by_role("link", name="Images that the attack won").click()
    assert page.locator(".pictures img").count() > 0
    page.get_by_role("link", name="the whole board").click()
    expect(page.locator("#rows")).to_have_count(1)


def test_the_index_leads_to_every_board(visit: Visit) -> None:
    page = visit.open("index.html")
    assert page.locator(".board").count() == 2
    page.locator(".board h2 a").first.click()
    assert page.locator("#count").inner_text() == "16 of 16 rows"
