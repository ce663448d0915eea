"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustnoise.report.markdown import ROW_HEAD, SCOPES, SUMMARY_HEAD, row_line, summary_line
from robustnoise.report.views import RowView, Summary


def stdout() -> Console:
    """Standard output; wide where it is piped, so that no cell is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def print_board(console: Console, title: str, rows: Sequence[RowView], summary: Sequence[Summary]) -> None:
    """The summary by victim, then the rows by scope."""
    if summary:
        console.print(_table(f"{title}: per cent, 95 % intervals", SUMMARY_HEAD, [summary_line(s) for s in summary]))
    for scope, heading in SCOPES.items():
        chosen = [row_line(r) for r in rows if r.scope == scope]
        if chosen:
            console.print(_table(heading, ROW_HEAD, chosen))


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    # A column in which no line says anything is left out.
    shown = [i for i in range(len(head)) if any(line[i] not in ("-", "0") for line in lines)]
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for i in shown:
        table.add_column(head[i], overflow="fold")
    for line in lines:
        table.add_row(*(escape(line[i]) for i in shown))
    return table
