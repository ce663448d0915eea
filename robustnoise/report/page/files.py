"""The files of a board's page: one, and for what would make it too large pages of single rows beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustnoise.report.page.html import PAGE, document, embedded

MAX_BYTES = 3_000_000
"""A page stays below; 500 rows fit."""
RESERVE = 300_000
"""Of that, for scripts, styles and the images of the first rows."""


def page_files(name: str, data: Mapping[str, Any]) -> dict[str, str]:
    """File names, relative to the page's folder, to contents; the first is the page.

    Args:
        name: the page's file name, such as ``"quickstart.html"``.
        data: by `page_data`.
    """
    content, others = _fitting(name, data)
    return {name: document(content["title"], PAGE, content), **others}


def _fitting(name: str, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The data that goes into the page, and what is written beside it.

    Counts go in row by row while there is room, then images. Images of further rows get pages of their own; rows whose
    counts are left out can't be compared.
    """
    bare = {
        **data,
        "counts": [],
        "rows": [{**r, "images": None, "counts": dict.fromkeys(r["counts"])} for r in data["rows"]],
    }
    room = MAX_BYTES - RESERVE - len(embedded(bare).encode())
    counts, room, left_out = _counts(data, room)
    room += RESERVE - len(document("", PAGE, {}).encode()) - 20_000
    rows: list[dict[str, Any]] = []
    others: dict[str, str] = {}
    for row, kept in zip(data["rows"], counts, strict=True):
        row, size = {**row, "counts": kept}, len(embedded(row["images"]))
        if row["images"] and size > room:
            others |= (page := _row_page(name, data, row))
            row = {**row, "images": None, "page": next(iter(page))}
        elif row["images"]:
            room -= size
        rows.append(row)
    return {**data, "rows": rows, "left_out": left_out, "counts": _used(data["counts"], counts)}, others


def _counts(data: Mapping[str, Any], room: int) -> tuple[list[dict[str, int | None]], int, int]:
    """Each row's counts, or none; the room that is left; how many rows go without."""
    paid: set[int] = set()
    kept, left_out = [], 0
    for row in data["rows"]:
        wanted = {place for place in row["counts"].values() if place is not None} - paid
        cost = sum(len(embedded(data["counts"][place])) for place in wanted)
        if cost <= room:
            room -= cost
            paid |= wanted
            kept.append(row["counts"])
        else:
            left_out += 1
            kept.append(dict.fromkeys(row["counts"]))
    return kept, room, left_out


def _used(counts: list[Any], kept: list[dict[str, int | None]]) -> list[Any]:
    """The counts at their places; nothing where no row kept them."""
    used = {place for row in kept for place in row.values()}
    return [item if place in used else None for place, item in enumerate(counts)]


def _row_page(name: str, data: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, str]:
    """The page of one row, in a folder beside the board's."""
    digest = row["values"][data["columns"].index("digest")]
    folder = name.removesuffix(".html") + "-rows"
    alone = {**data, "rows": [row], "only": digest, "back": f"../{name}", "curves": [], "summary": []}
    alone["counts"] = _used(data["counts"], [row["counts"]])
    return {f"{folder}/{digest[:16]}.html": document(data["title"], PAGE, alone)}
