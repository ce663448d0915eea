"""The page over all boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from robustnoise.report.page.html import INDEX, document

SHOWN = 5
"""Victims of a board that the index names."""


class Listed(NamedTuple):
    """A board on the index: the address of its page, relative to the index, and the page's data."""

    address: str
    data: Mapping[str, Any]


def index_page(title: str, boards: Sequence[Listed]) -> str:
    """One file that leads to the pages.

    Args:
        title: heading.
        boards: in the order in which they are shown.
    """
    return document(title, INDEX, {"title": title, "boards": [_board(board) for board in boards]})


def _board(board: Listed) -> dict[str, Any]:
    data = board.data
    victims = data["summary"]
    return {
        "address": board.address,
        "title": data["title"],
        "about": data["about"][:1],
        "facts": data["facts"],
        "victims": victims[:SHOWN],
        "more": max(0, len(victims) - SHOWN),
    }
