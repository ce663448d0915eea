"""The curve of accuracy against the radius, from the counts of audits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustnoise.report.radii import radii_views
from tests.unit.test_flags_audit import N, audit


def test_a_line_goes_from_clean_images_through_every_radius() -> None:
    other = replace(audit(draws=4), victim={"name": "noisy", "text": "t", "defense": {}, "digest": "e"})
    (view,) = radii_views([audit(), other])
    assert [line.label for line in view.lines] == ["net under pgd", "noisy under pgd"]
    assert view.curve.x == "linf eps (pixels)"
    for line in view.lines:
        assert [p.x for p in line.points] == [0.0, 0.05, 0.1, 0.2, 1.0]
        rights = [290, 250, 200, 90, 0]
        assert [p.accuracy.value for p in line.points] == pytest.approx([right / N for right in rights])
        assert all(p.accuracy.low <= p.accuracy.value <= p.accuracy.high for p in line.points)
    assert [p.draws for p in view.lines[1].points] == [4] * 5


def test_what_was_not_possible_makes_no_point_and_no_line() -> None:
    known = audit(white_box=None)
    (view,) = radii_views([known])
    assert [p.x for p in view.lines[0].points] == [0.0, 0.05, 0.2, 1.0]
    undone = replace(known, measures=tuple(m for m in known.measures if m.role != "eps"))
    assert radii_views([undone]) == []
    assert radii_views([]) == []
