"""Numbers as text, and the one sentence of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from robustnoise.flags import Raised
from robustnoise.report.views import Figure, RowView

FINE = 10_000
"""Images from which a second decimal says something."""


def percent(figure: Figure | None, n: int = 0) -> str:
    """``"93.1 [91.4, 94.5]"``, per cent; ``"-"`` for None.

    Args:
        figure: a share of 1.
        n: images that it was measured on; from `FINE` on there are two decimals.
    """
    if figure is None:
        return "-"
    digits = 2 if n >= FINE else 1
    value, low, high = (f"{round(100 * v, digits) + 0.0:.{digits}f}" for v in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def delta(figure: Figure | None, n: int = 0) -> str:
    """``"-0.4 [-0.9, +0.1]"``, percentage points; ``"-"`` for None. Decimals as for `percent`."""
    if figure is None:
        return "-"
    digits = 2 if n >= FINE else 1
    value, low, high = (_signed(v, digits) for v in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def share(value: float | None) -> str:
    """Per cent without an interval; ``"-"`` for None."""
    return "-" if value is None else f"{100 * value:.1f}"


def points(value: float | None, n: int = 0) -> str:
    """A difference in points without an interval, ``"+1.2"``; ``"-"`` for None. Decimals as for `percent`."""
    return "-" if value is None else _signed(value, 2 if n >= FINE else 1)


NOT_OF_THE_NUMBER = ("RANDOMISED", "TRUSTED_CODE")
"""Flags that say what a victim is, not that a number of it is in doubt."""


def sentence(what: str, measure: str, figure: Figure, n: int, flags: Sequence[Raised] = ()) -> str:
    """``"layer-noise changed robust accuracy by -0.4 points [-0.9, +0.1], n = 1,000: no evidence of a gain."``.

    Decimals as for `percent`. It names the flags that say that the number is in doubt.
    """
    digits = 2 if n >= FINE else 1
    if figure.low > 0:
        verdict = "a gain"
    elif figure.high < 0:
        verdict = "a loss"
    else:
        verdict = "no evidence of a gain" if figure.value <= 0 else "no clear evidence of a gain"
    doubts = ", ".join(raised.flag for raised in flags if raised.flag not in NOT_OF_THE_NUMBER)
    verdict += f", but flagged {doubts}" if doubts else ""
    return (
        f"{what} changed {measure} by {_signed(figure.value, digits)} points "
        f"[{_signed(figure.low, digits)}, {_signed(figure.high, digits)}], n = {n:,}: {verdict}."
    )


def sentences(views: Sequence[RowView]) -> list[str]:
    """What each victim changed against its reference under the attack that hurts it most."""
    lines = []
    for victim in dict.fromkeys(v.victim for v in views):
        rows = [v for v in views if v.victim == victim and v.delta is not None and v.scope != "control"]
        if rows:
            worst = min(rows, key=lambda v: v.scored.single.value)
            assert worst.delta is not None
            measure = f"robust accuracy under {worst.attack}" if worst.attack else "accuracy"
            what = f"{victim} (against {worst.against})"
            lines.append(sentence(what, measure, worst.delta, worst.n, worst.flags))
    return lines


def _signed(value: float, digits: int = 1) -> str:
    text = f"{100 * value:+.{digits}f}"
    # No sign on a rounded zero.
    return text if float(text) else text[1:]
