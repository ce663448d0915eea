"""Whether two sets of draws are of the same chances, image by image."""

from __future__ import annotations

import numpy as np
from scipy import special

from robustnoise.errors import BadParameter
from robustnoise.stats.common import TIE, Counts, Floats, check_counts

SPREADS = 39_999
"""So that nine p values at Holm's level of 0.001 can still be small enough."""


def same_chances(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int, rng: np.random.Generator) -> float:
    """p of "each image is right with the same chance in all draws"; exact whatever the chances.

    Given its right answers in all draws together, an image's are spread over the two sets as a hypergeometric. Two
    statistics are compared with 39,999 such spreads of every image: abs(sum d_i) and sum d_i^2, where
    d_i = a_i / a_draws - b_i / b_draws; p is twice the smaller one's. The second sees what a mean doesn't: right
    answers that were moved from one image to another.

    Args:
        a_right: shape (n,), whole counts in 0..a_draws.
        a_draws: draws per image of a.
        b_right: shape (n,), in 0..b_draws, image i being image i of `a_right`.
        b_draws: draws per image of b.
        rng: stream of the spreads.

    Raises:
        BadParameter: a count is outside its range, or the numbers of images differ.
    """
    a, b = check_counts("a_right", a_right, a_draws), check_counts("b_right", b_right, b_draws)
    if a.size != b.size:
        raise BadParameter(f"a_right holds {a.size} images, b_right {b.size}: pair them by image id first")
    d = a / a_draws - b / b_draws
    sums = np.zeros((SPREADS, 2))
    for both, times in zip(*np.unique((a + b).astype(np.int64), return_counts=True), strict=True):
        k = np.arange(max(0, both - b_draws), min(a_draws, both) + 1)
        apart = np.stack([k / a_draws - (both - k) / b_draws] * 2, axis=1) ** [1, 2]
        if k.size > times:  # few images of many draws: cheaper one by one
            for _ in range(times):
                sums += apart[rng.hypergeometric(both, a_draws + b_draws - both, a_draws, SPREADS) - k[0]]
            continue
        logs = _log_comb(a_draws, k) + _log_comb(b_draws, both - k)  # a thousand draws have coefficients beyond floats
        chances = np.exp(logs - logs.max())
        sums += rng.multinomial(times, chances / chances.sum(), size=SPREADS) @ apart
    seen = np.array([abs(d.sum()), (d**2).sum()])
    as_far = (np.abs(sums) >= seen - TIE).sum(axis=0)
    return min(1.0, 2 * float(1 + as_far.min()) / (1 + SPREADS))


def _log_comb(n: int, k: Counts) -> Floats:
    found: Floats = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return found
