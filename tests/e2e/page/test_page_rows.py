"""Rows of a board in a real browser: sorted, filtered, opened, compared, saved."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustnoise import stats
from robustnoise.records import EvaluationRecord
from robustnoise.report.views import summary
from tests import page_boards as boards
from tests.e2e.page.conftest import Visit, column, expect


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
    expect(count).to_have_text("1 of 16 rows")
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("scope", exact=True).select_option("per-victim")
    assert set(column(page, "scope")) == {"per-victim"}
    page.get_by_label("ranked", exact=True).select_option("no")
    expect(count).to_have_text("1 of 16 rows")
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("flag", exact=True).select_option("none")
    assert set(column(page, "victim")) == {"victim-0", boards.FORMULA}
    page.get_by_label("victim", exact=True).select_option(boards.FORMULA)
    expect(count).to_have_text("4 of 16 rows")


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
    expect(result).to_have_attribute("data-pair", f"{first} {second}")
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
