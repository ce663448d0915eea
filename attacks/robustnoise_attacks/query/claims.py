"""When draws of a noisy victim's answers let an attack say that an image is misclassified at some rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ALPHA = 0.05
"""Of the one-sided binomial test behind a claim."""


def exceeds(wrong: Tensor, draws: Tensor, rate: float) -> Tensor:
    """(n,) bool: whether the answers are wrong at a rate above `rate`, by the exact one-sided binomial test at 5 %.

    Args:
        wrong: (n,) whole counts of wrong answers, in draws that nothing was chosen by.
        draws: (n,) how many there were; where there are too few for the test, the answer is no.
        rate: inside (0, 1).
    """
    from scipy.special import bdtrc

    p = bdtrc(wrong.double().numpy() - 1, draws.long().numpy(), rate)  # of so many wrong ones or more
    return torch.from_numpy(p <= ALPHA) & (wrong > 0)


def least_draws(rate: float) -> int:
    """So many draws at least, all of them wrong, exceed `rate`."""
    return math.ceil(math.log(ALPHA) / math.log(rate))
