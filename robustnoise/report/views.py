"""A row with its statistics computed, and a board's summary by victim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robustnoise import stats
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.spec import digest_of
from robustnoise.tally import Tally

CLEAN = "clean"
"""The scope of rows without an attack."""


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % interval, as shares of 1; p for a difference."""

    value: float
    low: float
    high: float
    p: float | None = None


@dataclass(frozen=True)
class RowView:
    """One row as it is shown; every number is computed from the counts in the row's file.

    A row without an attack has the scope ``"clean"``: its draws, passes, deltas and further verdicts are those on clean
    images; `attack`, `robust` and `drop` are None. `passes` is the mean over the answers that the row scores.
    """

    victim: str
    defense: str
    attack: str | None
    attack_text: str | None
    scope: str
    ranked: bool
    n: int
    draws: int
    clean: Figure
    robust: Figure | None
    any_fail_5: float | None
    always_wrong: float
    drop: Figure | None
    against: str | None
    delta: Figure | None
    delta_undefended: Figure | None
    delta_clean: Figure | None
    queries: int
    agreement: float | None
    claimed: int | None
    claimed_wrong: float | None
    passes: float
    seed: int
    digest: str


def row_view(record: EvaluationRecord, *, ranked: bool) -> RowView:
    """The statistics of a record."""
    mine, attack = record.victim, record.attack
    scored = mine.scored
    return RowView(
        victim=mine.victim["name"],
        defense=mine.victim["text"],
        attack=None if attack is None else attack["name"],
        attack_text=None if attack is None else attack["text"],
        scope=CLEAN if attack is None else attack["scope"],
        ranked=ranked,
        n=record.n,
        draws=scored.draws,
        clean=clean_accuracy(record),
        robust=None if mine.adversarial is None else tally_figure(mine.adversarial, record, "adversarial"),
        any_fail_5=stats.any_fail(scored.right, scored.draws, 5) if scored.draws >= 5 else None,
        always_wrong=stats.always_wrong(scored.right),
        drop=_maybe(record.drop),
        against=None if record.reference is None else record.reference.victim["name"],
        delta=_maybe(record.delta("reference")),
        delta_undefended=_maybe(record.delta("undefended")),
        delta_clean=_maybe(record.delta("reference", "clean")),
        queries=mine.queries,
        agreement=mine.agreement,
        claimed=None if mine.claimed is None else int(mine.claimed.sum()),
        claimed_wrong=_wrong_of_claimed(mine),
        passes=scored.mean_passes(mine.passes),
        seed=record.setting["seed"],
        digest=record.digest,
    )


def _wrong_of_claimed(arm: Arm) -> float | None:
    """The share of wrong answers, in the scoring draws, to the images that the attack takes for misclassified."""
    if arm.claimed is None or arm.adversarial is None or not arm.claimed.any():
        return None
    return 1 - float(arm.adversarial.right[arm.claimed].mean()) / arm.adversarial.draws


def clean_accuracy(record: EvaluationRecord) -> Figure:
    """Accuracy on clean images, all of them."""
    return tally_figure(record.victim.clean, record, "clean")


def tally_figure(tally: Tally, record: EvaluationRecord, name: str) -> Figure:
    """Accuracy of a tally of `record`; `name` is that of its stream of resampling."""
    interval = tally.interval(record.rng("accuracy", name))
    return Figure(tally.accuracy, interval.low, interval.high)


def _figure(delta: stats.Delta) -> Figure:
    return Figure(delta.estimate, delta.low, delta.high, delta.p_value)


def _maybe(delta: stats.Delta | None) -> Figure | None:
    return None if delta is None else _figure(delta)


def flat(view: RowView) -> dict[str, Any]:
    """One level of columns: ``robust``, ``robust_low``, ``robust_high``, ... for data frames."""
    columns: dict[str, Any] = {}
    for name, value in asdict(view).items():
        if isinstance(value, dict):
            columns[name] = value["value"]
            columns |= {f"{name}_{part}": value[part] for part in ("low", "high", "p") if value[part] is not None}
        else:
            columns[name] = value
    return columns


@dataclass(frozen=True)
class Summary:
    """One victim over all attacks of the board.

    `shared` and `per_victim` are worst cases image by image over the attacks of that scope, two threat models that are
    never mixed in one ranking. For a stochastic victim the worst attack of an image is chosen on one half of the draws
    and scored on the other.
    """

    victim: str
    seed: int
    n: int
    clean: Figure
    null: Figure | None
    shared: Figure | None
    per_victim: Figure | None


def summary(records: Sequence[EvaluationRecord]) -> list[Summary]:
    """The victims of a board, those with the best worst case over shared attacks first.

    Rows without an attack have no worst case to sum up and are left out.
    """
    # By the whole identity, not by name: two nets of one name are two victims, and their rows are never mixed.
    groups: dict[str, list[EvaluationRecord]] = {}
    for record in records:
        if record.attack is None:
            continue
        groups.setdefault(digest_of([record.victim.victim, record.setting]), []).append(record)
    found = []
    for rows in groups.values():
        victim, seed = rows[0].victim.victim["name"], rows[0].setting["seed"]
        null = next((r.drop for r in rows if r.attack and r.attack["null"]), None)
        found.append(
            Summary(
                victim=victim,
                seed=seed,
                n=rows[0].n,
                clean=clean_accuracy(rows[0]),
                null=_maybe(null),
                shared=_worst([r for r in rows if r.attack and r.attack["scope"] == "shared"]),
                per_victim=_worst([r for r in rows if r.attack and r.attack["scope"] == "per-victim"]),
            )
        )
    return sorted(found, key=lambda s: (-(s.shared.value if s.shared else -1), s.victim, s.seed))


def _worst(rows: Sequence[EvaluationRecord]) -> Figure | None:
    if not rows:
        return None
    tallies = [r.victim.scored for r in rows]
    select = [t.right if t.select is None else t.select for t in tallies]
    right = stats.worst_case(np.stack(select), np.stack([t.right for t in tallies]))
    draws = tallies[0].draws
    if draws == 1:
        interval = stats.wilson(int(right.sum()), len(right))
    else:
        interval = stats.mean_interval(right / draws, rows[0].rng("worst"))
    return Figure(float(right.mean() / draws), interval.low, interval.high)
