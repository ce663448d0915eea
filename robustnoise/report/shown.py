"""What a command shows, as plain data: tables and lines. Loads nothing, so that it can be shown again at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A heading, the names of the columns, and lines of as many cells."""

    heading: str
    head: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]


class Line(NamedTuple):
    """A line of text, which a terminal may break where it likes, or a heading."""

    text: str
    heading: bool = False


Part = Table | Line


def to_plain(part: Part) -> list[Any]:
    """JSON of a part: two values of a line, three of a table."""
    return list(part)


def from_plain(plain: object) -> Part:
    """The inverse of `to_plain`.

    Raises:
        ValueError: it isn't what `to_plain` gives.
    """
    match plain:
        case [str(text), bool(heading)]:
            return Line(text, heading)
        case [str(heading), list(head), list(lines)]:
            if all(isinstance(line, list) and len(line) == len(head) for line in lines):
                return Table(heading, _texts(head), [_texts(line) for line in lines])
    raise ValueError("no part of what a command shows")


def _texts(cells: list[object]) -> tuple[str, ...]:
    if not all(isinstance(cell, str) for cell in cells):
        raise ValueError("a cell holds no text")
    return tuple(map(str, cells))
