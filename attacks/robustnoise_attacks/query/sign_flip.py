"""SignFlip: shrink the perturbation, flip a few of its signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BadParameter,
    BlackBoxAttack,
    Norm,
    Number,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.query.asking import Draws, Queries
from robustnoise_attacks.query.deciding import Confidence, Decider
from robustnoise_attacks.query.own_numbers import OwnNumbers
from robustnoise_attacks.query.starting import distance, far_images, to_boundary

WINDOW = 10
"""Rounds after which step and flips are adapted."""
GOOD, BAD = 0.7, 0.3
"""Shares of successes above and below which they grow and shrink."""
BACK = 1 / 16
"""Share of the radius by which a noisy victim's incumbent moves out when it fails as it is asked again."""
STEP, FLIPS = (1e-4, 0.1), (1e-4, 0.2)
"""Least and most of each."""


@dataclass(frozen=True)
class SignFlip(BlackBoxAttack):
    """In turns moves the perturbation by a random step into a smaller cube and flips the signs of a random few pixels.

    Whatever still fools the victim is kept. A step moves every pixel up or down by as much as the radius shrinks. What
    of a perturbation leaves [0, 1] is cut off for the victim alone: the pixel may come back by another flip. Step and
    share of flips grow with their successes in the last ten rounds and shrink without; in the authors' code each pixel
    has a share of its own, 1 % at most. See `Decider` for what is handed in.
    """

    version = 2
    reference = (
        "Chen, Zhang, Hu, Wu 2020 (ECCV), Boosting decision-based black-box adversarial attacks with random sign flip"
    )

    queries: Queries = 2500
    draws: Draws = 5
    confidence: Confidence = 0.5
    step: Annotated[Number, Field(gt=0, le=1, description="first cut of the radius, pixels in [0, 1]")] = 0.004
    flips: Annotated[Number, Field(gt=0, lt=1, description="first share of signs to flip")] = 0.001

    @property
    def traits(self) -> AttackTraits:
        """Asks for labels."""
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`.

        Raises:
            BadParameter: the norm is not l-infinity.
        """
        if threat.norm is not Norm.LINF:
            raise BadParameter(f"sign-flip: cuts a cube smaller; expected linf, not {threat.norm}.")
        decider = Decider(oracle, targets, threat, queries=self.queries, draws=self.draws, confidence=self.confidence)
        with decider.until_spent():
            decider.start()
            point, found = far_images(decider, seed_data, seeds)
            rows = decider.live()
            rows = rows[found[rows]]
            point[rows] = to_boundary(decider, point[rows], rows)
            self._shrink(decider, point - targets.x, found, seeds)
        return AttackResult(decider.asker.best, decider.asker.queries, decider.claimed, decider.asker.trace)

    def _shrink(self, decider: Decider, delta: torch.Tensor, found: torch.Tensor, seeds: SeedStream) -> None:
        x, size, n = decider.targets.x, delta[0].numel(), len(delta)
        numbers = OwnNumbers(seeds.child("flips"), decider.targets.ids)
        shifts = OwnNumbers(seeds.child("shifts"), decider.targets.ids)
        step, flips = torch.full((n,), self.step), torch.full((n,), self.flips)
        cuts, flipped, rounds = torch.zeros(3, n)
        turn = torch.zeros(n, dtype=torch.int64)
        while len(rows := decider.live(5)):
            rows = rows[found[rows]]
            if not len(rows):
                break
            radius = distance(delta[rows], torch.zeros_like(delta[rows]), Norm.LINF)
            # A noisy victim's image fails more often at the ball's full radius than on the way further in.
            least = torch.full_like(radius, decider.threat.eps if decider.noisy else 0.0).minimum(radius)
            cut = (radius - step[rows]).maximum(least).view(-1, 1, 1, 1)
            length = step[rows].view(-1, 1, 1, 1)
            up = shifts.uniform(rows, turn[rows], size).view(delta[rows].shape) < 0.5
            moved = delta[rows] + torch.where(up, length, -length)
            smaller = torch.minimum(torch.maximum(moved, -cut), cut)
            kept = decider.fooled((x[rows] + smaller).clamp(0, 1), rows)
            delta[rows[kept]] = smaller[kept]
            cuts[rows[kept]] += 1
            u = numbers.uniform(rows, turn[rows], size).float().view(delta[rows].shape)
            turned = torch.where(u < flips[rows].view(-1, 1, 1, 1), -delta[rows], delta[rows])
            kept = decider.fooled((x[rows] + turned).clamp(0, 1), rows)
            delta[rows[kept]] = turned[kept]
            flipped[rows[kept]] += 1
            turn[rows] += 1
            rounds[rows] += 1
            due = rows[rounds[rows] == WINDOW]
            step[due] = _adapted(step[due], cuts[due] / WINDOW, *STEP)
            flips[due] = _adapted(flips[due], flipped[due] / WINDOW, *FLIPS)
            cuts[due], flipped[due], rounds[due] = 0.0, 0.0, 0.0
            if decider.noisy:
                self._doubt(decider, delta, due[decider.asker.can_pay(1)[due]])
            # What is handed in is asked about once it can be expected to do.
            near = distance(delta[rows], torch.zeros_like(delta[rows]), Norm.LINF) <= decider.threat.eps
            close = rows[near | (rounds[rows] == 0)]
            if len(close):
                decider.try_inside((x[close] + delta[close]).clamp(0, 1), close)

    @staticmethod
    def _doubt(decider: Decider, delta: torch.Tensor, rows: torch.Tensor) -> None:
        """Ask a noisy victim about the incumbents again; those that owe their place to luck move out a little."""
        x, radius = decider.targets.x[rows], distance(delta[rows], torch.zeros_like(delta[rows]), Norm.LINF)
        lucky = ~decider.fooled((x + delta[rows]).clamp(0, 1), rows)
        wide, back = rows[lucky], radius[lucky].view(-1, 1, 1, 1)
        edge = delta[wide].abs() >= back * (1 - 1e-5)
        delta[wide] = torch.where(edge, delta[wide].sign() * back * (1 + BACK), delta[wide])


def _adapted(value: torch.Tensor, share: torch.Tensor, least: float, most: float) -> torch.Tensor:
    grown = torch.where(share > GOOD, value * 1.5, torch.where(share < BAD, value / 1.5, value))
    return grown.clamp(least, most)
