"""SimBA: one direction of an orthonormal basis after the other, forwards or backwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Access,
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
from robustnoise_attacks.query.asking import Asker, Draws, Queries
from robustnoise_attacks.query.incumbents import Incumbents
from robustnoise_attacks.query.own_numbers import OwnNumbers


@dataclass(frozen=True)
class SimBA(BlackBoxAttack):
    """Steps along one direction after the other, in random order, keeping a step or its opposite where it helps.

    A round takes every direction once; the next takes them in another order. Images are those that would be handed in,
    inside the ball and on 8-bit levels. A step that changes nothing, as at a pixel that can't grow, costs no query; an
    image that no direction changes any more, where steps are below half a level, is left with its budget unspent.
    What a noisy victim's answers are trusted for is said at `Incumbents`.
    """

    version = 2
    reference = "Guo, Gardner, You, Wilson, Weinberger 2019, arXiv 1905.07121"

    queries: Queries = 2500
    draws: Draws = 1
    basis: Annotated[Literal["pixel", "dct"], Field(description="single pixels, or cosine waves of low frequency")] = (
        "pixel"
    )
    relative_step: Annotated[
        Number | None,
        Field(
            gt=0,
            le=4,
            description="step as a share of eps: largest pixel in l-infinity, length in l2; none takes 1 and 0.2",
        ),
    ] = None
    frequencies: Annotated[
        Number, Field(gt=0, le=1, description="share of the frequencies of each side that dct uses, from the lowest")
    ] = 0.5

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
        linf = threat.norm is Norm.LINF
        step = threat.eps * (self.relative_step or (1.0 if linf else 0.2))
        waves = _Directions(self, targets, seeds, largest=linf)
        taken, idle = torch.zeros(2, len(targets.ids), dtype=torch.int64)
        back, tried, started = torch.zeros(3, len(targets.ids), dtype=torch.bool)
        with asker.until_spent():
            incumbents.start()
            while len(rows := incumbents.open()):
                over = (tried[rows] & incumbents.won[rows]) | back[rows]
                taken[rows] += (started[rows] & over).long()
                back[rows] = started[rows] & ~over
                started[rows] = True
                signed = torch.where(back[rows], -step, step).view(-1, 1, 1, 1)
                best = asker.best[rows]
                x = asker.inside(best + signed * waves.of(rows, taken[rows]), rows)
                tried[rows] = new = (x != best).flatten(1).any(1)
                idle[rows] = torch.where(new, 0, idle[rows] + 1)
                if bool(new.any()):
                    incumbents.challenge(x[new], rows[new])
                # Two rounds, forwards and backwards, hold a whole one, wherever they begin: the next is no other.
                stuck = rows[idle[rows] >= 4 * waves.size]
                asker.limit[stuck] = asker.spent[stuck]
        return AttackResult(asker.best, asker.queries, incumbents.claimed, asker.trace)


class _Directions:
    """The basis in each image's own order: products of one vector down and one across, in one channel."""

    def __init__(self, attack: SimBA, targets: Targets, seeds: SeedStream, *, largest: bool) -> None:
        _, self._channels, height, width = targets.x.shape
        share = attack.frequencies if attack.basis == "dct" else None
        self._down, self._across = (_vectors(side, share, largest) for side in (height, width))
        self.size = self._channels * len(self._down) * len(self._across)
        """Directions of a round."""
        self._numbers = OwnNumbers(seeds.child("order"), targets.ids)
        self._round = torch.full_like(targets.ids, -1)
        self._order = torch.zeros(len(targets.ids), self.size, dtype=torch.int32)

    def of(self, rows: Tensor, taken: Tensor) -> Tensor:
        """(m, C, H, W) direction number `taken` (m,) of each of `rows` (m,)."""
        number = taken // self.size
        stale = self._round[rows] != number
        if bool(stale.any()):
            shuffled = self._numbers.uniform(rows[stale], number[stale], self.size).argsort(1)
            self._order[rows[stale]] = shuffled.int()
            self._round[rows[stale]] = number[stale]
        which = self._order[rows, taken % self.size].long()
        plane, across = which // len(self._across), which % len(self._across)
        channel, down = plane // len(self._down), plane % len(self._down)
        out = torch.zeros(len(rows), self._channels, self._down.shape[1], self._across.shape[1])
        out[torch.arange(len(rows)), channel] = self._down[down][:, :, None] * self._across[across][:, None]
        return out


def _vectors(side: int, share: float | None, largest: bool) -> Tensor:
    """(k, side) the unit vectors, or the `share` of the cosine basis with the lowest frequencies.

    Args:
        side: pixels.
        share: None is the unit vectors.
        largest: scale to a largest entry of 1, not to length 1.
    """
    if share is None:
        return torch.eye(side)
    frequency = torch.arange(max(1, math.ceil(share * side)), dtype=torch.float64)[:, None]
    waves = torch.cos(math.pi / side * (torch.arange(side, dtype=torch.float64) + 0.5) * frequency)
    size = waves.abs().amax(1, keepdim=True) if largest else waves.norm(dim=1, keepdim=True)
    return (waves / size).float()
