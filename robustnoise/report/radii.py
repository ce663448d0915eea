"""Accuracy against the radius of the ball, as audits have measured it."""

from __future__ import annotations

from collections.abc import Sequence

from robustnoise.audits import AuditRecord
from robustnoise.report.curves import Curve, CurveView, Line, LineView, Point, PointView
from robustnoise.report.views import Figure
from robustnoise.tally import Tally

AT_EPS = ("white-box", "transfer")
"""Rungs whose attack an audit repeats at other radii."""


def radii_views(audits: Sequence[AuditRecord]) -> list[CurveView]:
    """One curve, one line an audited victim: clean images at 0, then the attack that the audit does at several radii.

    Args:
        audits: of one board; a victim whose ladder has no attack at another radius has no line.
    """
    lines = [line for audit in audits if (line := _line(audit)) is not None]
    if not lines:
        return []
    norm = audits[0].setting["threat"]["norm"]
    wanted = tuple(Line(v.label, "", tuple(Point(p.value, p.victim) for p in v.points)) for v in lines)
    title = "Accuracy against the radius, from audits"
    return [CurveView(Curve("radii", title, f"{norm} eps (pixels)", False, False, False, wanted), tuple(lines), 0)]


def _line(audit: AuditRecord) -> LineView | None:
    others = audit.done("eps")
    if not others:
        return None
    attack = others[0].attack
    own = [m for m in audit.done(*AT_EPS) if m.attack == attack][:1]
    tallies = {0.0: audit.clean} | {m.eps: m.tally for m in (*own, *others) if m.tally is not None}
    name, seed = str(audit.victim["name"]), int(audit.setting["seed"])
    points = tuple(_point(audit, eps, tallies[eps]) for eps in sorted(tallies))
    return LineView(f"{name} under {attack['name']}", seed, points, None)


def _point(audit: AuditRecord, eps: float, tally: Tally) -> PointView:
    interval = tally.interval(audit.rng("accuracy", f"eps {eps:g}"))
    figure = Figure(tally.accuracy, *interval)
    passes = tally.mean_passes(audit.passes)
    return PointView(eps, eps, str(audit.victim["name"]), figure, audit.n, tally.draws, passes)
