"""A row with its statistics computed, and a board's summary by victim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from robustnoise import stats
from robustnoise.flags import Raised
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


ASKED = (1, 5, 20, 100)
"""How often a persistent attacker asks (``any_fail_m``); as far as there are so many draws."""


@dataclass(frozen=True)
class Verdicts:
    """What a set of draws says of all n images, right or wrong at first.

    Args:
        single: expected accuracy.
        any_fail: by m: accuracy against an attacker who asks m times and wins once; for every m of `ASKED` up to
            the number of draws.
        always_wrong: share of images that are wrong in every draw.
        n: images.
        draws: how often each was asked.
    """

    single: Figure
    any_fail: Mapping[int, float]
    always_wrong: float
    n: int
    draws: int


@dataclass(frozen=True)
class RowView:
    """One row as it is shown; every number is computed from the counts in the row's file.

    A row without an attack has the scope ``"clean"``: its draws, passes, deltas and further verdicts are those on clean
    images; `attack`, `robust` and `drop` are None. `passes` is the mean over the answers that the row scores; `flags`
    are the suspicions about it.
    """

    victim: str
    defense: str
    attack: str | None
    attack_text: str | None
    scope: str
    ranked: bool
    n: int
    draws: int
    clean: Verdicts
    robust: Verdicts | None
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
    flags: tuple[Raised, ...]

    @property
    def scored(self) -> Verdicts:
        """On what the row is about: the attack's images, or clean ones where there is no attack."""
        return self.clean if self.robust is None else self.robust


def row_view(record: EvaluationRecord, *, ranked: bool, flags: tuple[Raised, ...] = ()) -> RowView:
    """The statistics of a record.

    Args:
        record: what was measured.
        ranked: whether it follows the board's protocol.
        flags: raised on it.
    """
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
        clean=verdicts(mine.clean, record, "clean"),
        robust=None if mine.adversarial is None else verdicts(mine.adversarial, record, "adversarial"),
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
        flags=flags,
    )


def verdicts(tally: Tally, record: EvaluationRecord, name: str) -> Verdicts:
    """Those of a tally of `record`; `name` is that of its stream of resampling."""
    return Verdicts(
        single=tally_figure(tally, record, name),
        any_fail={m: stats.any_fail(tally.right, tally.draws, m) for m in ASKED if m <= tally.draws},
        always_wrong=stats.always_wrong(tally.right),
        n=len(tally.right),
        draws=tally.draws,
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
    """One level of columns for data frames.

    ``robust``, ``robust_low``, ``robust_high``, ``robust_any_fail_5``, ``robust_always_wrong``, the same for ``clean``,
    a number and its interval for every delta, the names of the flags in one text.
    """
    columns: dict[str, Any] = {}
    for field in fields(view):
        name, value = field.name, getattr(view, field.name)
        if isinstance(value, Verdicts):
            columns |= _columns(name, value.single)
            columns |= {f"{name}_any_fail_{m}": share for m, share in value.any_fail.items()}
            columns[f"{name}_always_wrong"] = value.always_wrong
        elif isinstance(value, Figure):
            columns |= _columns(name, value)
        else:
            columns[name] = " ".join(raised.flag for raised in value) if name == "flags" else value
    return columns


def _columns(name: str, figure: Figure) -> dict[str, float]:
    parts = {f"{name}_{part}": value for part, value in asdict(figure).items() if part != "value" and value is not None}
    return {name: figure.value, **parts}


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
