"""Worst cases over attacks, and the order of victims with its ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustnoise import stats
from robustnoise.records import EvaluationRecord

ALPHA = 0.05
"""Chance that victims which are equal are parted anywhere in one ranking, at most."""


@dataclass(frozen=True)
class Worst:
    """A victim under the worst attack of each image.

    Args:
        right: (n,) right answers; fractional where attacks were equally bad.
        least: (n,) the same if the attack is chosen on the draws that it is scored on (`stats.least_case`).
        draws: that both are out of.
        row: one of the rows that it is made of; it lends the stream of resampling.
    """

    right: stats.Floats
    least: stats.Floats
    draws: int
    row: EvaluationRecord

    @property
    def value(self) -> float:
        """Expected accuracy."""
        return stats.single(self.right, self.draws)

    @property
    def lowest(self) -> float:
        """The same of `least`."""
        return stats.single(self.least, self.draws)

    def interval(self) -> stats.Interval:
        """95 % interval over images, whichever way the worst attacks are chosen."""
        return stats.worst_interval(self.right, self.least, self.draws, self.row.rng("worst"))

    def surely_above(self, other: Worst, level: float) -> bool:
        """Whether the paired difference, image by image, is above 0 in a one-sided test at `level`.

        Of this victim `least` counts and of the other `right`: no choice of the worst attack can part them.
        """
        return stats.superiority(self.least, self.draws, other.right, other.draws) < level


def worst_of(rows: Sequence[EvaluationRecord]) -> Worst:
    """The worst case over the attacks of `rows`, at least one; all of one victim.

    For a stochastic victim the worst attack of an image is chosen on the select draws and scored on the others.
    """
    tallies = [r.victim.scored for r in rows]
    scored = [t.right for t in tallies]
    select = [t.right if t.select is None else t.select for t in tallies]
    right, least = stats.worst_case(select, scored), stats.least_case(select, scored)
    return Worst(right, least, tallies[0].draws, rows[0])


class Rank(NamedTuple):
    """A place in a ranking, and how many victims share it."""

    place: int
    sharing: int

    @property
    def text(self) -> str:
        """``"2"``, or ``"2="`` where it is shared."""
        return f"{self.place}=" if self.sharing > 1 else str(self.place)


def ranks(entries: Sequence[Worst]) -> list[Rank]:
    """The rank of each of k victims on the same images; a tie is a shared rank.

    From the best accuracy downwards, the first victim leads a group. Each next one joins it unless the leader is surely
    above it, and leads a group of its own otherwise. The place of a group is one more than the number of victims in the
    groups above. The one-sided tests are at 0.05 / (k (k - 1)), so that equal victims are parted anywhere with a chance
    of at most 5 %, whoever happens to lead.
    """
    order = sorted(range(len(entries)), key=lambda i: (-entries[i].value, entries[i].row.digest))
    pairs = len(entries) * (len(entries) - 1) // 2
    groups: list[list[int]] = []
    for i in order:
        if groups and not entries[groups[-1][0]].surely_above(entries[i], ALPHA / pairs / 2):
            groups[-1].append(i)
        else:
            groups.append([i])
    found: dict[int, Rank] = {}
    place = 1
    for group in groups:
        found |= dict.fromkeys(group, Rank(place, len(group)))
        place += len(group)
    return [found[i] for i in range(len(entries))]
