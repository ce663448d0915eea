"""Differences of accuracy on the same images."""

from __future__ import annotations

import numpy as np

from robustnoise.errors import BadParameter
from robustnoise.stats.common import TIE, Counts, Delta, Floats, check_counts, two_sided_z
from robustnoise.stats.resampling import bootstrap, sign_flip, student_p
from robustnoise.stats.scores import mcnemar, tango_limits, tango_p


def paired_delta(
    a_right: Counts, a_draws: int, b_right: Counts, b_draws: int, rng: np.random.Generator, confidence: float = 0.95
) -> Delta:
    """Accuracy of a minus accuracy of b on the same images: estimate, interval and two-sided p-value.

    With d_i = a_right_i / a_draws - b_right_i / b_draws the estimate is mean d_i.
    - One draw each (deterministic victims): `tango` and `mcnemar`.
    - Otherwise: BCa bootstrap over images, widened where few differ (see `mean_interval`), and the paired sign-flip
      permutation test, p = (1 + flips whose sum is at least as far from 0) / (1 + 9,999).
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
    d, deterministic = _differences(a_right, a_draws, b_right, b_draws)
    z, n, estimate = two_sided_z(confidence), d.size, float(d.mean())
    if deterministic:
        only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
        return Delta(estimate, *tango_limits(only_a, only_b, n, z), mcnemar(only_a, only_b), n, "tango+mcnemar")
    if np.ptp(d) < TIE:
        interval, method = tango_limits(n * max(estimate, 0.0), n * max(-estimate, 0.0), n, z), "tango"
    else:
        interval, method = bootstrap(d, rng, confidence)
    return Delta(estimate, *interval, sign_flip(d, rng), n, f"{method}+sign-flip")


def non_inferiority(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int, margin: float) -> float:
    """One-sided p-value in [0, 1] of "a is worse than b by `margin` or more"; small where a is not inferior.

    One draw each (deterministic victims), or all d_i equal: Tango's score test at -margin, which rejects at level alpha
    where the lower limit of `tango` with confidence 1 - 2 alpha is above -margin. Otherwise Student's t test of mean
    d_i <= -margin over images, with the degrees of freedom of the widened bootstrap.

    Args:
        a_right: as in `paired_delta`, as the next three.
        a_draws: draws per image of a.
        b_right: counts of b.
        b_draws: draws per image of b.
        margin: how much worse is still accepted, a share of 1 in (0, 1).
    """
    if not 0 < margin < 1:
        raise BadParameter(f"margin {margin!r}: expected a share inside (0, 1), such as 0.01 for one point")
    d, deterministic = _differences(a_right, a_draws, b_right, b_draws)
    if deterministic or np.ptp(d) < TIE:
        return tango_p(float(np.maximum(d, 0).sum()), float(np.maximum(-d, 0).sum()), d.size, -margin)
    return student_p(d, -margin)


def superiority(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int) -> float:
    """One-sided p-value in [0, 1] of "a is no better than b"; small where a is better, at any level.

    Exact McNemar for two deterministic victims; Tango's score test where all d_i are equal; else Student's t test of
    mean d_i <= 0 as in `non_inferiority`. No resampling: a bootstrap of 9,999 knows nothing of tails of 1 in 10,000,
    which rankings of many victims ask for.

    Args:
        a_right: as in `paired_delta`, as the next three.
        a_draws: draws per image of a.
        b_right: counts of b.
        b_draws: draws per image of b.
    """
    d, deterministic = _differences(a_right, a_draws, b_right, b_draws)
    if deterministic:
        only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
        return mcnemar(only_a, only_b) / 2 if only_a > only_b else 1.0
    if np.ptp(d) < TIE:
        return tango_p(float(np.maximum(d, 0).sum()), float(np.maximum(-d, 0).sum()), d.size, 0.0)
    return student_p(d, 0.0)


def _differences(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int) -> tuple[Floats, bool]:
    """Of the accuracies, image by image, and whether they are those of two deterministic victims."""
    a = check_counts("a_right", a_right, a_draws, whole=False)
    b = check_counts("b_right", b_right, b_draws, whole=False)
    if a.size != b.size:
        raise BadParameter(f"a_right holds {a.size} images, b_right {b.size}: pair them by image id first")
    d = (a * b_draws - b * a_draws) / (a_draws * b_draws)
    return d, a_draws == b_draws == 1 and not np.any((a % 1) + (b % 1))
