"""Where the variance of the rows of several seeds comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustnoise import stats
from robustnoise.records import EvaluationRecord
from robustnoise.spec import digest_of


@dataclass(frozen=True)
class VarianceView:
    """One victim under one attack, or on clean images, measured with several seeds.

    `accuracy` is the mean over `seeds`; `split` the parts of the variance of one of them.
    """

    victim: str
    attack: str | None
    seeds: int
    accuracy: float
    split: stats.VarianceSplit


def variance_views(records: Sequence[EvaluationRecord]) -> list[VarianceView]:
    """Every victim and attack with rows of two or more seeds, the board's or the victim's own, on the same images.

    Args:
        records: rows that follow the board's protocol; the first of a victim, attack and seed counts.
    """
    groups: dict[str, dict[tuple[int, int | None], EvaluationRecord]] = {}
    for record in records:
        seeds = record.setting["seed"], record.victim.victim.get("seed")
        groups.setdefault(_but_for_the_seed(record), {}).setdefault(seeds, record)
    return [_view(list(rows.values())) for rows in groups.values() if len(rows) > 1]


def _but_for_the_seed(record: EvaluationRecord) -> str:
    def less(part: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        return {k: v for k, v in part.items() if k not in keys}

    return digest_of(
        [
            less(record.victim.victim, "name", "digest", "seed"),
            record.attack,
            less(record.setting, "seed", "threads", "device"),
        ]
    )


def _view(rows: Sequence[EvaluationRecord]) -> VarianceView:
    repeats: dict[tuple[str, int], stats.Repeat] = {}
    for row in rows:
        tally, weights = row.victim.scored, str(row.victim.victim["digest"])
        # The attack that does nothing, and none, are the same whatever the seed.
        attack = 0 if row.attack is None or row.attack["null"] else row.setting["seed"]
        repeat = stats.Repeat(tally.right, tally.draws, row.victim.stochastic, weights, attack)
        repeats.setdefault((weights, attack), repeat)
    accuracy = sum(row.victim.scored.accuracy for row in rows) / len(rows)
    return VarianceView(
        rows[0].victim.victim["name"],
        rows[0].attack["name"] if rows[0].attack else None,
        len(rows),
        accuracy,
        stats.variance_split(list(repeats.values())),
    )
