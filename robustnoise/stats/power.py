"""What a number of images can resolve."""

from __future__ import annotations

import math
from typing import NamedTuple

from robustnoise.errors import BadParameter
from robustnoise.stats.common import NORMAL, Counts, check_counts, check_whole, two_sided_z


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
    check_whole("n", n, 1)
    if not 0 <= discordance <= 1:
        raise BadParameter(f"discordance {discordance!r}: expected a share in [0, 1]; divide discordant pairs by n")
    if not 0.5 <= power < 1:
        raise BadParameter(f"power {power!r}: expected a number in [0.5, 1), such as 0.8")
    z, z_power = two_sided_z(confidence), NORMAL.inv_cdf(power)
    inner = n + z_power**2 - z**2
    if discordance == 0 or inner < 0:
        return None
    delta = math.sqrt(discordance) * (z * math.sqrt(n) + z_power * math.sqrt(inner)) / (n + z_power**2)
    return delta if delta <= math.sqrt(discordance) else None


ENOUGH = 10
"""Expected discordant pairs from which the 95 % intervals cover as they claim (docs/reading-a-row.md)."""


class Resolution(NamedTuple):
    """What the images of a paired difference can resolve.

    Args:
        n: images.
        discordant: expected number of images, of n, that one victim has right and the other wrong when each is asked
            once; for deterministic victims the number of discordant pairs.
        discordance: mean d_i^2, the variance of a pair if there is no difference; for deterministic victims the share
            of discordant pairs.
        smallest: the smallest difference that n images resolve at that discordance (`smallest_delta`); None where they
            resolve none.
        delta: the difference seen.
    """

    n: int
    discordant: float
    discordance: float
    smallest: float | None
    delta: float

    @property
    def enough(self) -> bool:
        """Whether there are pairs enough for intervals to be trusted."""
        return self.discordant >= ENOUGH


def resolution(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int) -> Resolution:
    """What the images of `paired_delta` can resolve; the arguments are the same.

    With p_i = a_right_i / a_draws and q_i = b_right_i / b_draws, the draws of a and b being independent given the
    image, `discordant` = sum p_i (1 - q_i) + q_i (1 - p_i) is unbiased.
    """
    p = check_counts("a_right", a_right, a_draws, whole=False) / a_draws
    q = check_counts("b_right", b_right, b_draws, whole=False) / b_draws
    if p.size != q.size:
        raise BadParameter(f"a_right holds {p.size} images, b_right {q.size}: pair them by image id first")
    discordance = float(((p - q) ** 2).mean())
    discordant = float((p + q - 2 * p * q).sum())
    return Resolution(p.size, discordant, discordance, smallest_delta(p.size, discordance), float((p - q).mean()))


def too_few(a_right: Counts, a_draws: int, b_right: Counts, b_draws: int) -> str | None:
    """Why the n images are too few for the difference between two victims, as a sentence; None where they aren't.

    They are too few if fewer than 10 pairs are expected to be discordant (`Resolution.discordant`): then no interval is
    to be trusted to cover at its level. They are too few, too, if the difference that they resolve with 80 % power
    (`smallest_delta` at the discordance seen) is larger than the one seen: then it can't be told from 0, or, where its
    interval leaves 0 out, is likely to be overstated.

    Args:
        a_right: shape (n,), counts in 0..a_draws of the victim; the fractional counts of `worst_case` are welcome.
        a_draws: draws per image of the victim, >= 1.
        b_right: shape (n,), in 0..b_draws, of what it is compared with on the same images.
        b_draws: draws per image of that, >= 1.

    Raises:
        BadParameter: a count is outside its range, or the numbers of images differ.
    """
    found = resolution(a_right, a_draws, b_right, b_draws)
    if not found.enough:
        return (
            f"{found.discordant:.3g} discordant pairs are expected in n = {found.n:,}; fewer than {ENOUGH} say little."
        )
    points = f"the delta seen is {100 * found.delta:+.2g} points"
    if found.smallest is None:
        return f"n = {found.n:,} resolves no delta at this discordance; {points}."
    if abs(found.delta) < found.smallest:
        return f"n = {found.n:,} resolves deltas from {100 * found.smallest:.2g} points on; {points}."
    return None
