"""Attack success over the images that were right at first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robustnoise.errors import BadParameter
from robustnoise.stats.common import TIE, Counts, Interval, check_counts, two_sided_z
from robustnoise.stats.resampling import bootstrap, rests_on_few
from robustnoise.stats.scores import wilson, wilson_limits


class Success(NamedTuple):
    """Attack success over initially right images, low <= estimate <= high <= 1, below 0 by chance.

    `initially` is their number; for a stochastic victim the expected one, the sum of its clean accuracies over images.
    """

    estimate: float
    low: float
    high: float
    initially: float


def attack_success(
    clean_right: Counts,
    clean_draws: int,
    right: Counts,
    draws: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> Success | None:
    """The share of initially right answers that an attack turns wrong; None where it can't be told.

    A deterministic victim (one draw each): of the images that are right, the share whose attacked version is wrong,
    with Wilson's interval. A stochastic victim is right on nearly every image at times, and images chosen because one
    draw was right are less so in the next: that looks like an attack. So nothing is chosen. With c_i the chance that
    image i is right and a_i that its attacked version is, the answer is a ratio of two sums over all images,

        1 - sum c_i a_i / sum c_i^2:

    one less the chance that a right answer is followed by a right one on the attacked image, in units of the chance
    that it is followed by a right one on the clean image. It is 0 in expectation for the attack that does nothing, 1
    where no attacked image is ever right, and for c_i in {0, 1} it is the share of the deterministic victim. From k_i
    right of R clean and r_i of A attacked draws, which are independent given the image, c_i^2 is estimated without bias
    by C(k_i, 2) / C(R, 2). The interval is that of `paired_delta` for the linearised ratio: it resamples
    (c_i^2 - c_i a_i - estimate c_i^2) / mean c_i^2 over images, and holds Wilson's for that share of the initially
    right where few images decide it.

    Args:
        clean_right: shape (n,), whole counts in 0..clean_draws.
        clean_draws: draws per clean image; 1 for a deterministic victim alone.
        right: shape (n,), in 0..draws, on the attack's images.
        draws: draws per attacked image; 1 for a deterministic victim alone.
        rng: stream of the resampling; not advanced for deterministic victims.
        confidence: of the interval.

    Returns:
        None where nothing was right at first, or one of a stochastic victim's tallies has a single draw.

    Raises:
        BadParameter: a count is outside its range, or the numbers of images differ.
    """
    k = check_counts("clean_right", clean_right, clean_draws)
    r = check_counts("right", right, draws)
    z = two_sided_z(confidence)
    if k.size != r.size:
        raise BadParameter(f"clean_right holds {k.size} images, right {r.size}: pair them by image id first")
    initially = float(k.sum() / clean_draws)
    if initially == 0 or (clean_draws == 1) != (draws == 1):
        return None
    if clean_draws == 1:
        lost = int(((k == 1) & (r == 0)).sum())
        return Success(lost / initially, *wilson(lost, int(initially), confidence), initially)
    twice = k * (k - 1) / (clean_draws * (clean_draws - 1))
    if not twice.any():
        return None
    lost_terms = twice - k / clean_draws * r / draws
    estimate = float(lost_terms.sum() / twice.sum())
    residual = (lost_terms - estimate * twice) / twice.mean()
    # Where little or nothing can be resampled, as `mean_interval`.
    interval = wilson_limits(min(max(estimate, 0.0), 1.0) * initially, initially, z)
    if np.ptp(residual) >= TIE:
        around, _ = bootstrap(residual, rng, confidence)
        widest, interval = interval, Interval(estimate + around.low, estimate + around.high)
        if rests_on_few(residual):
            interval = Interval(min(interval.low, widest.low), max(interval.high, widest.high))
    return Success(estimate, min(interval.low, estimate), max(min(interval.high, 1.0), estimate), initially)
