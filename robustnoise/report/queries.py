"""Robust accuracy against queries: curves that come out of query attacks themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustnoise.records import EvaluationRecord
from robustnoise.report.curves import Curve, CurveView, Line, LineView, Point, PointView
from robustnoise.report.views import tally_figure


def query_views(records: Sequence[EvaluationRecord]) -> list[CurveView]:
    """One curve an attack whose rows were scored along its budget, one line a victim.

    The last point is the attack's end: at the budget for an image, or at the mean number of queries without one.

    Args:
        records: rows that follow the board's protocol, in the board's order.
    """
    by_attack: dict[str, list[EvaluationRecord]] = {}
    for record in records:
        if record.attack is not None and record.victim.curve:
            by_attack.setdefault(record.attack["name"], []).append(record)
    return [_view(name, rows) for name, rows in by_attack.items()]


def _view(attack: str, rows: Sequence[EvaluationRecord]) -> CurveView:
    seeds = {row.setting["seed"] for row in rows}
    lines = []
    for row in rows:
        name, seed = row.victim.victim["name"], row.setting["seed"]
        lines.append(LineView(f"{name} (seed {seed})" if len(seeds) > 1 else name, seed, _points(row), None))
    wanted = tuple(
        Line(line.label, row.victim.victim["text"], tuple(Point(p.value, p.victim) for p in line.points))
        for line, row in zip(lines, rows, strict=True)
    )
    file = "queries-" + re.sub(r"[^a-z0-9]+", "-", attack.lower()).strip("-")
    title = f"Robust accuracy against queries: {attack}"
    return CurveView(Curve(file, title, "queries per image", True, False, False, wanted), tuple(lines), 0)


def _points(row: EvaluationRecord) -> tuple[PointView, ...]:
    arm, limit = row.victim, row.setting["budget"]["per_image"]
    assert arm.adversarial is not None
    end = float(limit) if limit else max(arm.queries / row.n, max(arm.curve) + 1)
    found = []
    for queries, tally in [*sorted(arm.curve.items()), (end, arm.adversarial)]:
        accuracy = tally_figure(tally, row, f"after {queries:g} queries")
        passes = tally.mean_passes(arm.passes)
        found.append(PointView(queries, queries, arm.victim["name"], accuracy, row.n, tally.draws, passes))
    return tuple(found)
