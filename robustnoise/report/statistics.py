"""Tables of verdicts, declared contrasts and variances, and what a board's images resolve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from robustnoise import stats
from robustnoise.report.contrasts import ContrastView
from robustnoise.report.shown import Table
from robustnoise.report.tables import abstentions, number, table
from robustnoise.report.text import delta, points, share
from robustnoise.report.variance import VarianceView
from robustnoise.report.views import ASKED, Figure, RowView, Verdicts

DISCORDANCES = (0.01, 0.05, 0.2)
"""At which the smallest resolvable delta is told."""


def verdict_tables(rows: Sequence[RowView]) -> Iterator[Table]:
    """Every verdict on stochastic victims, clean images before the attacked ones; nothing where there is none.

    A deterministic victim has one answer: all its verdicts are its accuracy, or one less it.
    """
    asked = ASKED[1:]
    head = (
        "victim",
        "images of",
        "n",
        "draws",
        "single",
        *(f"any_fail_{m}" for m in asked),
        "always_wrong",
        "abstained",
        "seed",
    )
    several = len({r.seed for r in rows}) > 1
    lines: dict[tuple[str, ...], None] = {}
    for r in rows:
        for name, verdicts in (("clean", r.clean), (r.attack or "", r.robust)):
            if verdicts is not None and verdicts.draws > 1:
                lines[r.victim, name, *_verdicts(verdicts), str(r.seed) if several else "-"] = None
    if lines:
        yield table("Verdicts on stochastic victims", head, list(lines))


def _verdicts(v: Verdicts) -> tuple[str, ...]:
    asked = (share(v.any_fail.get(m)) for m in ASKED[1:])
    return str(v.n), str(v.draws), share(v.single.value), *asked, share(v.always_wrong), abstentions(v)


def contrast_table(contrasts: Sequence[ContrastView]) -> Table:
    """The declared contrasts, at most six."""
    head = (
        "contrast",
        "on",
        "asked",
        "n",
        "delta",
        "lies between",
        "p (Holm)",
        "discordant pairs",
        "resolves",
        "finding",
    )
    return table("Declared contrasts", head, [_contrast(view) for view in contrasts])


def _contrast(view: ContrastView) -> tuple[str, ...]:
    contrast, found, resolution = view.contrast, view.delta, view.resolution
    asked = "difference" if contrast.margin is None else f"not worse by {number(100 * contrast.margin)}"
    return (
        f"{contrast.victim} against {contrast.against}",
        contrast.on,
        asked,
        "-" if found is None else str(found.n),
        "-" if found is None else delta(Figure(found.estimate, found.low, found.high), found.n),
        "-" if view.bounds is None or found is None else " and ".join(points(bound, found.n) for bound in view.bounds),
        "-" if view.p_holm is None else f"{view.p_holm:.2g}",
        "-" if resolution is None else number(round(resolution.discordant, 1)),
        "-" if resolution is None else share(resolution.smallest),
        view.finding,
    )


def variance_table(variance: Sequence[VarianceView]) -> Table:
    """Standard deviations of one measured accuracy, in points; ``-`` is what the rows can't tell."""
    head = ("victim", "attack", "seeds", "mean accuracy", *(f"SD of {part}" for part in PARTS.values()))
    lines = [
        (
            view.victim,
            view.attack or "-",
            str(view.seeds),
            share(view.accuracy),
            *(_deviation(getattr(view.split, part)) for part in PARTS),
        )
        for view in variance
    ]
    return table("Where the variance comes from", head, lines)


PARTS = {
    "images": "images",
    "draws": "draws",
    "attack": "attack seed",
    "training": "training seed",
    "seeds": "both seeds",
}


def _deviation(variance: float | None) -> str:
    return "-" if variance is None else f"{100 * math.sqrt(variance):.2f}"


def resolution_notes(rows: Sequence[RowView]) -> Iterator[str]:
    """What each number of images resolves, and what it resolves in the deltas shown."""
    for n in sorted({r.n for r in rows}):
        told = [(d, stats.smallest_delta(n, d)) for d in DISCORDANCES]
        at = ", ".join(f"{100 * v:.2f} points at {100 * d:g} %" for d, v in told if v is not None)
        if not at:
            continue
        shown = [r.smallest for r in rows if r.n == n and r.smallest is not None]
        span = f"; the deltas shown, {_range(min(shown), max(shown))} points" if shown else ""
        yield f"n = {n} resolves with 80 % power, at a level of 5 %, paired deltas of {at} discordance{span}."


def _range(low: float, high: float) -> str:
    ends = f"{100 * low:.2f}", f"{100 * high:.2f}"
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
