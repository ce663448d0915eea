"""NES: the gradient of the margin, estimated from random directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Access,
    AttackResult,
    AttackTraits,
    BadParameter,
    BlackBoxAttack,
    LaterField,
    Norm,
    Number,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.gradient.engine import unit
from robustnoise_attacks.query.asking import CALL, Asker, Draws, Queries
from robustnoise_attacks.query.incumbents import Incumbents
from robustnoise_attacks.query.own_numbers import OwnNumbers


@dataclass(frozen=True)
class NES(BlackBoxAttack):
    """Follows a gradient estimated from the margins at `samples` Gaussian neighbours, in projected steps.

    The neighbours are asked once each also of a noisy victim, as more directions average its noise as well as repeats
    do. Tiles leave fewer directions to tell apart; where their grid begins is drawn anew for each gradient. Every
    iterate, rounded as it would be handed in, is a challenger to the best image so far (`Incumbents`); the walk goes on
    from the iterate itself.
    """

    version = 2
    reference = (
        "Ilyas, Engstrom, Athalye, Lin 2018, arXiv 1804.08598 (the query-limited setting); "
        "tiles: Ilyas, Engstrom, Madry 2019, arXiv 1807.07978, section 3 (the data-dependent prior)"
    )

    queries: Queries = 2500
    draws: Draws = 1
    samples: Annotated[int, Field(ge=1, le=100_000, description="queries per gradient; even where antithetic")] = 50
    sigma: Annotated[
        Number,
        Field(
            gt=0,
            le=1,
            description="standard deviation of a neighbour, pixels in [0, 1]; a third of eps or more behind noise",
        ),
    ] = 0.01
    relative_step: Annotated[Number, Field(gt=0, le=4, description="step size as a share of eps")] = 0.2
    momentum: Annotated[Number, Field(ge=0, lt=1, description="weight of the earlier gradients in a step")] = 0.9
    antithetic: Annotated[bool, Field(description="ask at x + u and at x - u")] = True
    tile: Annotated[
        int,
        Field(ge=1, le=1024, description="side of the squares whose pixels move together, in pixels; 1 is the paper's"),
        LaterField(),
    ] = 1

    def check(self) -> None:
        """Refuse half a pair."""
        if self.antithetic and self.samples % 2:
            raise BadParameter(f"nes: samples = {self.samples}: expected an even number where antithetic = true.")

    @property
    def traits(self) -> AttackTraits:
        """Asks for scores."""
        return AttackTraits(access=Access.SCORES)

    def run(
        self, oracle: Oracle | None, seed_data: Split, targets: Targets, threat: ThreatModel, seeds: SeedStream
    ) -> AttackResult:
        """See `BlackBoxAttack.run`."""
        asker = Asker(oracle, targets, threat, queries=self.queries, draws=self.draws)
        incumbents = Incumbents(asker, cost=self.samples)
        numbers = OwnNumbers(seeds.child("directions"), targets.ids)
        x, mean = targets.x.clone(), torch.zeros_like(targets.x)
        turn = torch.zeros_like(targets.ids)
        step = self.relative_step * threat.eps
        with asker.until_spent():
            incumbents.start()
            while len(rows := incumbents.open()):
                gradient = self.gradient(asker, x[rows], rows, numbers, turn[rows])
                mean[rows] = self.momentum * mean[rows] + (1 - self.momentum) * gradient
                turn[rows] += 1
                # The walk goes down the margin.
                if threat.norm is Norm.LINF:
                    moved = x[rows] - step * mean[rows].sign()
                else:
                    moved = x[rows] - step * unit(mean[rows])
                x[rows] = threat.project(targets.x[rows], moved)
                incumbents.challenge(asker.inside(x[rows], rows), rows)
        return AttackResult(asker.best, asker.queries, incumbents.claimed, asker.trace)

    def gradient(self, asker: Asker, x: Tensor, rows: Tensor, numbers: OwnNumbers, turn: Tensor) -> Tensor:
        """(m, C, H, W) estimated gradient of the margin at `x` (m, C, H, W), neighbours clipped to [0, 1].

        Args:
            asker: asked `samples` times about each of `rows` (m,) int64.
            x: where, in [0, 1].
            rows: whose.
            numbers: of the directions.
            turn: (m,) int64, how many gradients each had before.

        Raises:
            BudgetExceeded: the total is spent.
        """
        directions = self.samples // 2 if self.antithetic else self.samples
        parts = []
        for part in torch.arange(len(rows)).split(max(1, CALL // self.samples)):
            u = self._directions(numbers, rows[part], turn[part], (directions, *x.shape[1:]))
            both = torch.cat([u, -u], 1) if self.antithetic else u
            near = (x[part, None] + self.sigma * both).clamp_(0, 1)
            margins = asker.neighbours(near, rows[part])
            if self.antithetic:
                weight = margins[:, :directions] - margins[:, directions:]
            else:
                # The mean as a baseline takes out the constant part, which is all noise.
                weight = margins - margins.mean(1, keepdim=True)
            parts.append(torch.einsum("mk,mkchw->mchw", weight, u) / (self.sigma * self.samples))
        return torch.cat(parts)

    def _directions(self, numbers: OwnNumbers, rows: Tensor, turn: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(m, k, C, H, W) standard normal, the same all over a tile.

        Args:
            numbers: of the directions.
            rows: (m,) int64, whose.
            turn: (m,) int64, how many gradients each had before.
            shape: (k, C, H, W).
        """
        if self.tile == 1:
            return numbers.normal(rows, turn, math.prod(shape)).view(-1, *shape)
        k, channels, height, width = shape
        # One tile more than cover a side, for the grid begins up to a tile before the image does.
        down, across = (-(-side // self.tile) + 1 for side in (height, width))
        drawn = numbers.normal(rows, turn, k * channels * down * across + 2)
        u = drawn[:, :-2].view(-1, k, channels, down, across)
        # Uniform, and of the same stream, which is read in one size only.
        begin = (torch.special.ndtr(drawn[:, -2:]) * self.tile).long().clamp(max=self.tile - 1)
        row = (torch.arange(height) + begin[:, :1]) // self.tile
        column = (torch.arange(width) + begin[:, 1:]) // self.tile
        image = torch.arange(len(rows))[:, None, None]
        return u.permute(0, 3, 4, 1, 2)[image, row[:, :, None], column[:, None, :]].permute(0, 3, 4, 1, 2)
