"""RayS's search where the victim is noisy: every comparison is a sequential test of its answers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustnoise_attacks.query.asking import LEVELS
from robustnoise_attacks.query.deciding import Decider
from robustnoise_attacks.query.rays_moves import NONE, Directions

CHALLENGE, NARROW, DOUBT = range(3)
"""What an image is asked about: a new direction at the old one's radius, the radius of one that won, and that of the
best direction once more."""
LOOKS = 16
"""Times that a test asks, `draws` each, before it ends undecided."""
PRO = 10.0
"""How many times likelier its answers must be if a challenger fools well than if it does no better than the incumbent,
which fools at a rate of the confidence."""
BETTER = 4.0
"""The odds of wrong answers of one that fools well, over those of the incumbent."""
AROUND = 7 / 3
"""A radius is too large or too small where the odds of wrong answers are so many times those of the confidence, or that
fraction of them: a rate of 0.7 or 0.3 of a confidence of one half."""
LEAD = 2
"""Answers of the one kind more than of the other that settle it, at a confidence of one half."""


class Wald(NamedTuple):
    """Wald's sequential test between two rates of wrong answers: what an answer adds to the log-likelihood ratio."""

    wrong: float
    right: float
    least: float
    most: float

    @classmethod
    def between(cls, low: float, high: float, least: float, most: float) -> Wald:
        return cls(math.log(high / low), math.log((1 - high) / (1 - low)), least, most)


class NoisySearch:
    """Of a noisy victim: each image is at a test of its own, and all are asked together.

    One lucky draw at a small radius used to make a bad direction the best one. Here a new direction is asked, at the
    radius where the best one fools at a rate of the confidence, until its answers are `PRO` times likelier under a rate
    well above than under that one, or less likely. Then its own radius is found by bisection, each step a test of
    whether it fools more or less often than the confidence, and is doubted once more, moving outward by a sixteenth
    as long as it fails. What is handed in is the best direction at the ball's full radius, where it fools most.

    Args:
        decider: what is asked, and what is handed in.
        directions: those of its targets.
    """

    def __init__(self, decider: Decider, directions: Directions) -> None:
        self._decider, self._directions = decider, directions
        n = len(directions.radius)
        self._phase = torch.full((n,), CHALLENGE)
        self._candidate = directions.sign.clone()
        self._low, self._high = torch.zeros(2, n, dtype=torch.int64)
        self._evidence, self._looks = torch.zeros(2, n)
        rate = decider.confidence
        self._better = Wald.between(rate, _shifted(rate, BETTER), 0.0, math.log(PRO))
        bar = LEAD * math.log(AROUND) - 1e-4
        self._side = Wald.between(_shifted(rate, 1 / AROUND), _shifted(rate, AROUND), -bar, bar)

    def run(self) -> None:
        """Ask until every image has spent its queries."""
        found, draws = self._directions, self._decider.asker.draws
        while len(rows := self._decider.live()):
            new = rows[(self._phase[rows] == CHALLENGE) & (self._looks[rows] == 0)]
            self._candidate[new] = found.flipped(new)
            phase = self._phase[rows]
            middle = (self._low[rows] + self._high[rows]) // 2
            radius = torch.where(phase == NARROW, middle, found.radius[rows].clamp(max=LEVELS))
            sign = torch.where((phase == CHALLENGE)[:, None], self._candidate[rows], found.sign[rows])
            wrong = self._decider.asker.wrong(found.at(rows, sign, radius), rows) * draws
            self._looks[rows] += 1
            for stage, test, step in (
                (CHALLENGE, self._better, self._challenged),
                (NARROW, self._side, self._narrowed),
                (DOUBT, self._side, self._doubted),
            ):
                at = phase == stage
                of = rows[at]
                self._evidence[of] += wrong[at] * test.wrong + (draws - wrong[at]) * test.right
                evidence = self._evidence[of]
                step(of, evidence >= test.most, evidence <= test.least)

    def _next(self, rows: Tensor, phase: int) -> None:
        self._phase[rows] = phase
        self._evidence[rows], self._looks[rows] = 0.0, 0.0

    def _challenged(self, rows: Tensor, won: Tensor, lost: Tensor) -> None:
        found = self._directions
        lost |= ~won & (self._looks[rows] >= LOOKS)
        nowhere = rows[lost & (found.radius[rows] == NONE)]
        self._decider.asker.best[nowhere] = found.at(nowhere, found.sign[nowhere], found.reach)
        better = rows[won]
        found.sign[better], found.radius[better] = self._candidate[better], found.radius[better].clamp(max=LEVELS)
        self._decider.asker.best[better] = found.at(better, found.sign[better], found.reach)
        self._low[better], self._high[better] = 0, found.radius[better]
        self._next(better, NARROW)
        self._next(rows[lost], CHALLENGE)

    def _narrowed(self, rows: Tensor, above: Tensor, below: Tensor) -> None:
        found = self._directions
        told = above | below | (self._looks[rows] >= LOOKS)
        high, of = (self._evidence[rows] > 0)[told], rows[told]
        middle = (self._low[of] + self._high[of]) // 2
        self._high[of[high]], self._low[of[~high]] = middle[high], middle[~high]
        self._next(of, NARROW)
        ends = of[self._high[of] - self._low[of] <= 1]
        found.radius[ends] = self._high[ends]
        self._next(ends, DOUBT)

    def _doubted(self, rows: Tensor, above: Tensor, below: Tensor) -> None:
        found, out = self._directions, rows[below]
        found.radius[out] = (found.radius[out] + (found.radius[out] // 16).clamp_min(1)).clamp(max=LEVELS)
        self._next(out, DOUBT)
        self._next(rows[~below & (above | (self._looks[rows] >= LOOKS))], CHALLENGE)


def _shifted(rate: float, odds: float) -> float:
    """`rate` with its odds multiplied."""
    return 1 / (1 + (1 / rate - 1) / odds)
