"""What is known of every image's best candidate, and when to believe it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.api import BLOCK
from robustnoise_attacks.query.asking import Asker

TRIAL = 20
"""Draws of a noisy victim that must all be wrong before an image counts as done: with 95 % confidence the answer is
then wrong at a rate of 0.86 or more (0.05 ** (1 / 20))."""
ENOUGH = 4
"""Draws, in units of the attack's `draws`, after which an incumbent is no longer asked at each comparison."""
LEAST, QUANTILE = 5, 1.645
"""A claim on a noisy victim: so many draws or more, and a one-sided test at 5 % says that half of the answers or more
are wrong."""


class Incumbents:
    """The best candidates, `Asker.best`, with the mean margin of their draws.

    A deterministic victim is asked about a candidate once, and an image is done at its first misclassification.

    A noisy victim's lucky draws never decide. A challenger that looks better is asked again, and the second answers
    alone decide and count. An incumbent is asked again before each comparison, until it has `ENOUGH` draws, and
    compared by the mean of all of them. While all of its draws are wrong it stands trial: nobody challenges it until
    either `TRIAL` draws are wrong, which makes the image done, or one is right. The last `TRIAL` draws of a budget, a
    tenth of it at most, go to the incumbent: the claims rest on them. All of this is paid for.

    Args:
        asker: the books.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        n = len(asker.ids)
        self._sum = torch.zeros(n)
        self._draws, self._wrong = torch.zeros(2, n, dtype=torch.int64)
        self.done = torch.zeros(n, dtype=torch.bool)
        self._kept = (asker.limit // 10).clamp(max=TRIAL)

    def start(self) -> None:
        """Ask about every image as it is, where it can pay."""
        self._measure(self._asker.can_pay(1).nonzero()[:, 0])

    @property
    def claimed(self) -> Tensor:
        """(n,) bool: images whose incumbent is misclassified, in at least half of the answers of a noisy victim."""
        if not self._asker.noisy:
            return self.done.clone()
        over_half = (2 * self._wrong - self._draws) / self._draws.clamp_min(1).sqrt()
        claimed: Tensor = (over_half > QUANTILE) & (self._draws >= LEAST)
        return claimed

    def open(self) -> Tensor:
        """(m,) int64 rows that have a challenger to pay for, after asking their incumbents again where that is due.

        Nobody is left where it is empty. A victim answers whole blocks, so as many rows are handed out as fill theirs,
        those first that were asked least: which ones is no matter to an image, as each has its own numbers.
        """
        asker = self._asker
        while True:
            rows = self._fill((~self.done & asker.can_pay(1)).nonzero()[:, 0])
            if not asker.noisy or not len(rows):
                return rows
            due = self._draws[rows] < ENOUGH * asker.draws
            self._measure(rows[due | (self._draws[rows] == self._wrong[rows])])
            late = self.left(rows) < 0
            self._measure(rows[late & (~self.done & asker.can_pay(1))[rows]])
            ready = ~late & ~self.done[rows] & (self._wrong < self._draws)[rows]
            if bool(ready.any()):
                return rows[ready]

    def left(self, rows: Tensor) -> Tensor:
        """(m,) int64 queries that are left beside a challenge; below 0 there is to be none."""
        asker = self._asker
        left: Tensor = (asker.limit - asker.spent)[rows]
        return left - (2 * asker.draws + self._kept[rows] if asker.noisy else 1)

    def challenge(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m,) bool: the challengers `x` (m, C, H, W) that are better than the incumbents of `rows`, and replace them.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        asker = self._asker
        mean = self._sum[rows] / self._draws[rows]
        seen = asker.observe(x, rows)
        won: Tensor = seen.margins.mean(1) < mean
        if asker.noisy:
            looks_better = won.nonzero()[:, 0]
            seen = asker.observe(x[looks_better], rows[looks_better])
            better = seen.margins.mean(1) < mean[looks_better]
            won = torch.zeros_like(won).index_fill_(0, looks_better[better], value=True)
            margins, wrong = seen.margins[better], seen.wrong[better]
        else:
            won |= seen.wrong[:, 0]  # the label decides where it and the scores disagree
            margins, wrong = seen.margins[won], seen.wrong[won]
        winners = rows[won]
        asker.best.index_copy_(0, winners, x[won])
        self._sum[winners], self._wrong[winners], self._draws[winners] = margins.sum(1), wrong.sum(1), asker.draws
        self._settle()
        return won

    def _measure(self, rows: Tensor) -> None:
        seen = self._asker.observe(self._asker.best[rows], rows)
        self._sum[rows] += seen.margins.sum(1)
        self._draws[rows] += self._asker.draws
        self._wrong[rows] += seen.wrong.sum(1)
        self._settle()

    def _settle(self) -> None:
        needed = TRIAL if self._asker.noisy else 1
        self.done |= (self._wrong == self._draws) & (self._draws >= needed)

    def _fill(self, rows: Tensor) -> Tensor:
        """`rows`, or the least asked of them where they fill more than a block."""
        if len(rows) <= BLOCK:
            return rows
        least: Tensor = self._asker.spent[rows].argsort(stable=True)[: len(rows) // BLOCK * BLOCK]
        return rows[least]
