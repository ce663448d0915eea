"""The flags that follow from rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustnoise import stats
from robustnoise.errors import RobustnoiseError
from robustnoise.flags.compare import beside, chance, lower, no_lower, percent, sure
from robustnoise.flags.table import OUTSIDE, STRANGER, TIGHT, UNSPENT, Raised
from robustnoise.models.targets.text import TargetText
from robustnoise.records import EvaluationRecord
from robustnoise.stats import Delta

Rows = Sequence[EvaluationRecord]


def raised(record: EvaluationRecord, others: Rows = ()) -> tuple[Raised, ...]:
    """The flags of a row.

    Args:
        record: the row.
        others: further rows; those of the same victim and setting, this one or not, are looked at.
    """
    same = [r for r in others if r is not record and _alike(r, record)]
    found = ((flag, check(record, same)) for flag, check in CHECKS.items())
    return tuple(Raised(flag, text) for flag, text in found if text is not None)


def _alike(a: EvaluationRecord, b: EvaluationRecord) -> bool:
    return a.victim.victim == b.victim.victim and a.setting == b.setting


def _below(a: EvaluationRecord, b: EvaluationRecord, name: str) -> Delta:
    """Accuracy of the victim under the attack of a minus that under the attack of b."""
    mine, theirs = a.victim.scored, b.victim.scored
    return stats.paired_delta(mine.right, mine.draws, theirs.right, theirs.draws, a.rng("flag", name, b.digest))


def _random(record: EvaluationRecord, _same: Rows) -> str | None:
    return f"scored in {record.victim.scored.draws} fresh draws." if record.victim.stochastic else None


def runs_code(victim: Mapping[str, Any]) -> bool:
    """Whether a victim's identity names code that is trusted."""
    target = victim.get("target")
    try:
        return target is not None and TargetText(target["text"], target["options"]).runs_code
    except (RobustnoiseError, KeyError, TypeError):
        return False


def _code(record: EvaluationRecord, _same: Rows) -> str | None:
    return f"the victim is {record.victim.victim['text']}." if runs_code(record.victim.victim) else None


def _null(record: EvaluationRecord, same: Rows) -> str | None:
    for row in (record, *same):
        if row.attack is not None and row.attack["null"]:
            drop = row.drop
            if drop is not None and sure(drop):
                return f"unchanged images, asked again: {beside(drop)}."
    return None


def _control(record: EvaluationRecord, same: Rows) -> str | None:
    if record.scope in (None, "control"):
        return None
    for row in same:
        if row.attack is None or row.scope != "control" or row.attack["null"]:
            continue
        left = row.victim.scored.accuracy
        if left <= chance(record.setting):
            continue
        delta = _below(record, row, "control")
        if no_lower(delta):
            return f"against {row.attack['name']}, which leaves {percent(left)} %: {beside(delta)}."
    return None


def _not_hurt(record: EvaluationRecord, _same: Rows) -> str | None:
    net = record.undefended
    if net is None or net.adversarial is None or record.scope == "control":
        return None
    a, b = net.adversarial, net.clean
    delta = stats.paired_delta(a.right, a.draws, b.right, b.draws, record.rng("flag", "undefended"))
    if not no_lower(delta):
        return None
    return f"{net.victim['name']} under the attack, against clean images: {beside(delta)}."


def _white_box(record: EvaluationRecord, same: Rows) -> str | None:
    """On all rows of the victim: without its strongest row its worst case would only look better."""
    rows = [r for r in (record, *same) if r.scope in ("shared", "per-victim")]
    white = [r for r in (record, *same) if r.scope == "audit"]
    if record.scope in (None, "control") or not white:
        return None
    for black in rows:
        deltas = [_below(black, audit, "audit") for audit in white]
        if all(map(lower, deltas)):
            nearest = max(deltas, key=lambda d: d.estimate)
            assert black.attack is not None
            return f"{black.attack['name']} against the strongest audit: {beside(nearest)}."
    return None


def _order(record: EvaluationRecord, same: Rows) -> str | None:
    if record.scope != "per-victim":
        return None
    for row in same:
        if row.scope == "shared" and lower(delta := _below(row, record, "order")):
            assert row.attack is not None
            return f"{row.attack['name']}, which never asks, against this attack: {beside(delta)}."
    return None


def _stranger(record: EvaluationRecord, _same: Rows) -> str | None:
    agreement, clean = record.victim.agreement, record.victim.clean.accuracy
    if agreement is None or agreement >= clean - STRANGER:
        return None
    return f"they agree on {percent(agreement)} % of clean images; the victim is right on {percent(clean)} %."


def _unspent(record: EvaluationRecord, _same: Rows) -> str | None:
    """For attacks on single images: what stands is what no claim was made about, else what is still right."""
    budget, arm = record.setting.get("budget") or {}, record.victim
    total = budget.get("total")
    granted = total / record.n if budget.get("per_image") is None and total is not None else budget.get("per_image")
    if record.scope != "per-victim" or granted is None or arm.agreement is not None:
        return None
    if record.attack is not None and "submitted" in record.attack:
        return None
    standing = float((~arm.claimed).mean()) if arm.claimed is not None else arm.scored.accuracy
    had = standing * granted * record.n
    had = had if total is None else min(had, total)
    if arm.queries >= UNSPENT * had:
        return None
    return f"{arm.queries:,} queries; the images that stood had {had:,.0f}."


def _outside(record: EvaluationRecord, _same: Rows) -> str | None:
    outside = record.outside
    if outside is None or not outside > OUTSIDE:
        return None
    return f"an image was {outside:.3g} outside of the ball."


def _few(record: EvaluationRecord, _same: Rows) -> str | None:
    mine = record.victim.scored
    other = record.reference
    theirs = None if other is None else other.scored
    if theirs is None or record.scope == "control":
        return None
    delta = record.delta()
    found = stats.resolution(mine.right, mine.draws, theirs.right, theirs.draws)
    if delta is not None and found.enough and delta.low > -TIGHT and delta.high < TIGHT:
        return None
    return stats.too_few(mine.right, mine.draws, theirs.right, theirs.draws)


CHECKS: dict[str, Callable[[EvaluationRecord, Rows], str | None]] = {
    # What blocks first: where there is room for one flag, it is the first.
    "NULL_CONTROL_DROPS": _null,
    "CONTROL_AS_STRONG": _control,
    "BLACKBOX_BEATS_WHITEBOX": _white_box,
    "BASELINE_NOT_HURT": _not_hurt,
    "RANDOMISED": _random,
    "TRUSTED_CODE": _code,
    "ATTACK_ORDER": _order,
    "SUBSTITUTE_DISAGREES": _stranger,
    "BUDGET_UNSPENT": _unspent,
    "PROJECTION_NEEDED": _outside,
    "TOO_FEW_IMAGES": _few,
}
"""Each says what raises it, or None."""
