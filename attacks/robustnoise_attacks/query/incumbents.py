"""What is known of every image's best candidate, and when to believe it."""

from __future__ import annotations

import os

import torch
from scipy.special import stdtrit
from torch import Tensor

from robustnoise.api import BLOCK
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.claims import exceeds

PHI = float(os.environ.get("PHI", 0.9))
BETA = float(os.environ.get("BETA", 0.0))
MOST = int(os.environ.get("MOST", 32))
TRIAL = 20
"""Draws of a noisy victim that must all be wrong before an image counts as done: with 95 % confidence the answer is
then wrong at a rate of 0.86 or more (0.05 ** (1 / 20))."""
ENOUGH = int(os.environ.get("ENOUGH", 4))
"""Draws, in units of the attack's `draws`, after which an incumbent is no longer asked at each comparison."""
RATE = 0.5
"""Of wrong answers, that a claim on a noisy victim says is reached."""


class Incumbents:
    """The best candidates, `Asker.best`, with the mean margin of their draws.

    A deterministic victim is asked about a candidate once, and an image is done at its first misclassification.

    A noisy victim's lucky draws never decide. A challenger that looks better is asked again, and the second answers
    alone decide and count. An incumbent is asked again before each comparison, until it has `ENOUGH` draws, and
    compared by the mean of all of them. While all of its draws are wrong it stands trial: nobody challenges it until
    either `TRIAL` draws that didn't choose it are wrong too, which makes the image done, or one is right. The last
    `TRIAL` draws of a budget, a tenth of it at most, go to the incumbent: claims rest on them, and nothing else does.
    All of this is paid for.

    Args:
        asker: the books.
        cost: queries that an attack spends on a challenger beside asking about it.
    """

    def __init__(self, asker: Asker, cost: int = 0) -> None:
        self._asker = asker
        n = len(asker.ids)
        self._sum, self._squares, self._freedom = torch.zeros(3, n, dtype=torch.float64)
        self._rival_sum, self._rival_squares = torch.zeros(2, n, dtype=torch.float64)
        self._draws, self._seen = torch.zeros(2, n, dtype=torch.int64)
        self._rival = asker.best.clone() if asker.noisy else asker.best
        self._duel, self._owed, self.won = torch.zeros(3, n, dtype=torch.bool)
        self._fresh, self._wrong = torch.zeros(2, n, dtype=torch.int64)
        """Draws since the incumbent was chosen, and since the last ones began."""
        self.done = torch.zeros(n, dtype=torch.bool)
        self._all_wrong, self._last = torch.zeros(2, n, dtype=torch.bool)
        self._kept = (asker.limit // 10).clamp(max=TRIAL)
        self._cost = cost

    def start(self) -> None:
        """Ask about every image as it is, where it can pay."""
        self._ask_incumbents(self._asker.can_pay(1).nonzero()[:, 0])

    @property
    def claimed(self) -> Tensor:
        """(n,) bool: images whose incumbent is misclassified, in at least half of the answers of a noisy victim."""
        if not self._asker.noisy:
            return self.done.clone()
        told: Tensor = self._last & exceeds(self._wrong, self._fresh, RATE)
        return self.done | told

    def open(self) -> Tensor:
        """(m,) int64 rows that have a challenger to pay for and none under way, after whatever has to be asked first.

        Nobody is left where it is empty. A victim answers whole blocks, so as many rows are handed out as fill theirs,
        those first that were asked least: which ones is no matter to an image, as each has its own numbers.
        """
        asker = self._asker
        while True:
            able = asker.can_pay(1) if asker.noisy else self._left() >= 0
            rows = (~self.done & able).nonzero()[:, 0]
            if not asker.noisy or not len(rows):
                return self._fill(rows)
            self._begin_last(rows[~self._duel[rows] & ~self._last[rows] & (self._left()[rows] < 0)])
            ready = ~(self._duel | self._last | self._owed | self._on_trial())[rows]
            if bool(ready.any()):
                return rows[ready]
            self._look(self._fill(rows))

    def _on_trial(self) -> Tensor:
        on_trial: Tensor = self._all_wrong & (self._wrong == self._fresh)
        return on_trial

    def _left(self) -> Tensor:
        """(n,) int64 queries that are left beside a challenge; below 0 there is to be none."""
        asker = self._asker
        left: Tensor = asker.limit - asker.spent - self._cost
        return left - (2 * asker.draws + self._kept if asker.noisy else 1)

    def _begin_last(self, rows: Tensor) -> None:
        """What was asked until now may have kept an incumbent or sent it off: the claim counts what comes."""
        self._last[rows] = True
        self._fresh[rows], self._wrong[rows] = 0, 0

    def challenge(self, x: Tensor, rows: Tensor) -> None:
        """Set the challengers `x` (m, C, H, W) against the incumbents of `rows`; `won` tells once they are open again.

        They must be images as they would be handed in (`Asker.inside`): what is asked about is what counts.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        self.won[rows] = False
        if self._asker.noisy:
            self._rival[rows], self._duel[rows] = x, True
            self._seen[rows], self._rival_sum[rows], self._rival_squares[rows] = 0, 0.0, 0.0
            waiting = self._duel | self._last | self._owed | self._on_trial()
            self._look(self._fill((waiting & ~self.done & self._asker.can_pay(1)).nonzero()[:, 0]))
            return
        mean = self._sum[rows] / self._draws[rows]
        seen = self._asker.observe(x, rows)
        won: Tensor = seen.margins.mean(1) < mean
        won |= seen.wrong[:, 0]  # the label decides where it and the scores disagree
        winners = rows[won]
        self._crown(winners, x[won])
        self._sum[winners], self._draws[winners] = seen.margins[won, 0].to(self._sum.dtype), 1
        self._all_wrong[winners] = seen.wrong[won, 0]
        self._settle()

    def _crown(self, rows: Tensor, x: Tensor) -> None:
        """Replace the incumbents; the draws that chose the new ones don't count."""
        self._asker.best.index_copy_(0, rows, x)
        self._sum[rows], self._draws[rows] = 0.0, 0
        self._fresh[rows], self._wrong[rows] = 0, 0
        self._all_wrong[rows] = False
        self.won[rows] = True

    def _look(self, rows: Tensor) -> None:
        """Ask once, `draws` times, about each of `rows`: its challenger or its incumbent, whichever has fewer draws."""
        rival = self._duel[rows] & (self._seen[rows] <= self._draws[rows]) & (self._draws[rows] > 0)
        x = torch.where(rival.view(-1, 1, 1, 1), self._rival[rows], self._asker.best[rows])
        seen = self._asker.observe(x, rows)
        margins = seen.margins.double()
        of, kept = rows[rival], rows[~rival]
        self._rival_sum[of] += margins[rival].sum(1)
        self._rival_squares[of] += margins[rival].square().sum(1)
        self._seen[of] += self._asker.draws
        self._book(kept, margins[~rival], seen.wrong[~rival])
        self._decide(rows[self._duel[rows]])
        self._settle()

    def _decide(self, rows: Tensor) -> None:
        asker, k = self._asker, self._seen[rows].double()
        mean = self._rival_sum[rows] / k.clamp_min(1)
        draws = self._draws[rows].double()
        lead = self._sum[rows] / draws.clamp_min(1) - mean
        squares = (self._rival_squares[rows] - k * mean.square()).clamp_min(0)
        freedom = (self._freedom[rows] + k - 1).clamp_min(1)
        variance = (self._squares[rows] + squares) / freedom
        t = torch.from_numpy(stdtrit(freedom.numpy(), PHI))
        margin = t * (variance * (1 / k.clamp_min(1) + 1 / draws.clamp_min(1))).sqrt()
        known = (k > 0) & (draws > 0)
        won = known & (lead > margin)
        paid = (asker.limit - asker.spent - self._kept)[rows] < asker.draws
        lost = ~won & (known & ((lead <= BETA * margin) | (k >= MOST * asker.draws)) | paid)
        over = won | lost
        ended = rows[over]
        self._squares[ended] += squares[over]
        self._freedom[ended] += (k[over] - 1).clamp_min(0)
        self._duel[ended] = False
        self._crown(rows[won], self._rival[rows[won]])
        self._owed[ended] = self._draws[ended] < ENOUGH * asker.draws

    def _ask_incumbents(self, rows: Tensor) -> None:
        seen = self._asker.observe(self._asker.best[rows], rows)
        self._book(rows, seen.margins.double(), seen.wrong)
        self._settle()

    def _book(self, rows: Tensor, margins: Tensor, wrong: Tensor) -> None:
        k = margins.shape[1]
        before, mean = self._draws[rows].double(), margins.mean(1)
        gap = torch.where(before > 0, self._sum[rows] / before.clamp_min(1) - mean, 0.0)
        self._squares[rows] += (margins - mean[:, None]).square().sum(1) + gap.square() * before * k / (before + k)
        self._freedom[rows] += torch.where(before > 0, k, k - 1)
        self._all_wrong[rows] |= (before == 0) & wrong.all(1)
        self._sum[rows] += margins.sum(1)
        self._draws[rows] += k
        self._fresh[rows] += k
        self._wrong[rows] += wrong.sum(1)
        self._owed[rows] = False

    def _settle(self) -> None:
        if self._asker.noisy:
            self.done |= self._all_wrong & (self._wrong == self._fresh) & (self._fresh >= TRIAL)
        else:
            self.done |= self._all_wrong

    def _fill(self, rows: Tensor) -> Tensor:
        """`rows`, or the least asked of them where they fill more than a block."""
        if len(rows) <= BLOCK:
            return rows
        least: Tensor = self._asker.spent[rows].argsort(stable=True)[: len(rows) // BLOCK * BLOCK]
        return rows[least]
