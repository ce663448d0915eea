"""Tables for a terminal."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import rich.table
from rich.console import Console
from rich.markup import escape

from robustnoise.report.contrasts import ContrastView
from robustnoise.report.curves import CurveView
from robustnoise.report.published import PublishedView
from robustnoise.report.statistics import contrast_table, resolution_notes, variance_table, verdict_tables
from robustnoise.report.submitted import Submitted, submitted_table
from robustnoise.report.tables import (
    Table,
    curve_note,
    curve_table,
    midpoint_table,
    published_table,
    row_tables,
    summary_table,
)
from robustnoise.report.variance import VarianceView
from robustnoise.report.views import RowView, Summary


def stdout() -> Console:
    """Standard output; wide where it is piped, so that no cell is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=240)


def print_board(
    console: Console,
    title: str,
    rows: Sequence[RowView],
    summary: Sequence[Summary],
    curves: Sequence[CurveView] = (),
    published: Sequence[PublishedView] = (),
    contrasts: Sequence[ContrastView] = (),
    variance: Sequence[VarianceView] = (),
    submitted: Sequence[Submitted] = (),
) -> None:
    """Worst cases by victim, contrasts, rows by scope, verdicts, variance, published figures, submissions, curves."""
    headline = f"{title}: per cent, 95 % intervals"
    if summary:
        console.print(_table(console, summary_table(summary)._replace(heading=headline)))
    else:
        console.print(headline, style="bold", markup=False, highlight=False)
    if contrasts:
        console.print(_table(console, contrast_table(contrasts)))
    for table in [*row_tables(rows), *verdict_tables(rows)]:
        console.print(_table(console, table))
    for note in resolution_notes(rows):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    if variance:
        console.print(_table(console, variance_table(variance)))
    if published:
        console.print(_table(console, published_table(published)))
    if submitted:
        console.print(_table(console, submitted_table(submitted)))
    for view in curves:
        if view.lines:
            console.print(_table(console, curve_table(view)))
        console.print(curve_note(view), markup=False, highlight=False, soft_wrap=True)
        if view.lines and view.curve.midpoint:
            console.print(_table(console, midpoint_table(view)))


def _table(console: Console, table: Table) -> rich.table.Table:
    # Parsed here, once: rich would parse a text as it measures a column and again as it writes the cell.
    parse = functools.partial(console.render_str, highlight=False)
    found = rich.table.Table(title=escape(table.heading), title_justify="left", title_style="bold")
    for name in table.head:
        found.add_column(escape(name), overflow="fold")
    for line in table.lines:
        found.add_row(*(parse(escape(cell)) for cell in line))
    return found
