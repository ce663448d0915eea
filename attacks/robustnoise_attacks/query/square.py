"""Square: random search with square changes, which shrink as the budget is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Number,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.query.asking import Asker, Draws, Queries
from robustnoise_attacks.query.incumbents import Incumbents
from robustnoise_attacks.query.square_moves import moves

HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the search at which p is halved: after 10, 50, 200, 500, 1,000, 2,000, 4,000, 6,000, 8,000 of 10,000."""
LONG = 1000
"""Candidates of an image below which its squares shrink as in a search of so many, however soon the budget is spent:
large squares do most of the work of a short search."""
LONG_IN_NOISE = 10_000
"""The same against a noisy victim, as many as the paper's search has: noise hides what a small square changes."""


@dataclass(frozen=True)
class Square(BlackBoxAttack):
    """Changes one random square at a time and keeps what lowers the margin of the true class.

    l-infinity starts from vertical stripes and sets each square to one corner of the ball per channel; l2 starts from a
    grid of bumps and moves mass between two squares. The start is a challenger like the others, where the paper's
    always stands. The share of pixels in a square falls with the share of the budget that an image has spent, but
    an image with few candidates, for want of budget or because noise makes each cost many questions, gets only as far
    as it would in a search of `LONG` or `LONG_IN_NOISE`. What a noisy victim's answers are trusted for is said at
    `Incumbents`.
    """

    version = 3
    reference = "Andriushchenko, Croce, Flammarion, Hein 2020, arXiv 1912.00049"

    queries: Queries = 2500
    draws: Draws = 1
    p_init: Annotated[Number, Field(gt=0, le=1, description="share of the pixels that the first squares change")] = 0.8

    @property
    def traits(self) -> AttackTraits:
        """Asks for scores."""
        return AttackTraits(access=Access.SCORES)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        asker = Asker(oracle, targets, threat, queries=self.queries, draws=self.draws)
        incumbents = Incumbents(asker)
        made = moves(asker, targets, threat, seeds)
        turn = torch.zeros_like(targets.ids)
        with asker.until_spent():
            incumbents.start()
            while len(rows := incumbents.open()):
                share = self.share(asker.spent[rows].double() / asker.limit[rows], turn[rows], noisy=asker.noisy)
                x = made.next(rows, asker.best.index_select(0, rows), turn[rows], share)
                if bool((new := turn[rows] == 0).any()):
                    x[new] = made.first(rows[new])
                incumbents.challenge(x, rows)
                turn[rows] += 1
        return AttackResult(asker.best, asker.queries, incumbents.claimed, asker.trace)

    def share(self, spent: Tensor, turn: Tensor, *, noisy: bool) -> Tensor:
        """(m,) float64 share of the pixels to change.

        Args:
            spent: (m,) float64 share of each image's budget.
            turn: (m,) int64 candidates that each has had.
            noisy: whether the victim's answers are random.
        """
        done = torch.minimum(spent, turn.double() / (LONG_IN_NOISE if noisy else LONG))
        halvings = torch.bucketize(done, torch.tensor(HALVED, dtype=torch.float64))
        return self.p_init * 0.5 ** halvings.double()
