"""Where the variance of an accuracy comes from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from robustnoise.errors import BadParameter
from robustnoise.stats.common import Counts, Floats, check_counts


class Repeat(NamedTuple):
    """One of several measurements of the same thing on the same images.

    Args:
        right: shape (n,), whole counts in 0..draws.
        draws: per image.
        stochastic: whether the answers are random; a deterministic victim's draws have no variance.
        training: names the weights.
        attack: names the seed of the attack; the same for all where the attack has nothing random, or there is none.
    """

    right: Counts
    draws: int
    stochastic: bool
    training: Hashable
    attack: Hashable


class VarianceSplit(NamedTuple):
    """Parts of the variance of one measured accuracy (shares of 1, squared); None is what can't be told.

    Args:
        images: other images of the same population.
        draws: other scoring draws.
        attack: another seed of the attack, the weights being the same.
        training: another seed of the training, the attack being the same.
        seeds: another seed of both; None where one of them is the same throughout.
    """

    images: float | None
    draws: float | None
    attack: float | None
    training: float | None
    seeds: float | None


def variance_split(repeats: Sequence[Repeat]) -> VarianceSplit:
    """Split the variance of an accuracy into its sources, by the method of moments.

    With p_ij the share of right draws of image i in repeat j, R draws, n images and m_j = mean_i p_ij:
    - draws = mean_j sum_i p_ij (1 - p_ij) / (R - 1) / n^2;
    - images = mean over pairs j < k of cov_i(p_ij, p_ik) / n; for one repeat var_i(p_ij) / n - draws;
    - seeds = var_j(m_j) - draws;
    - training = the same within repeats of one `attack`, and attack within repeats of one `training`, pooled over their
      degrees of freedom.
    Variances are those with n - 1. An estimate below 0 is given as 0. What no two repeats tell apart is None: from
    seeds that change training and attack together `seeds` alone can be told. Between J repeats it has J - 1 degrees of
    freedom: read it with three or more.

    Args:
        repeats: at least one, on the same images, no two with the same training and attack.

    Raises:
        BadParameter: no repeat, other numbers of images, one image, or two repeats that differ in nothing.
    """
    if not repeats:
        raise BadParameter("variance_split got no repeats: expected at least one")
    if len({(r.training, r.attack) for r in repeats}) < len(repeats):
        raise BadParameter("two repeats have the same training and attack: leave one out, or name what differs")
    shares = [check_counts("right", r.right, r.draws) / r.draws for r in repeats]
    sizes = {s.size for s in shares}
    if len(sizes) > 1 or 1 in sizes:
        raise BadParameter(f"repeats hold {sorted(sizes)} images: expected the same two or more images in each")
    parts = [_draws(r, s) for r, s in zip(repeats, shares, strict=True)]
    told = [p for p in parts if p is not None]
    draws = float(np.mean(told)) if len(told) == len(parts) else None
    means = [float(s.mean()) for s in shares]

    def within(labels: Sequence[Hashable]) -> float | None:
        """The variance of the means of one label, less that of the draws."""
        groups = [[m for m, own in zip(means, labels, strict=True) if own == name] for name in set(labels)]
        freedom = sum(len(g) - 1 for g in groups)
        if not freedom or draws is None:
            return None
        squares = sum(float(np.var(g)) * len(g) for g in groups)
        return max(0.0, squares / freedom - draws)

    trainings, attacks = [r.training for r in repeats], [r.attack for r in repeats]
    both = min(len(set(trainings)), len(set(attacks))) > 1
    return VarianceSplit(
        images=_images(shares, draws),
        draws=draws,
        attack=within(trainings),
        training=within(attacks),
        seeds=within([None for _ in repeats]) if both else None,
    )


def _draws(repeat: Repeat, share: Floats) -> float | None:
    if not repeat.stochastic:
        return 0.0
    if repeat.draws == 1:
        return None
    return float((share * (1 - share)).sum() / (repeat.draws - 1) / share.size**2)


def _images(shares: Sequence[Floats], draws: float | None) -> float | None:
    if len(shares) == 1:
        return None if draws is None else max(0.0, float(shares[0].var(ddof=1)) / shares[0].size - draws)
    pairs = [float(np.cov(a, b)[0, 1]) for a, b in combinations(shares, 2)]
    return max(0.0, float(np.mean(pairs)) / shares[0].size)
