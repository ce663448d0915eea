"""Accuracy along an axis: what a curve asks for, and what the rows say of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustnoise.records import EvaluationRecord
from robustnoise.report.views import Figure, clean_accuracy
from robustnoise.spec import digest_of

Value = float | str


@dataclass(frozen=True)
class Point:
    """A victim at a place of the axis."""

    value: Value
    victim: str


@dataclass(frozen=True)
class Line:
    """Victims that differ in one value.

    Args:
        label: for the legend.
        stack: the defense, with ``{x}`` where the value goes.
        points: in the order of the values; the first is the quietest where midpoints are asked for.
    """

    label: str
    stack: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Curve:
    """A picture of accuracy on clean images against values.

    Args:
        name: of its files.
        title: its heading.
        x: label of the axis, with the unit.
        log: a logarithmic axis.
        x_is_passes: the axis is the measured mean passes of each point, not its value.
        midpoint: the value at which each line has lost half of what it had above chance is shown too.
        lines: at least one.
    """

    name: str
    title: str
    x: str
    log: bool
    x_is_passes: bool
    midpoint: bool
    lines: tuple[Line, ...]

    @property
    def categories(self) -> list[str]:
        """The names on the axis in the order of the values; none on an axis of numbers."""
        values = [p.value for line in self.lines for p in line.points]
        if self.x_is_passes or not any(isinstance(value, str) for value in values):
            return []
        return list(dict.fromkeys(map(str, values)))


def midpoint_name(curve: Curve) -> str:
    """The name of the picture of its midpoints."""
    return f"{curve.name}-midpoint"


@dataclass(frozen=True)
class PointView:
    """A measured point; `x` is where it lies on the axis."""

    value: Value
    x: Value
    victim: str
    accuracy: Figure
    n: int
    draws: int
    passes: float


@dataclass(frozen=True)
class Midpoint:
    """Where a line crosses the level half way between its first value's accuracy and chance.

    Args:
        level: that accuracy; None where it can't be told.
        at: the value, interpolated linearly along the axis as it is drawn; None where the level isn't crossed.
        note: why there is no value; empty where there is one.
        between: the neighbouring values of the sweep between which `at` lies; None where there is none.
        places: decimals of `at` that mean something: about a tenth of the step between those two.
    """

    level: float | None
    at: float | None
    note: str = ""
    between: tuple[float, float] | None = None
    places: int = 0

    @property
    def text(self) -> str:
        """`at` in as many digits as mean something, or the note."""
        return self.note if self.at is None else f"{round(self.at, self.places) + 0.0:.{max(0, self.places)}f}"


@dataclass(frozen=True)
class LineView:
    """A measured line; of one seed, which the label names where rows of several are there."""

    label: str
    seed: int
    points: tuple[PointView, ...]
    midpoint: Midpoint | None


@dataclass(frozen=True)
class CurveView:
    """A measured curve, with the number of its points that have no row yet."""

    curve: Curve
    lines: tuple[LineView, ...]
    missing: int

    @property
    def digest(self) -> str:
        """sha256 of everything that its pictures show, to 6 digits: the last bits are the machine's."""
        shown = [
            [
                line.label,
                [
                    [_rounded(p.x), *(_rounded(v) for v in (p.accuracy.value, p.accuracy.low, p.accuracy.high))]
                    for p in line.points
                ],
                line.midpoint and [_rounded(line.midpoint.at), line.midpoint.note],
            ]
            for line in self.lines
        ]
        curve = self.curve
        return digest_of([curve.name, curve.title, curve.x, curve.log, bool(curve.categories), shown])


def _rounded(x: Value | None) -> str:
    return f"{x:.6g}" if isinstance(x, int | float) else str(x)


BEYOND = "beyond the sweep"


def curve_view(curve: Curve, records: Sequence[EvaluationRecord]) -> CurveView:
    """What the rows say of a curve.

    Args:
        curve: what is asked for.
        records: rows that follow the board's protocol, the first of a victim and seed counts.
    """
    wanted = {point.victim for line in curve.lines for point in line.points}
    found: dict[tuple[str, int], EvaluationRecord] = {}
    for record in records:
        name = record.victim.victim["name"]
        if name in wanted:
            found.setdefault((name, record.setting["seed"]), record)
    seeds = sorted({seed for _, seed in found})
    classes = {r.setting["data"].get("classes") for r in found.values()} - {None}
    chance = 1 / classes.pop() if len(classes) == 1 else None
    # The same row may be a point of many lines, and its interval takes thousands of resamples.
    accuracies = {key: clean_accuracy(record) for key, record in found.items()}
    lines, missing = [], 0
    for line in curve.lines:
        for seed in seeds or [0]:
            keys = [(p, (p.victim, seed)) for p in line.points if (p.victim, seed) in found]
            present = [_point(p, found[key], accuracies[key], curve) for p, key in keys]
            missing += len(line.points) - len(present)
            if not present:
                continue
            label = f"{line.label} (seed {seed})" if len(seeds) > 1 else line.label
            whole = len(present) == len(line.points)
            midpoint = _midpoint(present, chance, log=curve.log, whole=whole) if curve.midpoint else None
            lines.append(LineView(label, seed, tuple(present), midpoint))
    return CurveView(curve, tuple(lines), missing)


def _point(point: Point, record: EvaluationRecord, accuracy: Figure, curve: Curve) -> PointView:
    tally = record.victim.clean
    passes = tally.mean_passes(record.victim.passes)
    x = passes if curve.x_is_passes else point.value
    return PointView(point.value, x, point.victim, accuracy, record.n, tally.draws, passes)


def _midpoint(points: Sequence[PointView], chance: float | None, *, log: bool, whole: bool) -> Midpoint:
    if chance is None:
        return Midpoint(None, None, "the rows don't tell the number of classes")
    if not whole:
        return Midpoint(None, None, "rows are missing")
    first = points[0].accuracy.value
    level = (first + chance) / 2
    if first <= chance:
        return Midpoint(level, None, "at chance from the start")
    for a, b in itertools.pairwise(points):
        high, low = a.accuracy.value, b.accuracy.value
        if high > level >= low:
            x, y = float(a.x), float(b.x)
            share = (high - level) / (high - low)
            at = math.exp(math.log(x) + share * (math.log(y) - math.log(x))) if log else x + share * (y - x)
            step = at * math.log(y / x) if log else y - x
            return Midpoint(level, at, between=(x, y), places=1 - round(math.log10(abs(step))))
    return Midpoint(level, None, BEYOND)


def flat_points(view: CurveView) -> list[dict[str, Any]]:
    """One line a point, for data frames: accuracy and its interval as shares of 1."""
    return [
        {
            "curve": view.curve.name,
            "line": line.label,
            "value": p.value,
            "x": p.x,
            "victim": p.victim,
            "accuracy": p.accuracy.value,
            "accuracy_low": p.accuracy.low,
            "accuracy_high": p.accuracy.high,
            "n": p.n,
            "draws": p.draws,
            "passes": p.passes,
            "seed": line.seed,
        }
        for line in view.lines
        for p in line.points
    ]
