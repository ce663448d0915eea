"""Tables and lines on a terminal. Loads rich alone, so that what was shown once can be shown again at once."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import rich.table
from rich.console import Console
from rich.markup import escape

from robustnoise.report.shown import Line, Part, Table


def stdout() -> Console:
    """Standard output; wide where it is piped, so that no cell is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=240)


def print_parts(console: Console, parts: Iterable[Part]) -> None:
    """One after the other, in the width of the console."""
    for part in parts:
        if isinstance(part, Line):
            style = "bold" if part.heading else None
            console.print(part.text, style=style, markup=False, highlight=False, soft_wrap=not part.heading)
        else:
            console.print(_table(console, part))


def _table(console: Console, table: Table) -> rich.table.Table:
    # Parsed here, once: rich would parse a text as it measures a column and again as it writes the cell.
    parse = functools.partial(console.render_str, highlight=False)
    found = rich.table.Table(title=escape(table.heading), title_justify="left", title_style="bold")
    for name in table.head:
        found.add_column(escape(name), overflow="fold")
    for line in table.lines:
        found.add_row(*(parse(escape(cell)) for cell in line))
    return found
