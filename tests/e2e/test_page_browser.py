"""A board's page in a real browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.records import EvaluationRecord
from robustnoise.report.page import MAX_BYTES, Listed, index_page, page_files
from robustnoise.report.views import summary
from tests import page_boards as boards

playwright = pytest.importorskip("playwright.sync_api", reason="playwright for Python is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (set CHROMIUM to its path)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
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


def robust(page: Any) -> list[float]:
    return [float(text.split()[0]) for text in column(page, "robust")]


def test_a_columns_button_sorts_and_a_third_press_undoes_it(visit: Visit) -> None:
    page = visit.open()
    before = robust(page)
    button = page.locator("th[data-key=robust] button")
    button.click()
    assert robust(page) == sorted(before, reverse=True)
    assert page.locator("th[data-key=robust]").get_attribute("aria-sort") == "descending"
    button.press("Enter")
    assert robust(page) == sorted(before)
    button.press("Enter")
    assert robust(page) == before
    page.locator("th[data-key=delta] button").click()
    deltas = column(page, "delta")
    assert deltas[-4:] == ["\u2013"] * 4  # what has no delta comes last


def test_the_answer_shows_ranks_ties_and_contrasts(visit: Visit, found: list[EvaluationRecord]) -> None:
    page = visit.open()
    wanted = [(s.victim, s.rank_shared.text if s.rank_shared else "") for s in summary(found)]
    rows = page.locator("table.answer tbody tr")
    told = [row.locator("td.rank").first.inner_text() for row in rows.all()]
    assert list(zip(page.locator("table.answer th[scope=row]").all_inner_texts(), told, strict=True)) == wanted
    shared = [i for i in range(1, len(told)) if told[i].endswith("=") and told[i] == told[i - 1]]
    assert page.locator("table.answer td.rank:nth-of-type(2).tied").count() == len(shared) > 0
    contrasts = page.locator("#contrasts tbody tr").all_inner_texts()
    first = stats.paired_delta(
        found[14].victim.scored.right, 20, found[2].victim.scored.right, 1, np.random.default_rng(0)
    )
    assert f"{100 * first.estimate:+.1f}".replace("-", "\u2212") in contrasts[0]
    assert "not measured: gone has no row yet" in contrasts[1]


def test_text_and_choices_filter(visit: Visit) -> None:
    page = visit.open()
    count = page.locator("#count")
    assert count.inner_text() == "16 of 16 rows"
    page.keyboard.press("/")
    page.keyboard.type("noisy asking")
    playwright.expect(count).to_have_text("1 of 16 rows")
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("scope", exact=True).select_option("per-victim")
    assert set(column(page, "scope")) == {"per-victim"}
    page.get_by_label("ranked", exact=True).select_option("no")
    playwright.expect(count).to_have_text("1 of 16 rows")
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("flag", exact=True).select_option("none")
    assert set(column(page, "victim")) == {"victim-0", boards.FORMULA}
    page.get_by_label("victim", exact=True).select_option(boards.FORMULA)
    playwright.expect(count).to_have_text("4 of 16 rows")


def test_a_flag_explains_itself_on_hover_and_on_focus(visit: Visit) -> None:
    page = visit.open()
    tooltip = page.locator("#tooltip")
    assert not tooltip.is_visible()
    page.locator(".rows .badge").first.hover()
    for text in ("RANDOMISED", "Raised if", "the victim's answers are random", "scored in 20 fresh draws"):
        assert text in tooltip.inner_text()
    page.locator("h1").hover()
    assert not tooltip.is_visible()
    blocking = page.locator(".rows .badge").last
    blocking.focus()
    assert "blocks: the row isn't ranked" in tooltip.inner_text()
    assert "blocks" in blocking.get_attribute("class")
    page.locator(".rows .badge").nth(-2).focus()
    assert f"{boards.HOSTILE} {boards.BREAKOUT}" in tooltip.inner_text()
    page.keyboard.press("Escape")
    assert not tooltip.is_visible()


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


def test_a_row_opens_by_click_by_key_and_by_address(visit: Visit, found: list[EvaluationRecord]) -> None:
    page = visit.open()
    dialog = page.locator("#detail")
    names = page.locator(".rows .link")
    names.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    text = dialog.inner_text()
    third = found[2]
    for part in ("victim-0 under transfer", third.digest, "plain-training(epochs=0)", "always wrong", "transfer()"):
        assert part in text
    images = dialog.locator(".pictures img")
    assert images.count() == 3 * len(boards.lost(third)) > 0
    assert images.evaluate_all("all => all.every(image => image.naturalWidth === 28)")
    dialog.get_by_text("Provenance").click()
    assert "0" * 40 in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert names.nth(2).evaluate("node => node === document.activeElement")
    page.locator(".rows tbody tr").nth(13).locator("td[data-key=robust]").click()
    assert dialog.locator("h2").inner_text() == "noisy under noise"
    dialog.get_by_role("button", name="Close").click()
    visit.open(f"toy.html#row-{found[7].digest[:16]}")
    visit.page.reload()
    assert boards.HOSTILE in dialog.locator("h2").inner_text()


def python_delta(a: EvaluationRecord, b: EvaluationRecord) -> stats.Delta:
    x, y = a.victim.scored, b.victim.scored
    return stats.paired_delta(x.right, x.draws, y.right, y.draws, np.random.default_rng(0))


@pytest.mark.parametrize(("first", "second"), [(2, 10), (6, 2), (5, 13)])
def test_a_comparison_agrees_with_python(visit: Visit, found: list[EvaluationRecord], first: int, second: int) -> None:
    page = visit.open()
    page.get_by_label("first").select_option(str(first))
    page.get_by_label("minus").select_option(str(second))
    result = page.locator("#compare-result")
    wanted = python_delta(found[first], found[second])
    playwright.expect(result).to_have_attribute("data-pair", f"{first} {second}")
    value, low, high = json.loads(result.get_attribute("data-figure"))
    assert value == pytest.approx(wanted.estimate, abs=1e-12)
    if wanted.method == "tango+mcnemar":
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
        assert f"p = {wanted.p_value:.4f}" in result.inner_text() or wanted.p_value < 1e-4
        assert "Tango's score interval" in result.inner_text()
    else:  # another interval, which says so: within a tenth of its width
        assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.1 * (high - low))
        assert "normal approximation" in result.inner_text()


def test_a_detail_leads_to_its_comparison(visit: Visit) -> None:
    page = visit.open()
    page.locator(".rows .link").nth(6).click()
    page.locator("#compare-this").click()
    assert not page.locator("#detail").is_visible()
    assert page.get_by_label("first").input_value() == "6"
    # the same attack, another victim; the unranked row is nowhere to be chosen
    assert page.get_by_label("minus").input_value() == "2"
    assert page.locator("#compare-second option[value='15']").count() == 0


def test_the_scripts_statistics_are_those_of_python(visit: Visit) -> None:
    page = visit.open()
    for b, c, n in [(0, 0, 50), (3, 9, 200), (17, 2, 1000), (40, 0, 40), (0, 7, 10_000), (310, 250, 10_000)]:
        low, high = page.evaluate("([b, c, n]) => tango(b, c, n)", [b, c, n])
        assert (low, high) == pytest.approx(stats.tango(b, c, n), abs=1e-9)
        assert page.evaluate("([b, c]) => mcnemar(b, c)", [b, c]) == pytest.approx(stats.mcnemar(b, c), rel=1e-9)
    right = np.random.default_rng(0).integers(0, 21, 300)
    for m in (1, 5, 20):
        value, low, high = page.evaluate(
            "([right, m]) => anyFail({ right, draws: 20 }, m)", [[int(count) for count in right], m]
        )
        assert value == pytest.approx(stats.any_fail(right, 20, m), abs=1e-12)
        assert low <= value <= high


def test_exports_hold_the_visible_rows_in_their_order(visit: Visit, found: list[EvaluationRecord]) -> None:
    page = visit.open()
    page.get_by_label("scope", exact=True).select_option("shared")
    page.locator("th[data-key=robust] button").click()
    shown = column(page, "victim")
    with page.expect_download() as saved:
        page.get_by_role("button", name="JSON").click()
    rows = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert [row["victim"] for row in rows] == shown
    by_digest = {r.digest: r for r in found}
    for row in rows:
        assert row["robust"] == pytest.approx(by_digest[row["digest"]].victim.scored.accuracy, abs=1e-6)
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename == "toy.csv"
    lines = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_bytes().decode())))
    assert [line["victim"].removeprefix("'") for line in lines] == shown
    assert f"'{boards.FORMULA}" in [line["victim"] for line in lines]
    assert not [cell for line in lines for cell in line.values() if re.match(r"[=+@\t\r]|-\D", cell)]
    for text in ("=1", "+1", "-a", "@a", "\ta", "\ra"):
        assert page.evaluate("csvCell", text).strip('"') == f"'{text}"
    assert page.evaluate("csvCell", -0.25) == "-0.25"


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


def test_five_hundred_rows_fit_and_are_drawn_at_once(visit: Visit, site: Path) -> None:
    written = [site / "large.html", *(site / "large-rows").glob("*.html")]
    assert len(written) > 1
    assert all(path.stat().st_size < MAX_BYTES for path in written)
    page = visit.open("large.html")
    assert int(page.evaluate("document.documentElement.dataset.drawn")) < 2000
    playwright.expect(page.locator(".rows tbody tr")).to_have_count(500)
    assert page.locator("#count").inner_text() == "500 of 500 rows"
    data = json.loads(page.locator("#data").text_content())
    elsewhere = next(i for i, row in enumerate(data["rows"]) if row["page"])
    page.locator(f".rows tr[data-index='{elsewhere}'] .link").click()
    page.get_by_role("link", name="Images that the attack won").click()
    assert page.locator(".pictures img").count() > 0
    page.get_by_role("link", name="the whole board").click()
    playwright.expect(page.locator("#rows")).to_have_count(1)


def test_the_index_leads_to_every_board(visit: Visit) -> None:
    page = visit.open("index.html")
    assert page.locator(".board").count() == 2
    page.locator(".board h2 a").first.click()
    assert page.locator("#count").inner_text() == "16 of 16 rows"
