"""What is known of every image's best candidate, and when to believe it."""

from __future__ import annotations

import os

import torch
from scipy.special import stdtrit
from torch import Tensor

PHI = float(os.environ.get("PHI", 0.9))
BETA = float(os.environ.get("BETA", 0.0))
MOST = int(os.environ.get("MOST", 32))
KEEP = int(os.environ.get("KEEP", 0))

from robustnoise.api import BLOCK
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.claims import exceeds

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
        self._sum, self._ss, self._df, self._sq = torch.zeros(4, n, dtype=torch.float64)
        self._draws = torch.zeros(n, dtype=torch.int64)
        self._fresh, self._wrong = torch.zeros(2, n, dtype=torch.int64)
        """Draws since the incumbent was chosen, and since the last ones began."""
        self.done = torch.zeros(n, dtype=torch.bool)
        self._all_wrong, self._last = torch.zeros(2, n, dtype=torch.bool)
        self._kept = (asker.limit // 10).clamp(max=TRIAL)
        self._cost = cost

    def start(self) -> None:
        """Ask about every image as it is, where it can pay."""
        self._measure(self._asker.can_pay(1).nonzero()[:, 0])

    @property
    def claimed(self) -> Tensor:
        """(n,) bool: images whose incumbent is misclassified, in at least half of the answers of a noisy victim."""
        if not self._asker.noisy:
            return self.done.clone()
        told: Tensor = self._last & exceeds(self._wrong, self._fresh, RATE)
        return self.done | told

    def open(self) -> Tensor:
        """(m,) int64 rows that have a challenger to pay for, after asking their incumbents again where that is due.

        Nobody is left where it is empty. A victim answers whole blocks, so as many rows are handed out as fill theirs,
        those first that were asked least: which ones is no matter to an image, as each has its own numbers.
        """
        asker = self._asker
        while True:
            everyone = torch.arange(len(self.done))
            able = asker.can_pay(1) if asker.noisy else self._left(everyone) >= 0
            rows = self._fill(everyone[~self.done & able])
            if not asker.noisy or not len(rows):
                return rows
            due = ~self._last[rows] & ((self._draws[rows] < ENOUGH * asker.draws) | self._on_trial(rows))
            self._measure(rows[due])
            late = self._left(rows) < 0
            self._begin_last(rows[late & ~self._last[rows]])
            self._measure(rows[late & (~self.done & asker.can_pay(1))[rows]])
            ready = ~late & ~self.done[rows] & ~self._on_trial(rows)
            if bool(ready.any()):
                return rows[ready]

    def _on_trial(self, rows: Tensor) -> Tensor:
        on_trial: Tensor = self._all_wrong[rows] & (self._wrong[rows] == self._fresh[rows])
        return on_trial

    def _left(self, rows: Tensor) -> Tensor:
        """(m,) int64 queries that are left beside a challenge; below 0 there is to be none."""
        asker = self._asker
        left: Tensor = (asker.limit - asker.spent)[rows] - self._cost
        return left - (2 * asker.draws + self._kept[rows] if asker.noisy else 1)

    def _begin_last(self, rows: Tensor) -> None:
        """What was asked until now may have kept an incumbent or sent it off: the claim counts what comes."""
        self._last[rows] = True
        self._fresh[rows], self._wrong[rows] = 0, 0

    def challenge(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m,) bool: the challengers `x` (m, C, H, W) that are better than the incumbents of `rows`, and replace them.

        They must be images as they would be handed in (`Asker.inside`): what is asked about is what counts.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        asker = self._asker
        if asker.noisy:
            return self._duel(x, rows)
        mean = self._sum[rows] / self._draws[rows]
        seen = asker.observe(x, rows)
        won: Tensor = seen.margins.mean(1) < mean
        won |= seen.wrong[:, 0]  # the label decides where it and the scores disagree
        margins, wrong = seen.margins[won], seen.wrong[won]
        winners = rows[won]
        asker.best.index_copy_(0, winners, x[won])
        self._sum[winners], self._draws[winners] = margins.sum(1), asker.draws
        self._all_wrong[winners] = wrong.all(1)
        self._fresh[winners], self._wrong[winners] = 0, 0
        self._settle()
        return won

    def _duel(self, x: Tensor, rows: Tensor) -> Tensor:
        asker = self._asker
        n = len(rows)
        total, sq, count = torch.zeros(3, n, dtype=torch.float64)
        wrongs = torch.zeros(n)
        won = torch.zeros(n, dtype=torch.bool)
        live = torch.arange(n)
        while len(live):
            r = rows[live]
            seen = asker.observe(x[live], r)
            m = seen.margins.double()
            total[live] += m.sum(1)
            sq[live] += m.square().sum(1)
            count[live] += asker.draws
            wrongs[live] += seen.wrong.sum(1)
            mean_c = total[live] / count[live]
            n_i = self._draws[r].double()
            lead = self._sum[r] / n_i - mean_c
            ss_c = (sq[live] - total[live].square() / count[live]).clamp_min(0)
            df = self._df[r] + count[live] - 1
            s2 = (self._ss[r] + ss_c) / df.clamp_min(1)
            t = torch.from_numpy(stdtrit(df.clamp_min(1).numpy(), PHI))
            margin = t * (s2 * (1 / count[live] + 1 / n_i)).sqrt()
            sure = lead > margin
            won[live[sure]] = True
            out = (lead <= BETA * margin) | (count[live] >= MOST * asker.draws)
            out |= (asker.limit - asker.spent)[r] - self._kept[r] < 2 * asker.draws
            end = sure | out
            e = live[end]
            self._ss[rows[e]] += (sq[e] - total[e].square() / count[e]).clamp_min(0)
            self._df[rows[e]] += count[e] - 1
            live = live[~end]
            if len(live):
                self._measure(rows[live])
        winners = rows[won]
        asker.best.index_copy_(0, winners, x[won])
        if KEEP:
            self._sum[winners], self._sq[winners], self._draws[winners] = total[won], 0, count[won].long()
            self._all_wrong[winners] = wrongs[won] == count[won]
        else:
            self._sum[winners], self._draws[winners] = 0.0, 0
            self._all_wrong[winners] = False
        self._fresh[winners], self._wrong[winners] = 0, 0
        self._settle()
        return won

    def _measure(self, rows: Tensor) -> None:
        seen = self._asker.observe(self._asker.best[rows], rows)
        self._all_wrong[rows] |= (self._draws[rows] == 0) & seen.wrong.all(1)
        m = seen.margins.double()
        d = self._draws[rows].double()
        mb = m.mean(1)
        gap = torch.where(d > 0, self._sum[rows] / d.clamp_min(1) - mb, 0.0)
        b = asker_draws = self._asker.draws
        self._ss[rows] += (m - mb[:, None]).square().sum(1) + gap.square() * d * b / (d + b)
        self._df[rows] += torch.where(d > 0, b, b - 1)
        self._sum[rows] += m.sum(1)
        self._draws[rows] += self._asker.draws
        self._fresh[rows] += self._asker.draws
        self._wrong[rows] += seen.wrong.sum(1)
        self._settle()

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
