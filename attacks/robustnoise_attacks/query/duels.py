"""Whether one noisy candidate is better than another: a sequential test of the means of their draws."""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL, MOST = 0.95, 48
"""A challenger wins when its lead exceeds this quantile of what luck makes of no lead at all; after so many draws its
duel ends undecided, and so lost."""
LEVEL_OF_FEW, LOOKS = 0.8, 3
"""The same where several draws are a look, and the number of looks: luck has fewer chances then, and each is dearer."""


class Running:
    """Number, mean and scatter of the draws of one candidate of each of n images."""

    def __init__(self, n: int) -> None:
        self.count = torch.zeros(n, dtype=torch.int64)
        self.mean, self.scatter = torch.zeros(2, n, dtype=torch.float64)
        """Scatter: the sum of the squared distances from the mean."""

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Count the draws `values` (m, k) of `rows` (m,)."""
        values, k, before = values.double(), values.shape[1], self.count[rows]
        mean = values.mean(1)
        gap = mean - self.mean[rows]
        share = k / (before + k).double()
        self.scatter[rows] += (values - mean[:, None]).square().sum(1) + gap.square() * before * share
        self.mean[rows] += gap * share
        self.count[rows] += k

    def clear(self, rows: Tensor) -> None:
        """Forget the draws of `rows` (m,)."""
        self.count[rows], self.mean[rows], self.scatter[rows] = 0, 0.0, 0.0


class Duels:
    """Of each image's challenger with its incumbent, whose mean margins are to be told apart.

    After every look the lead of the challenger is compared with Student's quantile (`LEVEL`) of its standard error; the
    variance of a draw is pooled over all candidates that the image ever had. A challenger behind the incumbent has
    lost, so a bad one costs a draw or two and only one that is ahead goes on. Where the noise is weak the first look
    decides.

    Args:
        n: images.
        draws: of a look.
    """

    def __init__(self, n: int, draws: int = 1) -> None:
        self._level, self._most = (LEVEL, MOST) if draws == 1 else (LEVEL_OF_FEW, LOOKS * draws)
        self.incumbent, self.rival = Running(n), Running(n)
        self._scatter, self._freedom = torch.zeros(2, n, dtype=torch.float64)
        """Of the candidates that are gone."""

    def begin(self, rows: Tensor) -> None:
        """New challengers for `rows` (m,)."""
        self._leave(self.rival, rows)

    def crown(self, rows: Tensor) -> None:
        """The challengers of `rows` (m,) are the incumbents now; the draws that chose them don't count any more."""
        self._leave(self.incumbent, rows)

    def verdict(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(m,) bool challengers that have won, and (m,) bool that have lost; both False where more draws are wanted."""
        from scipy.special import stdtrit

        held, rival = self.incumbent, self.rival
        theirs, ours = rival.count[rows].double(), held.count[rows].double()
        lead = held.mean[rows] - rival.mean[rows]
        freedom = (self._freedom[rows] + ours + theirs - 2).clamp_min(1)
        variance = (self._scatter[rows] + held.scatter[rows] + rival.scatter[rows]) / freedom
        error = (variance * (1 / ours + 1 / theirs)).sqrt()
        asked = (theirs > 0) & (ours > 0)
        won = asked & (lead > torch.from_numpy(stdtrit(freedom.numpy(), self._level)) * error)
        return won, asked & ~won & ((lead <= 0) | (theirs >= self._most))

    def _leave(self, which: Running, rows: Tensor) -> None:
        self._scatter[rows] += which.scatter[rows]
        self._freedom[rows] += (which.count[rows] - 1).clamp_min(0)
        which.clear(rows)
