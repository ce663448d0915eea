"""What a set of draws says: verdicts, and the worst case over attacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustnoise.errors import BadParameter
from robustnoise.stats.common import Counts, Floats, check_counts, check_whole


def single(right: Counts, draws: int) -> float:
    """Expected accuracy in [0, 1]: the mean of right / draws, which may be the fractional counts of `worst_case`."""
    return float(check_counts("right", right, draws, whole=False).mean() / draws)


def any_fail(right: Counts, draws: int, m: int) -> float:
    """Accuracy in [0, 1] against a persistent attacker, who asks m times and wins if one answer is wrong.

    The mean over images of C(right, m) / C(draws, m): the share of the m-subsets of the draws that are right
    throughout. It is unbiased for mean p_i^m, which (right / draws)^m is not. This is one minus pass@k of Chen et al.,
    Evaluating Large Language Models Trained on Code (2021), with k = m and wrong answers as passes. Counts are whole
    and m in 1..draws; for a larger m there is no unbiased estimate.
    """
    counts = check_counts("right", right, draws)
    check_whole("m", m, 1, draws, "take more draws or a smaller m")
    survives = np.ones_like(counts)
    for asked in range(m):
        survives *= np.maximum(counts - asked, 0.0) / (draws - asked)
    return float(survives.mean())


def always_wrong(right: Counts) -> float:
    """Share in [0, 1] of images that are wrong in every draw (whole counts): the strictest attacker's claim.

    Its expectation is mean (1 - p_i)^R, which falls with the number of draws R: always report it beside R.
    """
    return float((check_counts("right", right, None) == 0).mean())


def worst_case(select_right: Sequence[Counts] | Counts, score_right: Sequence[Counts] | Counts) -> Floats:
    """Right counts under the worst attack of each image, float64 of shape (n,).

    Per image the attack with the fewest right answers on the select half is chosen, and its count on the score half
    returned. Of attacks tied on an image, the one with the fewest over all images of the select half: else attacks that
    do nothing would lift a victim that a strong one breaks. Attacks alike in that, too, are averaged, so no randomness
    is needed. Divide by the draws of the score half and pass the result to `mean_interval`, or the counts to `single`
    and `paired_delta`.

    Two halves, because the minimum of noisy counts is below the noise-free minimum: choosing and scoring on the same
    draws turns a coin that is right with probability 0.9 into 0.73 over twelve attacks (ten draws), though none does
    anything to it. On fresh draws the coin stays at 0.9. The choice can miss the truly worst attack, so the expected
    result is never below the true worst case, and reaches it as the select draws grow. A deterministic victim has one
    answer: there both arguments may be the same array and the result is the per-image minimum.

    Args:
        select_right: (attacks, n) whole counts, every attack with the same number of draws.
        score_right: the same shape, from draws independent of those in `select_right`.
    """
    chosen = [check_counts("select_right", row, None) for row in select_right]
    scored = [check_counts("score_right", row, None) for row in score_right]
    lengths = {row.size for row in (*chosen, *scored)}
    if len(chosen) != len(scored) or len(lengths) != 1:
        given = f"worst_case got {len(chosen)} select and {len(scored)} score rows of lengths {sorted(lengths)}"
        raise BadParameter(f"{given}: expected two (attacks, n) tables of one shape; pair attacks and images by id")
    table = np.asarray(chosen)
    _, place = np.unique(table.sum(axis=1), return_inverse=True)
    order = table * len(table) + place[:, None]
    return np.average(scored, axis=0, weights=np.equal(order, order.min(axis=0)))


def least_case(select_right: Sequence[Counts] | Counts, score_right: Sequence[Counts] | Counts) -> Floats:
    """As `worst_case`, with the worst attack of each image chosen on the draws that it is scored on; both halves count.

    In expectation never above the true worst case of a stochastic victim, as that of `worst_case` is never below. Both
    are the same of a deterministic victim, and of one attack, where nothing is chosen.
    """
    scored: Floats = np.asarray(score_right, np.float64)
    least: Floats = scored[0] if len(scored) == 1 else (scored + np.asarray(select_right)).min(axis=0) / 2
    return least
