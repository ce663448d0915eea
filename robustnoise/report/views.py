"""A row with its statistics computed, and a board's summary by victim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from robustnoise import stats
from robustnoise.flags import Raised
from robustnoise.records import Arm, EvaluationRecord
from robustnoise.report.ranking import Rank
from robustnoise.report.standings import Flags, Standing, standings
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
        abstained: share of all answers that were abstentions; they are among the wrong ones.
        n: images.
        draws: how often each was asked.
    """

    single: Figure
    any_fail: Mapping[int, float]
    always_wrong: float
    abstained: float
    n: int
    draws: int


@dataclass(frozen=True)
class RowView:
    """One row as it is shown; every number is computed from the counts in the row's file.

    A row without an attack has the scope ``"clean"``: its draws, passes, deltas and further verdicts are those on clean
    images; `attack`, `robust`, `success` and `drop` are None. `success` is the attack's over the images that are right
    at first, `initially` of them in expectation. `discordant` pairs are expected between victim and reference, and at
    their discordance these images resolve deltas from `smallest` on. `passes` is the mean over the answers that the row
    scores; `flags` are the suspicions about it.
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
    success: Figure | None
    initially: float | None
    drop: Figure | None
    against: str | None
    delta: Figure | None
    discordant: float | None
    smallest: float | None
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
    scored, success = mine.scored, _success(mine, record)
    resolution = None if record.reference is None else _resolution(scored, record.reference.scored)
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
        success=None if success is None else Figure(*success[:3]),
        initially=None if success is None else success.initially,
        drop=_maybe(record.drop),
        against=None if record.reference is None else record.reference.victim["name"],
        delta=_maybe(record.delta("reference")),
        discordant=None if resolution is None else resolution.discordant,
        smallest=None if resolution is None else resolution.smallest,
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
        abstained=float(tally.abstained.mean()) / tally.draws,
        n=len(tally.right),
        draws=tally.draws,
    )


def _wrong_of_claimed(arm: Arm) -> float | None:
    """The share of wrong answers, in the scoring draws, to the images that the attack takes for misclassified."""
    if arm.claimed is None or arm.adversarial is None or not arm.claimed.any():
        return None
    return 1 - float(arm.adversarial.right[arm.claimed].mean()) / arm.adversarial.draws


def _success(arm: Arm, record: EvaluationRecord) -> stats.Success | None:
    clean, attacked = arm.clean, arm.adversarial
    # One draw of a stochastic victim doesn't tell what it loses to its own noise.
    if attacked is None or (arm.stochastic and clean.draws == 1):
        return None
    return stats.attack_success(clean.right, clean.draws, attacked.right, attacked.draws, record.rng("success"))


def _resolution(mine: Tally, theirs: Tally) -> stats.Resolution:
    return stats.resolution(mine.right, mine.draws, theirs.right, theirs.draws)


def clean_accuracy(record: EvaluationRecord) -> Figure:
    """Accuracy on clean images, all of them."""
    return tally_figure(record.victim.clean, record, "clean")


def tally_figure(tally: Tally, record: EvaluationRecord, name: str) -> Figure:
    """Accuracy of a tally of `record`; `name` is that of its stream of resampling."""
    interval = tally.interval(record.rng("accuracy", name))
    return Figure(tally.accuracy, interval.low, interval.high)


def _maybe(delta: stats.Delta | None) -> Figure | None:
    return None if delta is None else Figure(*delta[:4])


def flat(view: RowView) -> dict[str, Any]:
    """One level of columns for data frames.

    ``robust``, ``robust_low``, ``robust_high``, ``robust_any_fail_5``, ``robust_always_wrong``, ``robust_abstained``,
    the same for ``clean``, a number and its interval for every delta, the names of the flags in one text.
    """
    columns: dict[str, Any] = {}
    for field in fields(view):
        name, value = field.name, getattr(view, field.name)
        if isinstance(value, Verdicts):
            columns |= _columns(name, value.single)
            columns |= {f"{name}_any_fail_{m}": share for m, share in value.any_fail.items()}
            columns[f"{name}_always_wrong"] = value.always_wrong
            columns[f"{name}_abstained"] = value.abstained
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
    never mixed in one ranking: each has ranks of its own (`ranking.ranks`), among the victims of one seed and setting.
    Where there is none (`standings.standings`), `why_shared` or `why_per_victim` names a flag or a lacking attack.
    """

    victim: str
    seed: int
    n: int
    clean: Figure
    null: Figure | None
    shared: Figure | None
    rank_shared: Rank | None
    per_victim: Figure | None
    rank_per_victim: Rank | None
    why_shared: str = ""
    why_per_victim: str = ""


def summary(records: Sequence[EvaluationRecord], flags: Flags | None = None) -> list[Summary]:
    """The victims of a board, those with the best worst case over shared attacks first.

    Rows without an attack have no worst case to sum up and are left out.

    Args:
        records: rows.
        flags: raised on them, by digest; None for none.
    """
    # By the whole identity, not by name: two nets of one name are two victims, and their rows are never mixed.
    groups: dict[str, list[EvaluationRecord]] = {}
    for record in records:
        if record.attack is not None:
            groups.setdefault(digest_of([record.victim.victim, record.setting]), []).append(record)
    stand = {scope: standings(list(groups.values()), scope, flags or {}) for scope in ("shared", "per-victim")}
    found = []
    for i, rows in enumerate(groups.values()):
        null = next((r.drop for r in rows if r.attack and r.attack["null"]), None)
        shared, per_victim = stand["shared"][i], stand["per-victim"][i]
        found.append(
            Summary(
                victim=rows[0].victim.victim["name"],
                seed=rows[0].setting["seed"],
                n=rows[0].n,
                clean=clean_accuracy(rows[0]),
                null=_maybe(null),
                shared=_worst(shared),
                rank_shared=shared.rank,
                per_victim=_worst(per_victim),
                rank_per_victim=per_victim.rank,
                why_shared=shared.why,
                why_per_victim=per_victim.why,
            )
        )

    def order(s: Summary) -> tuple[float, str, int]:
        first = s.shared or s.per_victim
        return -(first.value if first else -1), s.victim, s.seed

    return sorted(found, key=order)


def _worst(standing: Standing) -> Figure | None:
    worst = standing.worst
    return None if worst is None else Figure(worst.value, *worst.interval())
