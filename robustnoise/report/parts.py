"""A board as a terminal shows it: tables and lines, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from robustnoise.report.contrasts import ContrastView
from robustnoise.report.curves import CurveView
from robustnoise.report.published import PublishedView
from robustnoise.report.shown import Line, Part
from robustnoise.report.statistics import contrast_table, resolution_notes, variance_table, verdict_tables
from robustnoise.report.submitted import Submitted, submitted_table
from robustnoise.report.tables import (
    curve_note,
    curve_table,
    midpoint_table,
    published_table,
    row_tables,
    summary_table,
)
from robustnoise.report.variance import VarianceView
from robustnoise.report.views import RowView, Summary


def board_parts(
    title: str,
    rows: Sequence[RowView],
    summary: Sequence[Summary],
    curves: Sequence[CurveView] = (),
    published: Sequence[PublishedView] = (),
    contrasts: Sequence[ContrastView] = (),
    variance: Sequence[VarianceView] = (),
    submitted: Sequence[Submitted] = (),
) -> list[Part]:
    """Worst cases by victim, contrasts, rows by scope, verdicts, variance, published figures, submissions, curves."""
    headline = f"{title}: per cent, 95 % intervals"
    parts: list[Part] = [summary_table(summary)._replace(heading=headline) if summary else Line(headline, heading=True)]
    if contrasts:
        parts.append(contrast_table(contrasts))
    parts += [*row_tables(rows), *verdict_tables(rows), *map(Line, resolution_notes(rows))]
    if variance:
        parts.append(variance_table(variance))
    if published:
        parts.append(published_table(published))
    if submitted:
        parts.append(submitted_table(submitted))
    for view in curves:
        if view.lines:
            parts.append(curve_table(view))
        parts.append(Line(curve_note(view)))
        if view.lines and view.curve.midpoint:
            parts.append(midpoint_table(view))
    return parts
