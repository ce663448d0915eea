"""The tests that flags share."""

from __future__ import annotations

from typing import Any

import numpy as np

from robustnoise import stats
from robustnoise.flags.table import ALIKE, ALPHA, MATTERS
from robustnoise.stats import Counts, Delta
from robustnoise.tally import Tally


def sure(delta: Delta) -> bool:
    """Whether it differs from 0 at `ALPHA`."""
    return delta.p_value < ALPHA


def lower(delta: Delta) -> bool:
    """Whether a is surely below b, and by enough to matter."""
    return sure(delta) and delta.estimate <= -MATTERS


def no_lower(delta: Delta) -> bool | None:
    """Whether a is as high as b: not surely below it, and surely not by `ALIKE`; None where the images can't tell."""
    if sure(delta) and delta.estimate < 0:
        return False
    if delta.low > -ALIKE:
        return True
    return False if delta.high < 0 else None


def interval(right: Counts, draws: int, rng: np.random.Generator) -> stats.Interval:
    """Of an accuracy, at `ALPHA`."""
    return stats.accuracy_interval(right, draws, rng, 1 - ALPHA)


def chance(setting: Any) -> float:
    """What a constant answer gets on balanced classes; 0 for rows under attack, which don't name the classes."""
    classes = setting["data"].get("classes")
    return 1 / classes if classes else 0.0


def percent(share: float) -> str:
    """``"71.3"``."""
    return f"{100 * share:.1f}"


def accuracy(tally: Tally | None) -> str:
    """That of a tally, in per cent."""
    return "-" if tally is None else percent(tally.accuracy)


def beside(delta: Delta) -> str:
    """``"-3.1 points, p = 0.0004"``."""
    p = f"p = {delta.p_value:.2g}" if delta.p_value >= 1e-4 else "p < 0.0001"
    points = f"{100 * delta.estimate:+.1f}"
    return f"{points if float(points) else points[1:]} points, {p}"
