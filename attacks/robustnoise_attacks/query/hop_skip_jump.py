"""HopSkipJump: along the boundary, by a gradient estimated from labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BlackBoxAttack,
    Norm,
    Number,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.gradient.engine import unit
from robustnoise_attacks.query.asking import Draws, Queries
from robustnoise_attacks.query.deciding import Confidence, Decider
from robustnoise_attacks.query.own_numbers import OwnNumbers
from robustnoise_attacks.query.starting import distance, far_images, to_boundary

FIRST_PROBE = 0.1
"""How far neighbours lie in the first round, pixels in [0, 1]."""
NOISY_PROBE = 1.0
"""The same for a noisy victim, in every round, as a share of the l2 distance: its boundary is as wide as its noise, and
neighbours nearer than that say nothing of its direction."""
ROWS = 2048
"""Neighbours at a time, of whole images: few enough to stay in the cache."""
SEARCH = 20
"""Candidates kept back in a round for the step and the way to the boundary; half of what is left at most."""
HALVINGS = 12


@dataclass(frozen=True)
class HopSkipJump(BlackBoxAttack):
    """Asks about random neighbours of a boundary point, steps along the mean of those that fool, and goes back to it.

    Round t asks about ``evaluations * sqrt(t)`` neighbours, once each also of a noisy victim, as more directions
    average its noise as well as repeats do. A step starts at ``distance / sqrt(t)`` and is halved until it fools the
    victim, image by image. See `Decider` for what is handed in.

    A neighbour's part along the gradient is only ``probe / sqrt(pixels)`` of the distance, so a `probe` far above ART's
    0.01 still sees the boundary locally, and its labels say more.
    """

    reference = "Chen, Jordan, Wainwright 2020, arXiv 1904.02144"

    queries: Queries = 2500
    draws: Draws = 5
    confidence: Confidence = 0.5
    evaluations: Annotated[int, Field(ge=2, le=100_000, description="neighbours asked in the first round")] = 100
    most: Annotated[int, Field(ge=2, le=1_000_000, description="neighbours asked in a round at most")] = 10_000
    probe: Annotated[Number, Field(gt=0, le=1, description="how far neighbours lie, as a share of the distance")] = 0.5

    @property
    def traits(self) -> AttackTraits:
        """Asks for labels."""
        return AttackTraits()

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        decider = Decider(oracle, targets, threat, queries=self.queries, draws=self.draws, confidence=self.confidence)
        with decider.until_spent():
            decider.start()
            point, found = far_images(decider, seed_data, seeds)
            rows = decider.live()
            rows = rows[found[rows]]
            point[rows] = to_boundary(decider, point[rows], rows)
            number = 1
            while len(rows := self._able(decider, found)):
                point[rows] = self._round(decider, point[rows], rows, number, seeds)
                number += 1
        return AttackResult(decider.asker.best, decider.asker.queries, decider.claimed, decider.asker.trace)

    @staticmethod
    def _able(decider: Decider, found: Tensor) -> Tensor:
        """Rows that can pay for a few neighbours beside the search."""
        rows = decider.live(2)
        return rows[found[rows] & (_neighbours(decider, rows) >= 2)]

    def _round(self, decider: Decider, point: Tensor, rows: Tensor, number: int, seeds: SeedStream) -> Tensor:
        origin, norm = decider.targets.x[rows], decider.threat.norm
        far = distance(point, origin, norm)
        if decider.noisy:
            probe = NOISY_PROBE * distance(point, origin, Norm.L2)
        else:
            probe = torch.full_like(far, FIRST_PROBE) if number == 1 else self.probe * far
        probe = probe.clamp_min(1e-6)
        direction = self._gradient(decider, point, rows, probe, number, seeds)
        direction = direction.sign() if norm is Norm.LINF else unit(direction)
        stepped = _step(decider, point, rows, direction, far / math.sqrt(number))
        return to_boundary(decider, stepped, rows)

    def _gradient(
        self, decider: Decider, point: Tensor, rows: Tensor, probe: Tensor, number: int, seeds: SeedStream
    ) -> Tensor:
        """(m, C, H, W) estimated gradient of how far the victim is fooled, each with the neighbours it can pay for."""
        wanted = min(self.most, int(self.evaluations * math.sqrt(number)))
        counts = _neighbours(decider, rows).clamp(max=wanted)
        gradient = torch.zeros_like(point)
        for count in counts.unique().tolist():
            numbers = OwnNumbers(seeds.child("directions", number, count), decider.targets.ids)
            same = (counts == count).nonzero()[:, 0]
            for part in same.split(max(1, ROWS // count)):
                shape = (len(part), count, *point.shape[1:])
                numbers_of = numbers.signed if decider.threat.norm is Norm.LINF else numbers.normal
                draw = numbers_of(rows[part], 0, count * point[0].numel()).reshape(shape)
                reach = probe[part, None] / draw.flatten(2).norm(dim=2)
                near = draw.mul_(reach.view(len(part), count, 1, 1, 1)).add_(point[part, None]).clamp_(0, 1)
                sign = decider.asker.wrong_each(near, rows[part]).float() * 2 - 1
                mean = sign.mean(1, keepdim=True)
                weight = torch.where(mean.abs() == 1, sign, sign - mean)
                # The step takes the direction alone, so the neighbours' distance needs no dividing out.
                moved = near.sub_(point[part, None]).flatten(2)
                gradient[part] = torch.bmm(weight[:, None], moved).view_as(point[part])
        return gradient


def _neighbours(decider: Decider, rows: Tensor) -> Tensor:
    """(m,) int64 neighbours that each row can pay for beside the search."""
    left = (decider.asker.limit - decider.asker.spent)[rows]
    return left - (left // 2).clamp(max=SEARCH * decider.asker.draws)


def _step(decider: Decider, point: Tensor, rows: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """The points after the longest step of ``length / 2 ** j`` that still fools; as they were where none does."""
    out, length = point.clone(), length.clone()
    moving = torch.ones(len(rows), dtype=torch.bool)
    for _ in range(HALVINGS):
        # One candidate is kept for the ball.
        open_ = (moving & decider.asker.can_pay(2)[rows]).nonzero()[:, 0]
        if not len(open_):
            break
        candidate = (point[open_] + length[open_].view(-1, 1, 1, 1) * direction[open_]).clamp(0, 1)
        fooled = decider.fooled(candidate, rows[open_])
        out[open_[fooled]] = candidate[fooled]
        moving[open_[fooled]] = False
        length[open_] = length[open_] / 2
    return out
