"""Bootstrap over images and the sign-flip permutation test."""

from __future__ import annotations

import math

import numpy as np

from robustnoise.stats.common import NORMAL, TIE, Counts, Floats, Interval, check_counts, two_sided_z
from robustnoise.stats.scores import wilson_limits

RESAMPLES = 9_999
FEW = 10
"""Images that a variance rests on, below which a bootstrap alone is too narrow for an accuracy."""
_CELLS = 2**20  # numbers held at once while resampling: 8 MiB


def mean_interval(values: Floats, rng: np.random.Generator, confidence: float = 0.95) -> Interval:
    """BCa bootstrap interval (Efron 1987) in [0, 1] for a mean over images, such as a stochastic victim's accuracy.

    9,999 resamples of images; widened where few images differ (see `bootstrap`); percentile limits where the BCa levels
    are undefined. If all values are equal the bootstrap has nothing to resample: the answer is then Wilson's interval
    for n * value right of n, which is the usual one at 0 and 1 and conservative between, since no variable in [0, 1]
    varies more than a binary one. Where the variance rests on fewer than `FEW` images the answer holds that interval,
    too: one image that is wrong at times says nothing of those that would be wrong always, and weren't met.

    Args:
        values: shape (n,), per-image accuracies in [0, 1].
        rng: stream of the resampling.
    """
    values = check_counts("values", values, 1, whole=False)
    widest = wilson_limits(float(values.mean()) * values.size, values.size, two_sided_z(confidence))
    if np.ptp(values) < TIE:
        return widest
    found = bootstrap(values, rng, confidence)[0]
    if not rests_on_few(values):
        return found
    return Interval(min(found.low, widest.low), max(found.high, widest.high))


def accuracy_interval(right: Counts, draws: int, rng: np.random.Generator, confidence: float = 0.95) -> Interval:
    """Interval in [0, 1] of an accuracy: Wilson's of a deterministic victim, else that of `mean_interval`.

    Args:
        right: (n,) counts in 0..draws; the fractional ones of `worst_case` are those of a random victim.
        draws: per image.
        rng: stream of the resampling; not advanced for whole counts of one draw.
    """
    counts = check_counts("right", right, draws, whole=False)
    if draws == 1 and not np.any(counts % 1):
        return wilson_limits(float(counts.sum()), counts.size, two_sided_z(confidence))
    return mean_interval(counts / draws, rng, confidence)


def worst_interval(
    right: Floats, least: Floats, draws: int, rng: np.random.Generator, confidence: float = 0.95
) -> Interval:
    """Interval in [0, 1] of a worst case, from the lower limit of `least_case` to the upper one of `worst_case`.

    The truth lies between what the two expect, so however the worst attack of an image is chosen, it is held.

    Args:
        right: (n,) of `worst_case`.
        least: (n,) of `least_case`.
        draws: that both are out of.
        rng: stream of the resampling.
    """
    found = accuracy_interval(right, draws, rng, confidence)
    if np.array_equal(right, least):
        return found
    return Interval(min(found.low, accuracy_interval(least, draws, rng, confidence).low), found.high)


def bootstrap(values: Floats, rng: np.random.Generator, confidence: float) -> tuple[Interval, str]:
    """BCa limits for the mean of values that are not all equal, widened for few contributing images; and the method.

    Plain BCa covers 90 % instead of 95 % where a dozen images alone differ. The normal quantile z in its levels is
    therefore replaced by that of Student's t with 1 / (1/m - 1/n) degrees of freedom, where m = (sum x^2)^2 / sum x^4,
    x centred, is the number of images that the variance effectively rests on. From a few hundred on that is z.
    """
    z, inverse = two_sided_z(confidence), _inverse_freedom(values)
    if inverse > TIE:
        import scipy.special

        z = max(z, -float(scipy.special.stdtrit(1 / inverse, (1 - confidence) / 2)))
    return bca(values, rng, z)


def bca(values: Floats, rng: np.random.Generator, z: float) -> tuple[Interval, str]:
    """BCa limits for the mean of values that are not all equal, z being the normal quantile that they reach to.

    The limits of scipy.stats.bootstrap, which takes about a second at n = 10,000 and warns or answers NaN on degenerate
    data. For a mean the jackknife acceleration is closed: sum x^3 / (6 (sum x^2)^1.5), x centred.
    """
    estimate, means = float(values.mean()), _resampled_means(values, rng)
    centred = values - estimate
    acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))
    levels = [NORMAL.cdf(-z), NORMAL.cdf(z)]
    near = np.abs(means - estimate) * values.size < TIE
    below = float(((means < estimate) & ~near).mean() + near.mean() / 2)
    method = "percentile"
    if 0 < below < 1:
        bias = NORMAL.inv_cdf(below)
        shifted = [bias - z, bias + z]
        scales = [1 - acceleration * x for x in shifted]
        if min(scales) > 0:
            method = "bca"
            levels = [NORMAL.cdf(bias + x / scale) for x, scale in zip(shifted, scales, strict=True)]
    low, high = np.quantile(means, levels).tolist()
    return Interval(min(low, estimate), max(high, estimate)), method


def rests_on_few(values: Floats) -> bool:
    """Whether the variance of values that are not all equal rests on fewer than `FEW` images (m of `bootstrap`)."""
    return _inverse_freedom(values) + 1 / values.size > 1 / FEW


def _inverse_freedom(values: Floats) -> float:
    """1 / m - 1 / n of `bootstrap`."""
    x = values - values.mean()
    return float((x**4).sum() / (x**2).sum() ** 2) - 1 / values.size


def student_p(values: Floats, at_most: float) -> float:
    """One-sided p of a mean <= `at_most` against a larger one, values not all equal; degrees as in `bootstrap`."""
    import scipy.special

    t = (float(values.mean()) - at_most) * math.sqrt(values.size) / float(values.std(ddof=1))
    inverse = _inverse_freedom(values)
    return float(scipy.special.stdtr(1 / inverse, -t)) if inverse > TIE else NORMAL.cdf(-t)


def _resampled_means(values: Floats, rng: np.random.Generator) -> Floats:
    """Means of RESAMPLES bootstrap samples. Few distinct values, as counts have: drawn as multinomial multiplicities.

    Distinct values are taken in order of appearance, so that negated values give negated means.
    """
    n = values.size
    distinct, first, times = np.unique(values, return_index=True, return_counts=True)
    order = np.argsort(first)
    distinct, times = distinct[order], times[order]
    grouped = 10 * distinct.size <= n
    rows = max(1, _CELLS // (distinct.size if grouped else n))
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        if grouped:
            means[start : start + size] = rng.multinomial(n, times / n, size=size) @ distinct / n
        else:
            means[start : start + size] = values[rng.integers(0, n, size=(size, n))].mean(axis=1)
    return means


def sign_flip(d: Floats, rng: np.random.Generator) -> float:
    """Two-sided p of sum d under random signs; images with one |d| are flipped together, as a binomial."""
    sums = np.zeros(RESAMPLES)
    for size, times in zip(*np.unique(np.abs(d), return_counts=True), strict=True):
        if size > 0:
            sums += size * (2 * rng.binomial(times, 0.5, size=RESAMPLES) - times)
    return float((1 + (np.abs(sums) >= abs(d.sum()) - TIE).sum()) / (1 + RESAMPLES))
