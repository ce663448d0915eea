"""Score intervals and exact tests of proportions."""

from __future__ import annotations

import functools
import math

from scipy import special

from robustnoise.errors import BadParameter
from robustnoise.stats.common import NORMAL, Interval, check_whole, two_sided_z


def wilson(right: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's (1927) score interval in [0, 1] for the accuracy of a deterministic victim, `right` of n images."""
    check_whole("n", n, 1)
    check_whole("right", right, 0, n)
    return wilson_limits(float(right), n, two_sided_z(confidence))


def clopper_pearson_low(right: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's (1934) lower bound in [0, 1] of a probability, `right` hits of n independent draws.

    The one-sided exact bound: the probability p at which so many hits or more have probability `alpha`, the quantile
    ``Beta(alpha; right, n - right + 1)``. It is larger than the true p with probability at most `alpha`.

    Args:
        right: 0 to n; without a hit the bound is 0.
        n: at least 1.
        alpha: inside (0, 1).
    """
    check_whole("n", n, 1)
    check_whole("right", right, 0, n)
    if not 0 < alpha < 1:
        raise BadParameter(f"alpha = {alpha}: expected a number inside (0, 1), such as 0.001.")
    return float(special.betaincinv(right, n - right + 1, alpha)) if right else 0.0


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
    check_whole("n", n, 1)
    check_whole("b", b, 0, n)
    check_whole("c", c, 0, n - b)
    return tango_limits(float(b), float(c), n, two_sided_z(confidence))


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided McNemar p-value in [0, 1]: min(1, 2 P(X <= min(b, c))) with X ~ Binomial(b + c, 1/2).

    b and c >= 0 as in `tango`; without discordant pairs the answer is 1.
    """
    check_whole("b", b, 0)
    check_whole("c", c, 0)
    b, c = int(b), int(c)
    term = tail = 1
    for k in range(min(b, c)):
        term = term * (b + c - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << (b + c)))


def wilson_limits(right: float, n: float, z: float) -> Interval:
    """`wilson` of counts that need not be whole."""
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(max(right * (n - right), 0.0) / n + z * z / 4)
    return Interval(max(centre - half, 0.0) if right > 0 else 0.0, min(centre + half, 1.0) if right < n else 1.0)


def tango_limits(b: float, c: float, n: int, z: float) -> Interval:
    """`tango` of counts that need not be whole."""
    middle = (b - c) / n
    return Interval(min(-_tango_high(c, b, n, z), middle), max(_tango_high(b, c, n, z), middle))


def tango_p(b: float, c: float, n: int, delta: float) -> float:
    """One-sided p of Tango's score test of a difference <= delta against a larger one; delta in (-1, 1)."""
    spread = math.sqrt(n * _variance(b, c, n, delta))
    excess = b - c - n * delta
    return NORMAL.cdf(-excess / spread) if spread > 0 else float(excess <= 0)


@functools.lru_cache(maxsize=10_000)  # a board asks for the same few counts thousands of times
def _tango_high(b: float, c: float, n: int, z: float) -> float:
    """Upper limit by bisection: above the estimate the score test accepts up to the limit and rejects beyond it."""
    low, high = (b - c) / n, 1.0
    for _ in range(60):
        delta = (low + high) / 2
        accepted = b - c - n * delta + z * math.sqrt(n * _variance(b, c, n, delta)) > 0
        low, high = (delta, high) if accepted else (low, delta)
    return (low + high) / 2


def _variance(b: float, c: float, n: int, delta: float) -> float:
    """Of a pair's difference if its mean is delta, at the maximum-likelihood share of c-pairs."""
    linear = (2 * n - b + c) * delta - b - c
    root = math.sqrt(max(linear**2 + 8 * n * c * delta * (1 - delta), 0.0))
    return max((root - linear) / (2 * n) + delta * (1 - delta), 0.0)
