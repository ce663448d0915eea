"""The few comparisons that a board declares before its run, and what the rows say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustnoise import stats
from robustnoise.records import EvaluationRecord
from robustnoise.report.ranking import Worst, worst_of
from robustnoise.report.standings import Flags, against_victim, says_nothing

LEVEL = 0.05


@dataclass(frozen=True)
class Contrast:
    """A declared comparison.

    Args:
        victim: name.
        against: name of the victim that it is compared with.
        on: an attack, ``"worst-shared"``, ``"worst-per-victim"`` or ``"clean"``.
        attacks: names of the attacks that `on` stands for; none for clean images.
        margin: how much worse the victim may be and still count as not inferior, as a share of 1; None where a
            difference is asked for.
    """

    victim: str
    against: str
    on: str
    attacks: tuple[str, ...]
    margin: float | None = None


@dataclass(frozen=True)
class ContrastView:
    """What the rows say of a contrast; all but `contrast` and `note` are None where it isn't measured.

    Args:
        contrast: what is asked.
        note: why it isn't measured; empty where it is.
        delta: victim minus `against`, with its unadjusted 95 % interval; `p_value` is two-sided, of no difference.
        p: of the test asked for: `delta.p_value`, or twice the one-sided p of non-inferiority.
        p_holm: `p` adjusted over all declared contrasts, one that isn't measured counting as 1.
        resolution: discordant pairs, and the smallest delta that the images resolve.
        bounds: between what the delta of a stochastic victim's worst case lies in expectation, whichever way the worst
            attack of an image is chosen; None where nothing is chosen.
        p_end: the larger of `p_holm` and the p, adjusted likewise, of the end of `bounds` that speaks against it.
    """

    contrast: Contrast
    note: str = ""
    delta: stats.Delta | None = None
    p: float | None = None
    p_holm: float | None = None
    resolution: stats.Resolution | None = None
    bounds: tuple[float, float] | None = None
    p_end: float | None = None

    @property
    def finding(self) -> str:
        """The answer at a family-wise level of 5 %; none that the choice of the worst attack could have made."""
        if self.delta is None or self.p_holm is None:
            return self.note
        sure = self.p_end is not None and self.p_end < LEVEL
        if self.contrast.margin is not None:
            return "not inferior" if sure else "non-inferiority not shown"
        if self.p_holm >= LEVEL:
            return "no difference shown"
        if not sure:
            return "depends on how the worst attack is chosen"
        return "a gain" if self.delta.estimate > 0 else "a loss"


def contrast_views(
    contrasts: Sequence[Contrast], records: Sequence[EvaluationRecord], seed: int, flags: Flags | None = None
) -> list[ContrastView]:
    """Every declared contrast, measured on the rows of one seed.

    Args:
        contrasts: in the order of the board.
        records: rows that follow the board's protocol; the first of a victim and attack counts.
        seed: the board's; rows of others are no part of a contrast.
        flags: raised on the records, by digest; None for none.
    """
    first: dict[tuple[str, str | None], EvaluationRecord] = {}
    flags = flags or {}
    for record in records:
        if record.setting["seed"] == seed:
            attack = record.attack["name"] if record.attack else None
            first.setdefault((record.victim.victim["name"], attack), record)
    found = [_measured(contrast, first, flags) for contrast in contrasts]
    adjusted, ends = (
        stats.holm([1.0 if p is None else p for p in told])
        for told in ([view.p for view in found], [view.p_end for view in found])
    )
    return [
        view if view.p is None else replace(view, p_holm=float(p), p_end=float(end))
        for view, p, end in zip(found, adjusted, ends, strict=True)
    ]


def _measured(contrast: Contrast, rows: dict[tuple[str, str | None], EvaluationRecord], flags: Flags) -> ContrastView:
    sides, rows_of = [], list[list[EvaluationRecord]]()
    for name in (contrast.victim, contrast.against):
        if contrast.attacks:
            wanted = [rows.get((name, attack)) for attack in contrast.attacks]
        else:
            wanted = [next((r for (victim, _), r in rows.items() if victim == name), None)]
        present = [r for r in wanted if r is not None]
        if len(present) < len(wanted):
            return ContrastView(contrast, f"not measured: {name} has no row yet")
        # What speaks against an attack says nothing about clean images.
        flag = against_victim(present, flags) or (contrast.attacks and says_nothing(present, flags))
        if flag:
            return ContrastView(contrast, f"not measured: {flag} on {name}")
        rows_of.append(present)
        clean = present[0].victim.clean
        right = clean.right.astype(np.float64)
        sides.append(worst_of(present) if contrast.attacks else Worst(right, right, clean.draws, present[0]))
    if any(r.setting["data"] != rows_of[0][0].setting["data"] for part in rows_of for r in part):
        return ContrastView(contrast, "not measured: the rows are of other images")
    mine, theirs = sides
    counts = (mine.right, mine.draws, theirs.right, theirs.draws)
    delta = stats.paired_delta(*counts, mine.row.rng("contrast", contrast.on, theirs.row.digest))
    p = delta.p_value
    if contrast.margin is not None:
        p = min(1.0, 2 * stats.non_inferiority(*counts, contrast.margin))
    bounds, p_end = None, p
    if len(contrast.attacks) > 1 and any(r.victim.scored.select is not None for part in rows_of for r in part):
        bounds = mine.lowest - theirs.value, mine.value - theirs.lowest
        p_end = max(p, _p_end(mine, theirs, contrast.margin, gain=delta.estimate > 0))
    return ContrastView(contrast, "", delta, p, None, stats.resolution(*counts), bounds, p_end)


def _p_end(mine: Worst, theirs: Worst, margin: float | None, *, gain: bool) -> float:
    """Twice the one-sided p of what is found, with the worst attacks chosen in the way that speaks against it."""
    if margin is not None:
        p = stats.non_inferiority(mine.least, mine.draws, theirs.right, theirs.draws, margin)
    else:
        above, below = (mine, theirs) if gain else (theirs, mine)
        p = stats.superiority(above.least, above.draws, below.right, below.draws)
    return min(1.0, 2 * p)
