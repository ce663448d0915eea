"""Pictures of curves: SVG files, the same bytes for the same numbers and the same matplotlib."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from robustnoise.extras import require
from robustnoise.report.curves import BEYOND, CurveView, LineView, midpoint_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart, without the yellow that white swallows."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ("-", "--", ":", "-.")


def require_matplotlib() -> None:
    """Refuse before any work what would fail after it.

    Raises:
        MissingExtra: matplotlib isn't installed.
    """
    require("matplotlib", purpose="A picture of a curve", install="robustnoise[plots]")


def pictures(view: CurveView) -> dict[str, bytes]:
    """The SVG files of a curve by name, without suffix: the curve, and its midpoints where they are asked for.

    Raises:
        MissingExtra: matplotlib isn't installed.
    """
    require_matplotlib()
    found = {}
    for name in picture_names(view):
        with _style(name):
            figure = _midpoint_figure(view) if name == midpoint_name(view.curve) else _curve_figure(view)
            found[name] = _svg(figure, view)
    return found


def picture_names(view: CurveView) -> list[str]:
    """The names of the files that `pictures` makes; none where no point is measured."""
    if not view.lines:
        return []
    return [view.curve.name, *([midpoint_name(view.curve)] if view.curve.midpoint else [])]


def shows(content: bytes, view: CurveView) -> bool:
    """Whether a picture shows the numbers of `view`; works without matplotlib, and for pictures by any version."""
    return _identifier(view).encode() in content


def _identifier(view: CurveView) -> str:
    return f"sha256:{view.digest}"


@contextmanager
def _style(salt: str) -> Iterator[None]:
    """Settings of our own, whatever the user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": salt,
                "svg.fonttype": "path",
                "text.parse_math": False,  # a $ in a label is a dollar
                "font.size": 10,
                "figure.facecolor": "white",
                "axes.facecolor": "white",
                "savefig.facecolor": "white",
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#DDDDDD",
                "axes.spines.top": False,
                "axes.spines.right": False,
            }
        )
        yield


def _svg(figure: Figure, view: CurveView) -> bytes:
    buffer = io.BytesIO()
    # Neither the date nor the version of matplotlib; the identifier says which numbers are shown.
    metadata = {"Date": None, "Creator": "robustnoise", "Title": view.curve.title, "Identifier": _identifier(view)}
    figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def _curve_figure(view: CurveView) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    names = view.curve.categories
    for i, line in enumerate(view.lines):
        _draw_line(axes, line, i, names)
    axes.set_title(view.curve.title)
    axes.set_xlabel(textwrap.fill(view.curve.x, 90))
    axes.set_ylabel("accuracy (%), 95 % interval")
    if names:
        axes.set_xticks(range(len(names)), names)
        if sum(map(len, names)) > 70:
            axes.tick_params(axis="x", rotation=30)
    elif view.curve.log:
        _logarithmic(axes, [float(p.x) for line in view.lines for p in line.points])
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -2), min(high, 102))
    if len(view.lines) > 1:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _logarithmic(axes: Axes, at: list[float]) -> None:
    """A logarithmic axis, marked at the values themselves where they are few, else at powers of 2."""
    distinct = sorted(set(at))
    axes.set_xscale("log", base=2)
    if len(distinct) <= 12:
        axes.set_xticks(distinct)
    axes.xaxis.set_major_formatter("{x:.4g}")
    axes.minorticks_off()


def _draw_line(axes: Axes, line: LineView, index: int, names: list[str]) -> None:
    placed = [(names.index(str(p.x)) if names else float(p.x), p.accuracy) for p in line.points]
    placed.sort(key=lambda pair: pair[0])
    x = [at for at, _ in placed]
    colour = COLOURS[index % len(COLOURS)]
    axes.plot(
        x,
        [100 * a.value for _, a in placed],
        color=colour,
        marker=MARKERS[index % len(MARKERS)],
        linestyle=DASHES[index // len(COLOURS) % len(DASHES)],
        markersize=5,
        label=line.label,
    )
    low, high = [100 * a.low for _, a in placed], [100 * a.high for _, a in placed]
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _midpoint_figure(view: CurveView) -> Figure:
    """Bars from the quietest value to each midpoint: the longer, the more the line endures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.4 + 0.32 * len(view.lines)), layout="constrained")
    axes = figure.add_subplot()
    sweep = [float(p.value) for p in view.curve.lines[0].points]
    quiet, loud = sweep[0], sweep[-1]
    width = abs(_scaled(loud, view) - _scaled(quiet, view))
    if view.curve.log:
        _logarithmic(axes, sweep)
    for row, line in enumerate(view.lines):
        m = line.midpoint
        if m is None:
            continue
        beyond = m.at is None and m.note == BEYOND
        end = m.at if m.at is not None else loud if beyond else quiet
        hatch = "//" if beyond else None
        axes.barh(row, end - quiet, left=quiet, height=0.6, color=COLOURS[0], hatch=hatch, edgecolor="white")
        inside = beyond or abs(_scaled(end, view) - _scaled(quiet, view)) > 0.85 * width
        axes.annotate(
            m.text, (end, row), xytext=(-4 if inside else 4, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=9,
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )  # fmt: skip
    axes.set_yticks(range(len(view.lines)), [line.label for line in view.lines])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(quiet, loud)
    axes.set_xlabel(textwrap.fill(view.curve.x, 70))
    axes.set_title(f"{view.curve.title}: midpoints")
    return figure


def _scaled(value: float, view: CurveView) -> float:
    return math.log(value) if view.curve.log else value
