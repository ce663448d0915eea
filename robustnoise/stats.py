"""Verdicts and intervals from per-image counts: how many of R fresh draws were right.

The unit is the image. `right` is an array of shape (n,) of counts in 0..draws; a deterministic victim has draws = 1.
Draws must be independent between images (a shared device seed makes every number here one about that device).
Functions are pure: randomness comes in as a numpy generator, results are NamedTuples of Python floats, nothing is
ever NaN. Everywhere n >= 1, draws >= 1 and confidence lies inside (0, 1); whatever is outside its range raises
`BadParameter`. What couldn't be measured is None at the caller, so an empty array is an error here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from robustnoise.errors import BadParameter

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]

RESAMPLES = 9_999
_CELLS = 2**20  # numbers held at once while resampling: 8 MiB
_TIE = 1e-9  # sums of per-image values nearer than this are equal
_NORMAL = NormalDist()


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


def single(right: Counts, draws: int) -> float:
    """Expected accuracy in [0, 1]: the mean of right / draws, which may be the fractional counts of `worst_case`."""
    return float(_counts("right", right, draws, whole=False).mean() / draws)


def any_fail(right: Counts, draws: int, m: int) -> float:
    """Accuracy in [0, 1] against a persistent attacker, who asks m times and wins if one answer is wrong.

    The mean over images of C(right, m) / C(draws, m): the share of the m-subsets of the draws that are right
    throughout. It is unbiased for mean p_i^m, which (right / draws)^m is not. This is one minus pass@k of Chen et al.,
    Evaluating Large Language Models Trained on Code (2021), with k = m and wrong answers as passes. Counts are whole
    and m in 1..draws; for a larger m there is no unbiased estimate.
    """
    counts = _counts("right", right, draws)
    _whole("m", m, 1, draws, "take more draws or a smaller m")
    survives = np.ones_like(counts)
    for asked in range(m):
        survives *= np.maximum(counts - asked, 0.0) / (draws - asked)
    return float(survives.mean())


def always_wrong(right: Counts) -> float:
    """Share in [0, 1] of images that are wrong in every draw (whole counts): the strictest attacker's claim.

    Its expectation is mean (1 - p_i)^R, which falls with the number of draws R: always report it beside R.
    """
    return float((_counts("right", right, None) == 0).mean())


def worst_case(select_right: Sequence[Counts] | Counts, score_right: Sequence[Counts] | Counts) -> Floats:
    """Right counts under the worst attack of each image, float64 of shape (n,).

    Per image the attack with the fewest right answers on the select half is chosen, and its count on the score half
    returned; attacks tied on the select half are averaged, so no randomness is needed. Divide by the draws of the
    score half and pass the result to `mean_interval`, or the counts to `single` and `paired_delta`.

    Two halves, because the minimum of noisy counts is below the noise-free minimum: choosing and scoring on the same
    draws turns a coin that is right with probability 0.9 into 0.73 over twelve attacks (ten draws), though none does
    anything to it. On fresh draws the coin stays at 0.9. The choice can miss the truly worst attack, so the expected
    result is never below the true worst case, and reaches it as the select draws grow. A deterministic victim has one
    answer: there both arguments may be the same array and the result is the per-image minimum.

    Args:
        select_right: (attacks, n) whole counts, every attack with the same number of draws.
        score_right: the same shape, from draws independent of those in `select_right`.
    """
    chosen = [_counts("select_right", row, None) for row in select_right]
    scored = [_counts("score_right", row, None) for row in score_right]
    lengths = {row.size for row in (*chosen, *scored)}
    if len(chosen) != len(scored) or len(lengths) != 1:
        given = f"worst_case got {len(chosen)} select and {len(scored)} score rows of lengths {sorted(lengths)}"
        raise BadParameter(f"{given}: expected two (attacks, n) tables of one shape; pair attacks and images by id")
    tied = np.equal(chosen, np.min(chosen, axis=0))
    return np.average(scored, axis=0, weights=tied)


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's (1927) score interval in [0, 1] for the accuracy of a deterministic victim, `right` of n images."""
    _whole("n", n, 1)
    _whole("right", right, 0, n)
    return _wilson(float(right), n, _z(confidence))


def mean_interval(values: Floats, rng: np.random.Generator, confidence: float = 0.95) -> Interval:
    """BCa bootstrap interval (Efron 1987) in [0, 1] for a mean over images, such as a stochastic victim's accuracy.

    9,999 resamples of images; percentile limits where the BCa levels are undefined. If all values are equal the
    bootstrap has nothing to resample: the answer is then Wilson's interval for n * value right of n, which is the usual
    one at 0 and 1 and conservative between, since no variable in [0, 1] varies more than a binary one.

    Args:
        values: shape (n,), per-image accuracies in [0, 1].
        rng: stream of the resampling.
    """
    values = _counts("values", values, 1, whole=False)
    if np.ptp(values) < _TIE:
        return _wilson(float(values.mean()) * values.size, values.size, _z(confidence))
    return _bootstrap(values, rng, confidence)[0]


def tango(b: int, c: int, n: int, confidence: float = 0.95) -> Interval:
    """Tango's (1998) score interval in [-1, 1] for a difference of paired proportions, (b - c) / n.

    The set of delta that the score test (b - c - n delta)^2 <= z^2 n (2 q + delta (1 - delta)) accepts, q being the
    maximum-likelihood share of c-pairs given delta. Without discordant pairs it is +-z^2 / (n + z^2).
    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17, 1998.

    Args:
        b: images only the first victim has right, >= 0.
        c: images only the second has right, >= 0, b + c <= n.
        n: all images, concordant ones included.
    """
    _whole("n", n, 1)
    _whole("b", b, 0, n)
    _whole("c", c, 0, n - b)
    return _tango(float(b), float(c), n, _z(confidence))


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided McNemar p-value in [0, 1]: min(1, 2 P(X <= min(b, c))) with X ~ Binomial(b + c, 1/2).

    b and c >= 0 as in `tango`; without discordant pairs the answer is 1.
    """
    _whole("b", b, 0)
    _whole("c", c, 0)
    b, c = int(b), int(c)
    term = tail = 1
    for k in range(min(b, c)):
        term = term * (b + c - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << (b + c)))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's (1979) step-down adjusted p-values, float64 of shape (k,) in the order given; k may be 0."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise BadParameter(f"p_values {p.tolist()}: expected a list of numbers in [0, 1]; leave out what has no p")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted


def smallest_delta(n: int, discordance: float, power: float = 0.8, confidence: float = 0.95) -> float | None:
    """The smallest paired delta in (0, 1] that n images resolve at that discordance, or None if they resolve none.

    Solves sqrt(n) delta = z_a sqrt(discordance) + z_power sqrt(discordance - delta^2), the normal approximation of
    R. J. Connor, Sample size for testing differences in proportions for the paired-sample design, Biometrics 43,
    1987. No discordance resolves nothing. A result above `discordance` is out of reach for deterministic pairs.

    Args:
        n: images.
        discordance: share of pairs that differ, in [0, 1]; for stochastic victims the mean of d_i^2.
        power: wanted chance of detection, in [0.5, 1).
        confidence: one minus the level of the two-sided test.
    """
    _whole("n", n, 1)
    if not 0 <= discordance <= 1:
        raise BadParameter(f"discordance {discordance!r}: expected a share in [0, 1]; divide discordant pairs by n")
    if not 0.5 <= power < 1:
        raise BadParameter(f"power {power!r}: expected a number in [0.5, 1), such as 0.8")
    z, z_power = _z(confidence), _NORMAL.inv_cdf(power)
    inner = n + z_power**2 - z**2
    if discordance == 0 or inner < 0:
        return None
    delta = math.sqrt(discordance) * (z * math.sqrt(n) + z_power * math.sqrt(inner)) / (n + z_power**2)
    return delta if delta <= math.sqrt(discordance) else None


def paired_delta(
    a_right: Counts, a_draws: int, b_right: Counts, b_draws: int, rng: np.random.Generator, confidence: float = 0.95
) -> Delta:
    """Accuracy of a minus accuracy of b on the same images: estimate, interval and two-sided p-value.

    With d_i = a_right_i / a_draws - b_right_i / b_draws the estimate is mean d_i.
    - One draw each (deterministic victims): `tango` and `mcnemar`.
    - Otherwise: BCa bootstrap over images (see `mean_interval`) and the paired sign-flip permutation test,
      p = (1 + flips whose sum is at least as far from 0) / (1 + 9,999).
    - All d_i equal: Tango's interval with the share |d| of pairs discordant in one direction, which holds d = 0 (no
      discordant pairs, p = 1) and d = +-1 as its usual cases.
    Swapping a and b under the same generator state negates the result. `method` names the interval and the test:
    "tango+mcnemar", "bca+sign-flip", "percentile+sign-flip" or "tango+sign-flip".

    Args:
        a_right: shape (n,), counts in 0..a_draws; the fractional counts of `worst_case` are welcome.
        a_draws: draws per image of a.
        b_right: shape (n,), in 0..b_draws, image i being image i of `a_right`.
        b_draws: draws per image of b; may differ from a_draws.
        rng: stream of the resampling; not advanced for deterministic victims.
    """
    a = _counts("a_right", a_right, a_draws, whole=False)
    b = _counts("b_right", b_right, b_draws, whole=False)
    z, n = _z(confidence), a.size
    if a.size != b.size:
        raise BadParameter(f"a_right holds {a.size} images, b_right {b.size}: pair them by image id first")
    d = (a * b_draws - b * a_draws) / (a_draws * b_draws)
    estimate = float(d.mean())
    if a_draws == b_draws == 1 and not np.any((a % 1) + (b % 1)):
        only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
        return Delta(estimate, *_tango(only_a, only_b, n, z), mcnemar(only_a, only_b), n, "tango+mcnemar")
    if np.ptp(d) < _TIE:
        interval, method = _tango(n * max(estimate, 0.0), n * max(-estimate, 0.0), n, z), "tango"
    else:
        interval, method = _bootstrap(d, rng, confidence)
    return Delta(estimate, *interval, _sign_flip(d, rng), n, f"{method}+sign-flip")


def _wilson(right: float, n: int, z: float) -> Interval:
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(max(right * (n - right), 0.0) / n + z * z / 4)
    return Interval(max(centre - half, 0.0) if right > 0 else 0.0, min(centre + half, 1.0) if right < n else 1.0)


def _tango(b: float, c: float, n: int, z: float) -> Interval:
    middle = (b - c) / n
    return Interval(min(-_tango_high(c, b, n, z), middle), max(_tango_high(b, c, n, z), middle))


def _tango_high(b: float, c: float, n: int, z: float) -> float:
    """Upper limit by bisection: above the estimate the score test accepts up to the limit and rejects beyond it."""
    low, high = (b - c) / n, 1.0
    for _ in range(60):
        delta = (low + high) / 2
        linear = (2 * n - b + c) * delta - b - c
        root = math.sqrt(max(linear**2 + 8 * n * c * delta * (1 - delta), 0.0))
        variance = max((root - linear) / (2 * n) + delta * (1 - delta), 0.0)
        accepted = b - c - n * delta + z * math.sqrt(n * variance) > 0
        low, high = (delta, high) if accepted else (low, delta)
    return (low + high) / 2


def _bootstrap(values: Floats, rng: np.random.Generator, confidence: float) -> tuple[Interval, str]:
    """BCa limits for the mean of values that are not all equal, and the method used.

    The limits of scipy.stats.bootstrap, which takes about a second at n = 10,000 and warns or answers NaN on degenerate
    data. For a mean the jackknife acceleration is closed: sum x^3 / (6 (sum x^2)^1.5), x centred.
    """
    z, estimate, means = _z(confidence), float(values.mean()), _resampled_means(values, rng)
    centred = values - estimate
    acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))
    levels = [(1 - confidence) / 2, (1 + confidence) / 2]
    near = np.abs(means - estimate) * values.size < _TIE
    below = float(((means < estimate) & ~near).mean() + near.mean() / 2)
    method = "percentile"
    if 0 < below < 1:
        bias = _NORMAL.inv_cdf(below)
        shifted = [bias - z, bias + z]
        scales = [1 - acceleration * x for x in shifted]
        if min(scales) > 0:
            method = "bca"
            levels = [_NORMAL.cdf(bias + x / scale) for x, scale in zip(shifted, scales, strict=True)]
    low, high = np.quantile(means, levels).tolist()
    return Interval(min(low, estimate), max(high, estimate)), method


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


def _sign_flip(d: Floats, rng: np.random.Generator) -> float:
    """Two-sided p of sum d under random signs; images with one |d| are flipped together, as a binomial."""
    sums = np.zeros(RESAMPLES)
    for size, times in zip(*np.unique(np.abs(d), return_counts=True), strict=True):
        if size > 0:
            sums += size * (2 * rng.binomial(times, 0.5, size=RESAMPLES) - times)
    return float((1 + (np.abs(sums) >= abs(d.sum()) - _TIE).sum()) / (1 + RESAMPLES))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise BadParameter(f"confidence {confidence!r}: expected a number inside (0, 1), such as 0.95")
    return -_NORMAL.inv_cdf((1 - confidence) / 2)


def _whole(name: str, value: Any, low: int, high: int | None = None, advice: str = "check the counts") -> None:
    if not isinstance(value, int | np.integer) or value < low or (high is not None and value > high):
        limits = f">= {low}" if high is None else f"in {low}..{high}"
        raise BadParameter(f"{name} is {value!r}: expected a whole number {limits}; {advice}")


def _counts(name: str, right: Counts, draws: int | None, whole: bool = True) -> Floats:
    """`right` as float64 of shape (n,), n >= 1, checked to lie in 0..draws (no upper limit for None)."""
    _whole("draws", 1 if draws is None else draws, 1)
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
