"""An audit as it is read: the ladder, and a verdict to paste into a review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import rich.table
from rich.console import Console
from rich.markup import escape

from robustnoise import __version__, stats
from robustnoise.audits import BLACK_BOX, WHITE_BOX, AuditRecord, Measure
from robustnoise.flags import FLAGS, IMPOSSIBLE, RAISED, Check, blocking, checks
from robustnoise.report.text import percent
from robustnoise.report.views import Figure

AT_EPS = ("control", *BLACK_BOX, *WHITE_BOX)
"""What counts towards the worst case: everything on the victim itself, at the radius of the audit."""


@dataclass(frozen=True)
class Audit:
    """An audit with its checks computed.

    Args:
        record: what was measured.
    """

    record: AuditRecord

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The ladder: a flag, its state (``"passed"``, ``"raised"``, ``"not possible"``) and a sentence each."""
        return tuple(checks(self.record))

    @property
    def raised(self) -> tuple[Check, ...]:
        """The checks that raised their flag."""
        return tuple(c for c in self.checks if c.state == RAISED)

    @property
    def blocked(self) -> bool:
        """Whether a flag was raised that keeps the victim's rows out of a ranking."""
        return bool(blocking(list(self.checks)))

    @property
    def clean(self) -> Figure:
        """Accuracy on the images as they are."""
        tally = self.record.clean
        return Figure(tally.accuracy, *tally.interval(self.record.rng("clean")))

    def worst(self, *roles: str) -> Figure | None:
        """Accuracy image by image under the worst attack of those roles; None where none could be done.

        Args:
            roles: of `robustnoise.audits.ROLES`; without any, all attacks on the victim at the audit's radius.
        """
        done = self.record.done(*(roles or AT_EPS))
        if not done:
            return None
        right, draws = self.record.worst(done), self.record.clean.draws
        interval = stats.worst_interval(right, self.record.least(done), draws, self.record.rng("worst", *roles))
        return Figure(float(right.mean() / draws), *interval)

    @cached_property
    def verdict(self) -> str:
        """A few lines: what was audited, what it keeps, which flags were raised, what could not be checked."""
        record, threat = self.record, self.record.setting["threat"]
        texts = dict.fromkeys(str(m.attack["name"]) for m in record.done(*AT_EPS))
        head = (
            f"Audit of {record.victim['text']} with robustnoise {__version__}: {record.setting['data']['name']}, "
            f"{threat['norm']} eps {threat['eps']:.4g}, {record.n} images, seed {record.setting['seed']}."
        )
        numbers = (
            f"Clean accuracy {percent(self.clean)} %. Under the worst of {', '.join(texts)}, image by image, "
            f"{percent(self.worst())} %; under black-box attacks alone {percent(self.worst(*BLACK_BOX))} %, under "
            f"white-box attacks {percent(self.worst(*WHITE_BOX))} %. Stronger attacks may leave less."
        )
        lines = [head, numbers]
        worst, chance = self.worst(), 1 / record.setting["data"]["classes"]
        if worst is not None and worst.value <= chance:
            lines.append(f"That is no more than a constant answer gets ({100 * chance:.3g} %): it is not robust here.")
        serious = blocking(list(self.checks))
        if serious:
            lines.append("The numbers are not to be trusted as they are:")
            lines += [f"- {c.flag}: {c.text} {FLAGS[c.flag].means}" for c in serious]
        else:
            lines.append("No check raised a flag that speaks against these numbers.")
        others = [c.flag for c in self.raised if c not in serious]
        if others:
            lines.append(f"Also raised: {', '.join(others)}.")
        undone = [c for c in self.checks if c.state == IMPOSSIBLE]
        if undone:
            why = "; ".join(dict.fromkeys(c.text.rstrip(".") for c in undone))
            lines.append(f"Not possible: {', '.join(c.flag for c in undone)} ({why}).")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """For other programs: the verdict, its numbers, every check, and the record, from which all follow."""
        figures = {
            "clean": self.clean,
            "worst": self.worst(),
            "black_box": self.worst(*BLACK_BOX),
            "white_box": self.worst(*WHITE_BOX),
        }
        return {
            "blocked": self.blocked,
            "verdict": self.verdict,
            "accuracy": {k: None if f is None else [f.value, f.low, f.high] for k, f in figures.items()},
            "checks": [{**c._asdict(), "blocks": FLAGS[c.flag].blocks} for c in self.checks],
            "record": self.record.to_json(),
        }


def print_audit(console: Console, audit: Audit) -> None:
    """The attacks, the ladder and the verdict."""
    console.print(_attacks(audit.record.measures))
    table = rich.table.Table("check", "result", "what was seen", title="Ladder", title_justify="left")
    for check in audit.checks:
        blocked = check.state == RAISED and FLAGS[check.flag].blocks
        table.add_row(*map(escape, (check.flag, "RAISED, blocks" if blocked else check.state, check.text)))
    console.print(table)
    console.print(audit.verdict, markup=False, highlight=False, soft_wrap=True)


def _attacks(measures: Sequence[Measure]) -> rich.table.Table:
    on = {"noise-off": "the net, noise off", "baseline": "the baseline"}
    table = rich.table.Table("attack", "on", "eps", "right, %", title="Attacks", title_justify="left")
    for m in measures:
        left = "not possible" if m.tally is None else f"{100 * m.tally.accuracy:.1f}"
        table.add_row(*map(escape, (m.attack["text"], on.get(m.role, "the victim"), f"{m.eps:.4g}", left)))
    return table
