"""What the project asks of its own speed, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """A ratio that is wanted, and the one measured."""

    what: str
    wanted: float
    measured: float | None
    """None where there is nothing to compare with: the other is weaker, or isn't installed."""
    most: bool = False
    """Whether `wanted` is the most it may be, not the least."""

    @property
    def reached(self) -> bool | None:
        """As measured, before rounding; None where it wasn't."""
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.most else self.measured >= self.wanted

    @property
    def shown(self) -> str:
        """What was measured, with as many digits as it takes not to look like the other side of what is wanted."""
        if self.measured is None:
            return "-"
        texts = (f"{self.measured:.{digits}f}" for digits in range(2, 10))
        return next((t for t in texts if self._replace(measured=float(t)).reached == self.reached), str(self.measured))


class Report(NamedTuple):
    """Lines of Markdown, and the goals that they speak of."""

    lines: list[str]
    goals: list[Goal]


def goals_table(goals: Sequence[Goal]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| goal | wanted | measured | reached |", "|---|---|---|---|"]
    for goal in goals:
        reached = {True: "yes", False: "**no**", None: "not measured"}[goal.reached]
        wanted = f"at {'most' if goal.most else 'least'} {goal.wanted:g}"
        lines.append(f"| {goal.what} | {wanted} | {goal.shown} | {reached} |")
    return lines
