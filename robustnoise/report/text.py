"""Numbers as text, and the one sentence of a comparison."""

from __future__ import annotations

from robustnoise.report.views import Figure


def percent(figure: Figure | None) -> str:
    """``"93.1 [91.4, 94.5]"``, per cent; ``"-"`` for None."""
    return "-" if figure is None else f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def delta(figure: Figure | None) -> str:
    """``"-0.4 [-0.9, +0.1]"``, percentage points; ``"-"`` for None."""
    if figure is None:
        return "-"
    return f"{_signed(figure.value)} [{_signed(figure.low)}, {_signed(figure.high)}]"


def share(value: float | None) -> str:
    """Per cent without an interval; ``"-"`` for None."""
    return "-" if value is None else f"{100 * value:.1f}"


def sentence(what: str, measure: str, figure: Figure, n: int) -> str:
    """``"layer-noise changed robust accuracy by -0.4 points [-0.9, +0.1], n = 10,000: no evidence of a gain."``."""
    if figure.low > 0:
        verdict = "a gain"
    elif figure.high < 0:
        verdict = "a loss"
    else:
        verdict = "no evidence of a gain" if figure.value <= 0 else "no clear evidence of a gain"
    return (
        f"{what} changed {measure} by {_signed(figure.value)} points [{_signed(figure.low)}, {_signed(figure.high)}], "
        f"n = {n:,}: {verdict}."
    )


def _signed(value: float) -> str:
    points = 100 * value
    # No minus sign on a rounded zero.
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}"
