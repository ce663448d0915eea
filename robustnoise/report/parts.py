"""A board as a terminal shows it: tables and lines, one after the other."""

from __future__ import annotations

from robustnoise.report.contents import Contents
from robustnoise.report.shown import Line, Part
from robustnoise.report.statistics import contrast_table, resolution_notes, variance_table, verdict_tables
from robustnoise.report.submitted import submitted_table
from robustnoise.report.tables import (
    curve_note,
    curve_table,
    midpoint_table,
    published_table,
    row_tables,
    summary_table,
)


def board_parts(title: str, contents: Contents) -> list[Part]:
    """Worst cases by victim, contrasts, rows by scope, verdicts, variance, published figures, submissions, curves."""
    rows, summary = contents.rows, contents.summary
    headline = f"{title}: per cent, 95 % intervals"
    parts: list[Part] = [summary_table(summary)._replace(heading=headline) if summary else Line(headline, heading=True)]
    if contents.contrasts:
        parts.append(contrast_table(contents.contrasts))
    parts += [*row_tables(rows), *verdict_tables(rows), *map(Line, resolution_notes(rows))]
    if contents.variance:
        parts.append(variance_table(contents.variance))
    if contents.published:
        parts.append(published_table(contents.published))
    if contents.submitted:
        parts.append(submitted_table(contents.submitted))
    for view in contents.curves:
        if view.lines:
            parts.append(curve_table(view))
        parts.append(Line(curve_note(view)))
        if view.lines and view.curve.midpoint:
            parts.append(midpoint_table(view))
    return parts
