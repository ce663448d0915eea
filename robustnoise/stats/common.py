"""Types of robustnoise.stats, and the checks of what is handed in."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from robustnoise.errors import BadParameter

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]

TIE = 1e-9
"""Sums of per-image values nearer than this are equal."""
NORMAL = NormalDist()


class Interval(NamedTuple):
    """A two-sided confidence interval, low <= high."""

    low: float
    high: float


class Delta(NamedTuple):
    """A paired difference of accuracies, a minus b: low <= estimate <= high, all in [-1, 1]."""

    estimate: float
    low: float
    high: float
    p_value: float
    n: int
    method: str


def two_sided_z(confidence: float) -> float:
    """The normal quantile that a two-sided interval reaches to on each side."""
    if not 0 < confidence < 1:
        raise BadParameter(f"confidence {confidence!r}: expected a number inside (0, 1), such as 0.95")
    return -NORMAL.inv_cdf((1 - confidence) / 2)


def check_whole(name: str, value: Any, low: int, high: int | None = None, advice: str = "check the counts") -> None:
    """Refuse a `value` that is no whole number in low..high."""
    if not isinstance(value, int | np.integer) or value < low or (high is not None and value > high):
        limits = f">= {low}" if high is None else f"in {low}..{high}"
        raise BadParameter(f"{name} is {value!r}: expected a whole number {limits}; {advice}")


def check_counts(name: str, right: Counts, draws: int | None, whole: bool = True) -> Floats:
    """`right` as float64 of shape (n,), n >= 1, checked to lie in 0..draws (no upper limit for None)."""
    check_whole("draws", 1 if draws is None else draws, 1)
    array = np.asarray(right)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuf":
        given = f"{name} has shape {array.shape} and dtype {array.dtype}"
        raise BadParameter(f"{given}: expected numbers of shape (n,), n >= 1; what wasn't measured is None, not empty")
    values = array.astype(np.float64)
    top = np.inf if draws is None else draws
    fits = np.isfinite(values) & (values >= 0) & (values <= top)
    if whole:
        fits &= np.floor(values) == values
    if not fits.all():
        at = int(np.argmin(fits))
        kind = "whole counts" if whole else "numbers"
        raise BadParameter(f"{name}[{at}] is {array[at]}: expected {kind} in 0..{top}; check the draws")
    return values
