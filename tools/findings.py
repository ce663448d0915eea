"""Write the tables of docs/findings from the boards' rows: ``python -m tools.findings``.

A document holds each between ``<!-- NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import robustnoise as rn
from robustnoise.audits import AuditRecord
from robustnoise.report.contents import Contents
from robustnoise.report.markdown import markdown_table
from robustnoise.report.shown import Table
from robustnoise.report.statistics import contrast_table, variance_table
from robustnoise.report.tables import summary_table, table
from robustnoise.report.text import delta, percent, share
from robustnoise.report.views import RowView, Verdicts

ROLES = {
    "null": "control",
    "transfer": "natural net",
    "query": "500 queries",
    "white-box": "white-box",
    "draws": "twice the EOT draws",
    "noise-off": "noise off",
}
"""The rungs of an audit that a document shows, in words."""
ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "leaderboards"
DOCUMENT = ROOT / "docs" / "findings" / "inference-noise.md"


def main() -> None:
    """Rewrite the document."""
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(DOCUMENT.relative_to(ROOT))


def filled(text: str) -> str:
    """The document with its tables as the boards have them now."""

    def fill(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n\n{markdown_table(TABLES[found[1]]())}\n\n<!-- end -->"

    return re.sub(r"<!-- ([a-z -]+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


@cache
def _contents(board: str) -> Contents:
    return rn.Leaderboard(BOARDS / board).contents()


def victims(board: str) -> Table:
    """One line a victim."""
    return summary_table(_contents(board).summary)


def contrasts(board: str) -> Table:
    """Those that the board declared."""
    return contrast_table(_contents(board).contrasts)


def variances(board: str) -> Table:
    """Of victims trained with several seeds."""
    return variance_table(_contents(board).variance)


def deltas(board: str) -> Table:
    """What the stages of inference change: a line a noisy victim, a column an attack, in points."""
    undefended = rn.Leaderboard(BOARDS / board).board.file.run.undefended
    rows = [r for r in _contents(board).rows if r.attack and r.delta and r.against != undefended]
    attacks = list(dict.fromkeys(str(r.attack) for r in rows))
    cells = {(r.victim, r.attack): delta(r.delta, r.n) for r in rows}
    against = {r.victim: str(r.against) for r in rows}
    lines = [(v, against[v], *(cells.get((v, a), "-") for a in attacks)) for v in against]
    return table("", ("victim", "against", *attacks), lines)


def persistent(board: str) -> Table:
    """Robust accuracy where the attacker may ask once, 5 and 20 times and wins with one error."""

    def line(row: RowView, verdicts: Verdicts) -> tuple[str, ...]:
        again = [verdicts.any_fail.get(m) if verdicts.draws > 1 else verdicts.single.value for m in (5, 20)]
        return row.victim, str(row.attack), percent(verdicts.single, row.n), *(share(value) for value in again)

    rows = [r for r in _contents(board).rows if r.attack]
    lines = [line(r, r.robust) for r in sorted(rows, key=lambda r: str(r.attack)) if r.robust]
    return table("", ("victim", "attack", "asked once", "any_fail_5", "any_fail_20"), lines)


def audits(board: str) -> Table:
    """Accuracy under each rung of the audits, in %, at the board's radius."""
    leaderboard = rn.Leaderboard(BOARDS / board)
    eps = leaderboard.board.threat.eps if leaderboard.board.threat else 0.0
    found = leaderboard.audits()
    rungs = {(m.role, m.attack["name"]): None for a in found for m in a.measures if m.eps == eps and m.role in ROLES}

    def cell(audit: AuditRecord, rung: tuple[str, str]) -> str:
        told = [m.tally for m in audit.measures if (m.role, m.attack["name"]) == rung and m.eps == eps and m.tally]
        return share(told[0].accuracy) if told else "-"

    names = [v.name for v in leaderboard.board.victims]
    lines = [
        (a.victim["name"], str(len(a.clean.right)), *(cell(a, rung) for rung in rungs))
        for a in sorted(found, key=lambda a: names.index(a.victim["name"]))
    ]
    return table("", ("victim", "n", *(f"{name} ({ROLES[role]})" for role, name in rungs)), lines)


TABLES: dict[str, Callable[[], Table]] = {
    "victims": partial(victims, "mnist-linf"),
    "contrasts": partial(contrasts, "mnist-linf"),
    "deltas": partial(deltas, "mnist-linf"),
    "audits": partial(audits, "mnist-linf"),
    "variances": partial(variances, "mnist-linf"),
    "query contrasts": partial(contrasts, "mnist-linf-queries"),
    "query deltas": partial(deltas, "mnist-linf-queries"),
    "persistent": partial(persistent, "mnist-linf-queries"),
    "cifar query contrasts": partial(contrasts, "cifar10-linf-queries"),
    "cifar query deltas": partial(deltas, "cifar10-linf-queries"),
    "cifar persistent": partial(persistent, "cifar10-linf-queries"),
    "cifar audits": partial(audits, "cifar10-linf-queries"),
    "cifar victims": partial(victims, "cifar10-linf"),
    "cifar contrasts": partial(contrasts, "cifar10-linf"),
    "cifar deltas": partial(deltas, "cifar10-linf"),
}


if __name__ == "__main__":
    main()
