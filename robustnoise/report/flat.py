"""Rows as one level of columns: for data frames, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from robustnoise.report.contrasts import ContrastView
from robustnoise.report.ranking import Rank
from robustnoise.report.views import RowView, Summary, flat


def flat_rows(rows: Sequence[RowView], summary: Sequence[Summary]) -> list[dict[str, Any]]:
    """`views.flat` of every row, with ``rank`` and ``rank_shared_by``: its victim's among the attacks of its scope.

    None where the scope has no ranking, the row isn't ranked, or its victim isn't.
    """
    ranks: dict[tuple[str, int, str], list[Rank | None]] = {}
    for s in summary:
        for scope, rank in (("shared", s.rank_shared), ("per-victim", s.rank_per_victim)):
            ranks.setdefault((s.victim, s.seed, scope), []).append(rank)
    found = []
    for row in rows:
        # Two nets of one name and seed, as of two machines, are told apart by no row's victim and seed.
        known = ranks.get((row.victim, row.seed, row.scope), [])
        rank = known[0] if len(known) == 1 and row.ranked else None
        found.append(flat(row) | {"rank": rank and rank.place, "rank_shared_by": rank and rank.sharing})
    return found


def plain(value: Any) -> Any:
    """Dataclasses and named tuples, and what they hold, as mappings; for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)} | _told(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {k: plain(v) for k, v in value._asdict().items()}
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def _told(value: Any) -> dict[str, str]:
    return {"finding": value.finding} if isinstance(value, ContrastView) else {}


def columns(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every column of `lines`, in the order of a row's fields, whichever line has it first."""
    order = [f.name for f in fields(RowView)] + ["rank", "rank_shared_by"]

    def place(column: str) -> int:
        return max((len(name), i) for i, name in enumerate(order) if f"{column}_".startswith(f"{name}_"))[1]

    return sorted(dict.fromkeys(c for line in lines for c in line), key=place)


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A CSV table: texts in quotes, numbers bare, None an empty text.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, columns(lines), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    for line in lines:
        writer.writerow({k: harmless(v) for k, v in line.items()})
    return out.getvalue()


def harmless(value: Any) -> Any:
    """`value`, a text that begins like a formula after an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
