"""Certified accuracy over the radius, as a table, CSV and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import rich.table
from rich.console import Console

from robustnoise.certificates import Certificates
from robustnoise.report.curves import Curve, CurveView, Line, LineView, Point, PointView
from robustnoise.report.flat import harmless
from robustnoise.report.text import percent
from robustnoise.report.views import Figure

STEPS = 24
"""Radii of a curve between 0 and the largest that the numbers of answers can certify."""


def radii(found: Certificates) -> list[float]:
    """0 to just above the largest radius possible, in up to `STEPS` even steps of whole hundredths."""
    step = max(0.01, float(np.ceil(100 * found.largest / STEPS) / 100))
    return [round(i * step, 2) for i in range(int(found.largest / step) + 2)]


def figure(found: Certificates, radius: float) -> Figure:
    """Certified accuracy at an l2 radius, with its interval over images."""
    return Figure(found.accuracy(radius), *found.interval(radius))


def certified_curve(found: Certificates, label: str) -> CurveView:
    """The curve for `robustnoise.report.plots.pictures`.

    Args:
        found: the certificates.
        label: what was certified.
    """
    places = radii(found)
    setting = found.setting
    title = f"Certified accuracy, sigma {setting['sigma']:g}"
    x = (
        f"l2 radius, pixels in [0, 1] (n0 {setting['n0']}, n {setting['n']}, alpha {setting['alpha']:g}, "
        f"{len(found)} images)"
    )
    curve = Curve(
        name="certified",
        title=title,
        x=x,
        log=False,
        x_is_passes=False,
        midpoint=False,
        lines=(Line(label, label, tuple(Point(r, label) for r in places)),),
    )
    points = tuple(
        PointView(r, r, label, figure(found, r), len(found), 1, float(setting["n0"] + setting["n"])) for r in places
    )
    return CurveView(curve, (LineView(label, setting["seed"], points, None),), 0)


def images_csv(found: Certificates) -> str:
    """One line an image: the columns of `Certificates.table`."""
    frame = found.table()
    return _csv(list(frame.columns), frame.itertuples(index=False, name=None))


def curve_csv(found: Certificates) -> str:
    """One line a radius: ``radius``, ``certified``, ``low``, ``high`` as shares of 1."""
    lines = []
    for radius in radii(found):
        shown = figure(found, radius)
        lines.append((radius, shown.value, shown.low, shown.high))
    return _csv(["radius", "certified", "low", "high"], lines)


def _csv(head: list[str], lines: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for line in lines:
        writer.writerow([harmless(value) for value in line])
    return out.getvalue()


def verdict(found: Certificates, label: str) -> str:
    """One sentence on what was certified, and what it holds for."""
    setting = found.setting
    return (
        f"{label}, under noise of sigma {setting['sigma']:g}: {len(found)} images of {setting['split']}, n0 "
        f"{setting['n0']}, n {setting['n']}, seed {setting['seed']}. {percent(figure(found, 0.0))} % are answered "
        f"rightly with a certificate, {100 * found.abstained:.1f} % are abstentions; the average certified radius is "
        f"{found.average_radius:.3f} of at most {found.largest:.3f}. Each certificate is wrong with probability at "
        f"most {setting['alpha']:g}. They hold in l2, for the smoothed classifier itself, not for its answers from "
        "finitely many passes."
    )


def print_certificates(console: Console, found: Certificates, label: str) -> None:
    """The curve as a table, and the sentence."""
    table = rich.table.Table("l2 radius", "certified accuracy, %", title="Certificates", title_justify="left")
    for radius in radii(found):
        table.add_row(f"{radius:g}", percent(figure(found, radius)))
        if found.accuracy(radius) == 0:
            break
    console.print(table)
    console.print(verdict(found, label), markup=False, highlight=False, soft_wrap=True)
