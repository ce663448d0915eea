"""Figures that others have published, beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustnoise.records import EvaluationRecord
from robustnoise.report.views import Figure, clean_accuracy


@dataclass(frozen=True)
class Published:
    """A published accuracy on clean images.

    Args:
        victim: ours that it stands beside.
        accuracy: as a share of 1.
        source: where it is published.
    """

    victim: str
    accuracy: float
    source: str


@dataclass(frozen=True)
class PublishedView:
    """A published accuracy beside ours; seed and what follows are None where there is no row yet."""

    published: Published
    seed: int | None = None
    ours: Figure | None = None
    n: int | None = None
    draws: int | None = None
    passes: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the published one, as a share of 1."""
        return None if self.ours is None else self.ours.value - self.published.accuracy


def published_views(entries: Sequence[Published], records: Sequence[EvaluationRecord]) -> list[PublishedView]:
    """Each entry beside every row of its victim, one a seed.

    Args:
        entries: in the order of the board.
        records: rows that follow the board's protocol; the first of a victim and seed counts.
    """
    views = []
    for entry in entries:
        by_seed: dict[int, EvaluationRecord] = {}
        for record in records:
            if record.victim.victim["name"] == entry.victim:
                by_seed.setdefault(record.setting["seed"], record)
        for seed, record in sorted(by_seed.items()):
            tally = record.victim.clean
            passes = tally.mean_passes(record.victim.passes)
            views.append(PublishedView(entry, seed, clean_accuracy(record), record.n, tally.draws, passes))
        if not by_seed:
            views.append(PublishedView(entry))
    return views
