"""Who has handed in what, as rows say it; every text is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from robustnoise.records import ARMS, EvaluationRecord
from robustnoise.report.shown import Table
from robustnoise.report.tables import table

LONGEST = 200
"""Characters of a text that are shown."""


class Submitted(NamedTuple):
    """An attack or a defense that was handed in; all texts as its card has them, cut to a line.

    `claimed` is what the card says and nobody measured; `code` tells that somebody's Python was trusted.
    """

    name: str
    kind: str
    authors: str
    reference: str
    date: str
    claimed: str
    files: str
    code: bool


def submitted(records: Sequence[EvaluationRecord]) -> list[Submitted]:
    """Everything handed in that the rows are about, each once, in the order of the rows."""
    found: dict[Submitted, None] = {}
    for record in records:
        parts = [record.attack, *(arm.victim for name in ARMS if (arm := getattr(record, name)) is not None)]
        for part in parts:
            if part is not None and isinstance(part.get("submitted"), Mapping):
                found.setdefault(_view(part["submitted"]))
    return list(found)


def _view(plain: Mapping[str, Any]) -> Submitted:
    card = plain.get("card")
    card = card if isinstance(card, Mapping) else {}
    queries, authors, files = card.get("queries"), card.get("authors"), plain.get("files")
    claims = [f"access to {_line(card['access'])}"] if "access" in card else []
    if isinstance(queries, Mapping):
        words = {"per_image": "queries an image", "total": "queries in all"}
        claims += [f"{_line(queries[k])} {word}" for k, word in words.items() if queries.get(k) is not None]
    hashes = [f"{_line(k)} {_line(v)[:12]}" for k, v in files.items()] if isinstance(files, Mapping) else []
    return Submitted(
        _line(card.get("name")),
        _line(card.get("kind")),
        _line(", ".join(map(_line, authors)) if isinstance(authors, list) else ""),
        _line(card.get("reference")),
        _line(card.get("date")),
        ", ".join(claims),
        _line(", ".join(hashes)),
        plain.get("trusted_code") is True,
    )


def _line(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def submitted_table(views: Sequence[Submitted]) -> Table:
    """One line a submission."""
    head = ("submitted", "kind", "by", "reference", "date", "claimed, not measured", "sha256", "ran somebody's code")
    lines = [(*(text or "-" for text in view[:-1]), "yes" if view.code else "-") for view in views]
    return table("Submitted", head, lines)
