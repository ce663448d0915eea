"""What is known of every image's best candidate, and when to believe it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.api import BLOCK
from robustnoise_attacks.query.asking import Asker

TRIAL = 20
"""Fresh draws of a noisy victim that must all be wrong before an image counts as done: with 95 % confidence the answer
is then wrong at a rate of 0.86 or more (0.05 ** (1 / 20))."""
ENOUGH = 10
"""Fresh draws, in units of the attack's `draws`, after which an incumbent is no longer asked at each comparison."""
CLAIM = (5, 1.645)
"""A claim on a noisy victim: this many fresh draws or more, and a one-sided test at 5 % says that half are wrong."""


class Incumbents:
    """The best candidates, `Asker.best`, with the mean margin of their draws.

    A deterministic victim is asked about a candidate once, and an image is done at its first misclassification. With a
    noisy victim the draws in which a challenger won are lucky, so they don't count once it has become the incumbent:
    it is asked afresh before each of its comparisons, up to `ENOUGH`, and compared by the mean of all these draws.
    While all of them are wrong it stands trial: nobody challenges it until `TRIAL` draws are wrong, which makes the
    image done, or one is right.

    Args:
        asker: the books.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        n = len(asker.ids)
        self._sum = torch.zeros(n)
        self._draws, self._wrong = torch.zeros(2, n, dtype=torch.int64)
        self.done = torch.zeros(n, dtype=torch.bool)

    def start(self) -> None:
        """Ask about every image as it is, where it can pay."""
        self._measure(self._asker.can_pay(1).nonzero()[:, 0])

    @property
    def claimed(self) -> Tensor:
        """(n,) bool: images whose incumbent is misclassified, in at least half of the answers of a noisy victim."""
        if not self._asker.noisy:
            return self.done.clone()
        least, quantile = CLAIM
        sure: Tensor = 2 * self._wrong - self._draws > quantile * self._draws.sqrt()
        return sure & (self._draws >= least)

    def open(self) -> Tensor:
        """(m,) int64 rows that have a challenger to pay for, after asking their incumbents again where that is due.

        Nobody is left where it is empty. A victim answers whole blocks, so as many rows are handed out as fill theirs,
        those first that were asked least: which ones is no matter to an image, as each has its own numbers.
        """
        asker = self._asker
        while True:
            live = self._fill((~self.done & asker.can_pay(1)).nonzero()[:, 0])
            if not asker.noisy or not len(live):
                return live
            due = self._draws[live] < ENOUGH * asker.draws
            self._measure(live[due | (self._draws[live] == self._wrong[live])])
            ready = ~self.done & (self._wrong < self._draws) & asker.can_pay(1)
            if len(live := live[ready[live]]):
                return live

    def _fill(self, rows: Tensor) -> Tensor:
        """`rows`, or the least asked of them where they fill more than a block."""
        if len(rows) <= BLOCK:
            return rows
        least: Tensor = self._asker.spent[rows].argsort(stable=True)[: len(rows) // BLOCK * BLOCK]
        return rows[least]

    def challenge(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m,) bool: the challengers `x` (m, C, H, W) that are better than the incumbents of `rows`, and replace them.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        asker = self._asker
        seen = asker.observe(x, rows)
        won: Tensor = seen.margins.mean(1) < self._sum[rows] / self._draws[rows]
        if not asker.noisy:
            won |= seen.wrong[:, 0]  # the label decides where it and the scores disagree
        winners = rows[won]
        asker.best.index_copy_(0, winners, x[won])
        if asker.noisy:
            self._sum[winners], self._draws[winners], self._wrong[winners] = 0.0, 0, 0
        else:
            self._sum[winners] = seen.margins[won, 0]
            self.done[rows] = seen.wrong[:, 0]
        return won

    def _measure(self, rows: Tensor) -> None:
        seen = self._asker.observe(self._asker.best[rows], rows)
        self._sum[rows] += seen.margins.sum(1)
        self._draws[rows] += self._asker.draws
        self._wrong[rows] += seen.wrong.sum(1)
        needed = TRIAL if self._asker.noisy else 1
        self.done |= (self._wrong == self._draws) & (self._draws >= needed)
