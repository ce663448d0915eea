"""Curves from rows: points, midpoints, published figures, tables and pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from robustnoise.errors import MissingExtra
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.report import plots
from robustnoise.report.curves import BEYOND, Curve, CurveView, Line, Point, curve_view, flat_points
from robustnoise.report.published import Published, published_views
from robustnoise.report.tables import curve_note, curve_table, midpoint_table, published_table
from robustnoise.tally import Tally

N = 100


def record(victim: str, right: int, *, seed: int = 0, passes: int | None = None, draws: int = 1) -> EvaluationRecord:
    """A row without an attack: `right` of 100 images in every draw, ten classes."""
    counts = np.where(np.arange(N) < right, draws, 0).astype(np.uint16)
    tally = Tally(counts, np.zeros(N, np.uint16), None, draws, passes)
    arm = Arm({"name": victim, "text": victim, "digest": victim}, draws > 1, 1, tally, None, 0, None)
    setting: dict[str, Any] = {"seed": seed, "data": {"classes": 10}}
    return EvaluationRecord(setting, None, arm, None, None, None, {})


def curve(*sweeps: list[float | str], **changes: Any) -> Curve:
    """One line a sweep; the victim of value v on line i is called "i v"."""
    lines = tuple(
        Line(f"line {i}", "noise({x})", tuple(Point(v, f"{i} {v}") for v in values)) for i, values in enumerate(sweeps)
    )
    known = {"log": False, "x_is_passes": False, "midpoint": True}
    return Curve("c", "A curve", "noise (dB)", lines=lines, **(known | changes))


def measured(right: list[int], **changes: Any) -> CurveView:
    values: list[float | str] = [40.0, 20.0, 10.0, 0.0][: len(right)]
    rows = [record(f"0 {v}", r) for v, r in zip(values, right, strict=True)]
    return curve_view(curve(values, **changes), rows)


def test_the_midpoint_is_interpolated_between_neighbours() -> None:
    # Half way from 0.9 to a chance of 0.1 is 0.5, crossed between 0.6 at 20 dB and 0.2 at 10 dB: a quarter of the way.
    midpoint = measured([90, 60, 20, 10]).lines[0].midpoint
    assert midpoint is not None
    assert midpoint.level == pytest.approx(0.5)
    assert midpoint.at == pytest.approx(17.5)


@pytest.mark.parametrize(
    ("values", "log", "shown"),
    [
        ([20.0, 10.0], False, "15 (between 20 and 10)"),
        ([20.0, 19.0], False, "19.5 (between 20 and 19)"),
        ([4.0, -4.5], False, "0 (between 4 and -4.5)"),
        ([0.0, 0.01], False, "0.005 (between 0 and 0.01)"),
        ([3e4, 2e4], False, "25000 (between 30000 and 20000)"),
        ([1.0, 100.0], True, "10 (between 1 and 100)"),
        ([0.001, 1.0], True, "0.03 (between 0.001 and 1)"),
    ],
)
def test_a_midpoint_has_the_digits_that_its_step_supports(values: list[float | str], log: bool, shown: str) -> None:
    rows = [record(f"0 {v}", right) for v, right in zip(values, (90, 10), strict=True)]
    assert midpoint_table(curve_view(curve(values, log=log), rows)).lines[0][2] == shown


def test_on_a_logarithmic_axis_it_is_interpolated_along_the_logarithm() -> None:
    view = curve_view(curve([1.0, 4.0], log=True), [record("0 1.0", 90), record("0 4.0", 10)])
    midpoint = view.lines[0].midpoint
    assert midpoint is not None
    assert midpoint.at == pytest.approx(2.0)


def test_the_first_crossing_counts_and_a_value_on_the_level_is_one() -> None:
    midpoint = measured([90, 50, 80, 10]).lines[0].midpoint
    assert midpoint is not None
    assert midpoint.at == pytest.approx(20.0)


@pytest.mark.parametrize(("right", "note"), [([90, 80, 70, 60], BEYOND), ([10, 10, 9, 9], "at chance from the start")])
def test_a_level_that_is_not_crossed_has_no_midpoint(right: list[int], note: str) -> None:
    view = measured(right)
    midpoint = view.lines[0].midpoint
    assert midpoint is not None
    assert (midpoint.at, midpoint.note) == (None, note)
    assert midpoint_table(view).lines[0][2] == note


def test_a_line_with_missing_rows_has_no_midpoint() -> None:
    view = curve_view(curve([40.0, 0.0]), [record("0 40.0", 90)])
    assert view.missing == 1
    assert view.lines[0].midpoint is not None
    assert view.lines[0].midpoint.note == "rows are missing"
    assert "1 of 2 points have no row yet" in curve_note(view)


def test_rows_of_several_seeds_are_lines_of_their_own() -> None:
    rows = [record("0 1", 90), record("0 1", 80, seed=1)]
    view = curve_view(curve([1], midpoint=False), rows)
    assert [(line.label, line.points[0].accuracy.value) for line in view.lines] == [
        ("line 0 (seed 0)", 0.9),
        ("line 0 (seed 1)", 0.8),
    ]


def test_lines_with_the_same_values_share_a_table() -> None:
    rows = [record("0 1", 90), record("0 2", 80), record("1 1", 70)]
    table = curve_table(curve_view(curve([1, 2], [1, 2], midpoint=False), rows))
    assert table.head == ("noise (dB)", "line 0", "line 1")
    assert [line[0] for line in table.lines] == ["1", "2"]
    assert table.lines[0][1].startswith("90.0 [")
    assert table.lines[1][2] == "-"


def test_the_axis_may_be_the_measured_passes() -> None:
    rows = [record("0 0.1", 90, passes=1250, draws=5), record("0 0.01", 95, passes=4000, draws=5)]
    view = curve_view(curve([0.1, 0.01], x_is_passes=True, midpoint=False), rows)
    assert [p.x for p in view.lines[0].points] == [2.5, 8.0]
    assert [line[:3] for line in curve_table(view).lines] == [("line 0", "0.1", "2.50"), ("line 0", "0.01", "8")]
    assert flat_points(view)[0]["passes"] == 2.5


def test_published_figures_stand_beside_every_seed() -> None:
    entries = [Published("a", 0.211, "arXiv 1811.10649"), Published("b", 0.5, "nowhere")]
    views = published_views(entries, [record("a", 30), record("a", 20, seed=3)])
    lines = published_table(views).lines
    assert [line[:2] + line[3:4] + line[7:8] for line in lines] == [
        ("a", "21.1", "+8.9", "0"),
        ("a", "21.1", "-1.1", "3"),
        ("b", "50.0", "-", "-"),
    ]


def test_pictures_repeat_and_say_which_numbers_they_show() -> None:
    view = measured([90, 60, 20, 10])
    first = plots.pictures(view)
    assert list(first) == ["c", "c-midpoint"]
    assert plots.pictures(view) == first
    for content in first.values():
        ElementTree.fromstring(content)
        assert b"dc:date" not in content
        assert plots.shows(content, view)
        assert not plots.shows(content, measured([90, 61, 20, 10]))


NINE = [float(i) for i in range(1, 10)]


@pytest.mark.parametrize(
    "view",
    [
        curve_view(curve(["a $ b", "c"], midpoint=False), [record("0 c", 40), record("0 a $ b", 90)]),
        curve_view(curve([1, 8], log=True), [record("0 1", 90), record("0 8", 80)]),
        curve_view(curve([1, 8], log=True), [record("0 1", 5), record("0 8", 5)]),
        curve_view(curve(*([i] for i in NINE), midpoint=False), [record(f"{i - 1:.0f} {i}", int(9 * i)) for i in NINE]),
    ],
    ids=["names", "beyond", "chance", "nine lines"],
)
def test_every_kind_of_curve_can_be_drawn(view: CurveView) -> None:
    for content in plots.pictures(view).values():
        ElementTree.fromstring(content)


def test_a_users_matplotlibrc_changes_no_picture() -> None:
    import matplotlib

    view = measured([90, 60])
    expected = plots.pictures(view)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none"}):
        assert plots.pictures(view) == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'robustnoise\[plots\]'"):
        plots.pictures(measured([90, 60]))


def test_a_curve_without_rows_has_no_picture() -> None:
    view = curve_view(curve([1.0, 2.0]), [])
    assert plots.pictures(view) == {}
    assert curve_note(view) == "No point has a row yet that follows the board's protocol."


def test_the_last_bits_of_a_number_are_not_in_the_digest() -> None:
    view = measured([90, 60])
    line = view.lines[0]
    figure = line.points[0].accuracy
    moved = replace(line.points[0], accuracy=replace(figure, low=figure.low + 1e-12))
    assert replace(view, lines=(replace(line, points=(moved, *line.points[1:])),)).digest == view.digest
