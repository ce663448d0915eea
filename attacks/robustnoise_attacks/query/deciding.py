"""What decision attacks share: when a candidate counts as misclassified, what is handed in, and what is claimed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import BudgetExceeded, Number, Oracle, Targets, ThreatModel
from robustnoise_attacks.query.asking import Asker
from robustnoise_attacks.query.claims import exceeds, least_draws

TRIAL = 20
"""Fresh draws of a noisy victim, kept back from the budget, that decide whether an image is claimed; more where so few
can't exceed the confidence, and a tenth of the budget at most."""
ENOUGH = 4
"""Draws, in units of the attack's `draws`, after which an incumbent is no longer asked again."""
Confidence = Annotated[
    Number,
    Field(gt=0, lt=1, description="rate of wrong answers from which a noisy victim counts as fooled by an image"),
]


class Decider:
    """Asks for labels, and keeps the image that each target would hand in, `best`: in the ball, on 8-bit levels.

    A deterministic victim is asked about a candidate once, and an image is done when the very image to be handed in was
    answered wrongly. With a noisy victim a candidate counts as misclassified if the share of wrong answers in `draws`
    fresh ones reaches the confidence. No image is done early then: one lucky draw would end it, and going on makes it
    fail more often. `best` is asked again beside each challenger, until it has `ENOUGH` draws, and gives way to one
    with as large a share of wrong answers or more. At the end every image stands trial in `TRIAL` draws that nothing
    was chosen by, and is claimed if an exact test of these says that its rate is above the confidence.

    Args:
        oracle: the victim's.
        targets: the images under attack.
        threat: norm and radius.
        queries: the most that the attack asks about one image.
        draws: how often a noisy victim is asked about a candidate.
        confidence: see above.
    """

    def __init__(
        self,
        oracle: Oracle | None,
        targets: Targets,
        threat: ThreatModel,
        *,
        queries: int,
        draws: int,
        confidence: float,
    ) -> None:
        self.asker = Asker(oracle, targets, threat, queries=queries, draws=draws)
        self.noisy = self.asker.noisy
        self.targets, self.threat, self.confidence = targets, threat, confidence
        n = len(targets.ids)
        self.done = torch.zeros(n, dtype=torch.bool)
        self.claimed = torch.zeros(n, dtype=torch.bool)
        self._wrong, self._asked = torch.zeros(2, n)
        self._kept = torch.zeros_like(self.asker.limit)
        if self.noisy:
            self._kept = (self.asker.limit // 10).clamp(max=max(TRIAL, least_draws(confidence)))
            self.asker.limit = self.asker.limit - self._kept

    def live(self, candidates: int = 1) -> Tensor:
        """(m,) int64 rows that aren't done and can pay for so many candidates."""
        return (~self.done & self.asker.can_pay(candidates)).nonzero()[:, 0]

    def fooled(self, x: Tensor, rows: Tensor) -> Tensor:
        """(m,) bool whether the victim misclassifies the candidates `x` (m, C, H, W); each costs `draws`.

        Raises:
            BudgetExceeded: the total is spent.
        """
        return self.asker.wrong(x, rows) >= self.confidence

    def start(self) -> None:
        """Ask a deterministic victim about the images as they are: some need no attack."""
        if not self.noisy:
            rows = self.live()
            self.settle(rows, self.asker.wrong(self.asker.best[rows], rows) > 0)

    def settle(self, rows: Tensor, wrong: Tensor) -> None:
        """The images `best` of `rows` (m,) were asked about: those that are `wrong` (m,) are done, unless by luck."""
        if not self.noisy:
            self.done[rows] |= wrong

    def try_inside(self, x: Tensor, rows: Tensor) -> Tensor:
        """Ask whether the candidates `x`, pulled into the ball, would do; those that do better become `best`.

        Returns:
            (m,) bool, whether the victim is fooled by what would be handed in.

        Raises:
            BudgetExceeded: the total is spent.
        """
        candidates = self.asker.inside(x, rows)
        share = self.asker.wrong(candidates, rows)
        better = self._better(share, rows) if self.noisy else torch.ones_like(share, dtype=torch.bool)
        self.asker.best[rows[better]] = candidates[better]
        fooled = share >= self.confidence
        self.settle(rows, fooled)
        return fooled

    def _better(self, share: Tensor, rows: Tensor) -> Tensor:
        draws = self.asker.draws
        due = rows[(self._asked[rows] > 0) & (self._asked[rows] < ENOUGH * draws) & self.asker.can_pay(1)[rows]]
        self._wrong[due] += self.asker.wrong(self.asker.best[due], due) * draws
        self._asked[due] += draws
        better: Tensor = share * self._asked[rows] >= self._wrong[rows]
        self._wrong[rows[better]] = share[better] * draws
        self._asked[rows[better]] = float(draws)
        return better

    @contextmanager
    def until_spent(self) -> Iterator[None]:
        """Ends the attack's loop when the total budget is spent; then holds the trial."""
        with self.asker.until_spent():
            with suppress(BudgetExceeded):
                yield
            self._trial()

    def _trial(self) -> None:
        if not self.noisy:
            self.claimed = self.done.clone()
            return
        self.asker.limit = self.asker.limit + self._kept
        for draws in self._kept.unique().tolist():
            rows = ((self._kept == draws) & (self._kept > 0)).nonzero()[:, 0]
            if len(rows):
                wrong = (self.asker.wrong(self.asker.best[rows], rows, draws) * draws).round()
                self.claimed[rows] = exceeds(wrong, torch.full_like(rows, draws), self.confidence)
