"""What is known of every image's best candidate, and when to believe it."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.api import BLOCK
from robustnoise_attacks.query.asking import Asker, Observed
from robustnoise_attacks.query.claims import exceeds
from robustnoise_attacks.query.duels import Duels

TRIAL = 20
"""Draws of a noisy victim that must all be wrong before an image counts as done: with 95 % confidence the answer is
then wrong at a rate of 0.86 or more (0.05 ** (1 / 20))."""
ENOUGH = 4
"""Draws after which an incumbent is no longer asked before each challenge; a duel asks again as often as it needs."""
RATE = 0.5
"""Of wrong answers, that a claim on a noisy victim says is reached."""


class Incumbents:
    """The best candidates, `Asker.best`, with the mean margin of their draws.

    A deterministic victim is asked about a candidate once, and an image is done at its first misclassification.

    A noisy victim's lucky draws never decide. A challenge is a duel (`Duels`): challenger and incumbent are asked in
    turns until the lead is more than luck, and the draws that chose a winner don't count afterwards. An incumbent is
    also asked before each challenge, until it has `ENOUGH` draws. While all of its draws are wrong it stands trial:
    nobody challenges it until either `TRIAL` draws that didn't choose it are wrong too, which makes the image done, or
    one is right. The last `TRIAL` draws of a budget, a tenth of it at most, go to the incumbent: claims rest on them,
    and nothing else does. All of this is paid for. Whatever is due is asked for all images in one call.

    Args:
        asker: the books.
        cost: queries that an attack spends on a challenger beside asking about it.
    """

    def __init__(self, asker: Asker, cost: int = 0) -> None:
        self._asker = asker
        n = len(asker.ids)
        self._duels = Duels(n, asker.draws)
        self._draws = self._duels.incumbent
        self._challengers = asker.best.clone() if asker.noisy else asker.best
        self._fresh, self._wrong = torch.zeros(2, n, dtype=torch.int64)
        """Draws since the incumbent was chosen, and since the last ones began."""
        self.done, self.won = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
        """Of `won`: whether the last challenger of each image was better, and replaced the incumbent."""
        self._all_wrong, self._last, self._challenged, self._owed = torch.zeros(4, n, dtype=torch.bool)
        self._kept = (asker.limit // 10).clamp(max=TRIAL)
        self._cost = cost

    def start(self) -> None:
        """Ask about every image as it is, where it can pay."""
        rows = self._asker.can_pay(1).nonzero()[:, 0]
        self._book(rows, self._asker.observe(self._asker.best[rows], rows))
        self._settle()

    @property
    def claimed(self) -> Tensor:
        """(n,) bool: images whose incumbent is misclassified, in at least half of the answers of a noisy victim."""
        if not self._asker.noisy:
            return self.done.clone()
        told: Tensor = self._last & exceeds(self._wrong, self._fresh, RATE)
        return self.done | told

    def open(self) -> Tensor:
        """(m,) int64 rows that have a challenger to pay for, after whatever has to be asked before.

        Nobody is left where it is empty. A victim answers whole blocks, so as many rows are asked as fill theirs, those
        first that were asked least: which ones is no matter to an image, as each has its own numbers.
        """
        asker = self._asker
        while True:
            if not asker.noisy:
                return self._fill((~self.done & (self._left() >= 0)).nonzero()[:, 0])
            rows = (~self.done & asker.can_pay(1)).nonzero()[:, 0]
            if not len(rows):
                return rows
            self._begin_last(rows[(~self._challenged & ~self._last & (self._left() < 0))[rows]])
            ready = rows[~self._due()[rows]]
            if len(ready):
                return ready
            self._look()

    def _due(self) -> Tensor:
        """(n,) bool: images to be asked about before they are challenged again."""
        on_trial = self._all_wrong & (self._wrong == self._fresh)
        due: Tensor = self._challenged | self._last | self._owed | on_trial
        return due

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
        """Set the challengers `x` (m, C, H, W) against the incumbents of `rows`; when they are open again, `won` tells.

        They must be images as they would be handed in (`Asker.inside`): what is asked about is what counts.

        Raises:
            BudgetExceeded: the total is spent; nothing is asked.
        """
        self.won[rows] = False
        if self._asker.noisy:
            self._challengers[rows], self._challenged[rows] = x, True
            self._duels.begin(rows)
            self._look()
            return
        seen = self._asker.observe(x, rows)
        # The label decides where it and the scores disagree.
        won = (seen.margins[:, 0] < self._draws.mean[rows]) | seen.wrong[:, 0]
        self._crown(rows[won], x[won])
        self._book(rows[won], Observed(seen.margins[won], seen.wrong[won]))
        self._settle()

    def _crown(self, rows: Tensor, x: Tensor) -> None:
        self._asker.best.index_copy_(0, rows, x)
        self._duels.crown(rows)
        self._fresh[rows], self._wrong[rows] = 0, 0
        self._all_wrong[rows] = False
        self.won[rows] = True

    def _look(self) -> None:
        """Ask once, `draws` times, about the challenger or the incumbent of each image where something is due."""
        rows = self._fill((self._due() & ~self.done & self._asker.can_pay(1)).nonzero()[:, 0])
        held, rival = self._draws.count[rows], self._duels.rival.count[rows]
        theirs = self._challenged[rows] & (rival <= held)
        x = torch.where(theirs.view(-1, 1, 1, 1), self._challengers[rows], self._asker.best[rows])
        seen = self._asker.observe(x, rows)
        self._duels.rival.add(rows[theirs], seen.margins[theirs])
        self._book(rows[~theirs], Observed(seen.margins[~theirs], seen.wrong[~theirs]))
        self._owed[rows[~theirs]] = False
        self._decide(rows[self._challenged[rows]])
        self._settle()

    def _decide(self, rows: Tensor) -> None:
        """End the duels of `rows` that are settled or can't be paid for any longer."""
        asker = self._asker
        won, lost = self._duels.verdict(rows)
        lost |= ~won & ((asker.limit - asker.spent - self._kept)[rows] < asker.draws)
        self._challenged[rows[won | lost]] = False
        winners = rows[won]
        self._crown(winners, self._challengers[winners])
        ended = rows[won | lost]
        self._owed[ended] = self._draws.count[ended] < ENOUGH

    def _book(self, rows: Tensor, seen: Observed) -> None:
        """What was seen of the incumbents of `rows`."""
        self._all_wrong[rows] |= (self._draws.count[rows] == 0) & seen.wrong.all(1)
        self._draws.add(rows, seen.margins)
        self._fresh[rows] += seen.wrong.shape[1]
        self._wrong[rows] += seen.wrong.sum(1)

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
