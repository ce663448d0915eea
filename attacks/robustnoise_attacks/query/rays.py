"""RayS: a search among the corners' directions for the one in which the boundary is nearest."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from robustnoise.api import (
    AttackResult,
    AttackTraits,
    BadParameter,
    BlackBoxAttack,
    Norm,
    Oracle,
    SeedStream,
    Split,
    Targets,
    ThreatModel,
)
from robustnoise_attacks.query.asking import LEVELS, Draws, Queries
from robustnoise_attacks.query.deciding import Confidence, Decider

UP = float(os.environ.get("UP", 1.39))
SIDE = float(os.environ.get("SIDE", 0.85))
LEAD = float(os.environ.get("LEAD", 2))
BAR = float(os.environ.get("BAR", 2.3))
DMOST = int(os.environ.get("DMOST", 16))
TRY, NARROW, DOUBTED = range(3)


def _shift(p, by):
    return 1 / (1 + (1 / p - 1) * math.exp(-by))


NONE = LEVELS + 1
"""The radius, in levels, of an image that has no direction yet."""
MEASURED = 4
"""Times that the incumbent of a noisy victim is asked again, `draws` each, before it is believed."""


@dataclass(frozen=True)
class RayS(BlackBoxAttack):
    """Flips the signs of ever smaller blocks of a direction, and keeps a flip that still fools the victim nearer by.

    Distances are whole 8-bit levels, as the images handed in are. With a noisy victim the incumbent is asked again
    before its next comparisons and moves outward by a sixteenth when it fails; see `Decider` for the rest.
    """

    reference = "Chen & Gu 2020, arXiv 2006.12792, algorithms 1 to 3"

    queries: Queries = 2500
    draws: Draws = 5
    confidence: Confidence = 0.5

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
            raise BadParameter(f"rays: the directions are corners of a cube; expected linf, not {threat.norm}.")
        decider = Decider(oracle, targets, threat, queries=self.queries, draws=self.draws, confidence=self.confidence)
        with decider.until_spent():
            decider.start()
            (_NoisyRays if decider.noisy else _Rays)(decider, targets, threat).search()
        return AttackResult(decider.asker.best, decider.asker.queries, decider.claimed, decider.asker.trace)


class _Rays:
    def __init__(self, decider: Decider, targets: Targets, threat: ThreatModel) -> None:
        self.decider, self.x = decider, targets.x
        n = len(targets.ids)
        self.size = targets.x[0].numel()
        self.reach = math.floor(threat.eps * LEVELS + 1e-6)
        self.sign = torch.ones(n, self.size)
        self.radius = torch.full((n,), NONE)
        self.stage, self.block = torch.zeros(2, n, dtype=torch.int64)
        self.fresh = torch.ones(n, dtype=torch.bool)
        self.wrong, self.asked = torch.zeros(2, n)

    def search(self) -> None:
        while len(rows := self.decider.live(2 if self.decider.noisy else 1)):
            if self.decider.noisy:
                self._doubt(rows)
            candidate = self._flipped(rows)
            radius = self.radius[rows].clamp(max=LEVELS)
            hit = self.decider.fooled(self._at(rows, candidate, radius), rows)
            lost = rows[~hit & (self.radius[rows] == NONE)]
            self.decider.asker.best[lost] = self._at(lost, self.sign[lost], torch.full_like(lost, self.reach))
            if bool(hit.any()):
                self._narrow(rows[hit], candidate[hit], radius[hit])

    def _at(self, rows: Tensor, sign: Tensor, radius: Tensor) -> Tensor:
        step = radius[:, None] / LEVELS * sign
        return (self.x[rows] + step.view(-1, *self.x.shape[1:])).clamp(0, 1)

    def _flipped(self, rows: Tensor) -> Tensor:
        """The next candidates; the very first is the direction as it is."""
        length = torch.ceil(self.size / 2.0 ** self.stage[rows]).long()
        start = self.block[rows] * length
        place = torch.arange(self.size)
        flip = (place >= start[:, None]) & (place < (start + length)[:, None]) & ~self.fresh[rows][:, None]
        going = rows[~self.fresh[rows]]
        self.fresh[rows] = False
        self.block[going] += 1
        length = torch.ceil(self.size / 2.0 ** self.stage[going]).long()
        over = going[self.block[going] * length >= self.size]
        self.block[over] = 0
        self.stage[over] = (self.stage[over] + 1).clamp(max=math.ceil(math.log2(self.size)))
        return torch.where(flip, -self.sign[rows], self.sign[rows])

    def _narrow(self, rows: Tensor, sign: Tensor, high: Tensor) -> None:
        """Find the radius at which the new directions start to fool, from above; 0 doesn't."""
        low, noisy = torch.zeros_like(high), self.decider.noisy
        while True:
            enough = high - low <= 1
            if not noisy:
                enough |= high <= self.reach  # in the ball already
            open_ = (~enough & self.decider.asker.can_pay(1)[rows]).nonzero()[:, 0]
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) // 2
            if not noisy:
                # The ball's own radius first: all that is to be known is on which side of it the boundary lies.
                middle = torch.where(low[open_] < self.reach, self.reach, middle)
            fooled = self.decider.fooled(self._at(rows[open_], sign[open_], middle), rows[open_])
            high[open_] = torch.where(fooled, middle, high[open_])
            low[open_] = torch.where(fooled, low[open_], middle)
        self.sign[rows], self.radius[rows] = sign, high
        self.wrong[rows], self.asked[rows] = 0.0, 0.0
        handed = torch.full_like(high, self.reach) if noisy else high.clamp(max=self.reach)
        self.decider.asker.best[rows] = self._at(rows, sign, handed)
        self.decider.settle(rows, high <= self.reach)

    def _doubt(self, rows: Tensor) -> None:
        """Ask about the incumbents again: the draws that made them were lucky ones."""
        draws = self.decider.asker.draws
        due = rows[(self.radius[rows] < NONE) & (self.asked[rows] < MEASURED * draws)]
        share = self.decider.asker.wrong(self._at(due, self.sign[due], self.radius[due]), due)
        self.wrong[due] += share * draws
        self.asked[due] += draws
        out = due[self.wrong[due] < self.decider.confidence * self.asked[due]]
        self.radius[out] = (self.radius[out] + (self.radius[out] // 16).clamp_min(1)).clamp(max=LEVELS)
        self.wrong[out], self.asked[out] = 0.0, 0.0


class _NoisyRays(_Rays):
    def search(self) -> None:
        n, decider = len(self.radius), self.decider
        draws = decider.asker.draws
        phase = torch.full((n,), TRY)
        candidate = self.sign.clone()
        low, high = torch.zeros(2, n, dtype=torch.int64)
        llr, count = torch.zeros(2, n)
        c = decider.confidence
        more = _shift(c, UP)
        lo, hi = _shift(c, -SIDE), _shift(c, SIDE)
        bar = LEAD * math.log(hi * (1 - lo) / lo / (1 - hi)) / 2 - 1e-4
        while len(rows := decider.live(1)):
            new = rows[(phase[rows] == TRY) & (count[rows] == 0)]
            candidate[new] = self._flipped(new)
            p = phase[rows]
            middle = (low[rows] + high[rows]) // 2
            radius = torch.where(p == NARROW, middle, self.radius[rows].clamp(max=LEVELS))
            sign = torch.where((p == DOUBTED)[:, None], self.sign[rows], candidate[rows])
            wrong = decider.asker.wrong(self._at(rows, sign, radius), rows) * draws
            right = draws - wrong
            up = torch.where(p == TRY, math.log(more / c), math.log(hi / lo))
            down = torch.where(p == TRY, math.log((1 - more) / (1 - c)), math.log((1 - hi) / (1 - lo)))
            llr[rows] += wrong * up + right * down
            count[rows] += draws
            e, over = llr[rows], count[rows] >= DMOST * draws

            tried = p == TRY
            hit = tried & (e >= BAR)
            miss = tried & ~hit & ((e <= 0) | over)
            lost = rows[miss & (self.radius[rows] == NONE)]
            decider.asker.best[lost] = self._at(lost, self.sign[lost], torch.full_like(self.radius[lost], self.reach))
            low[rows[hit]], high[rows[hit]] = 0, radius[hit]

            told = (p == NARROW) & ((e.abs() >= bar) | over)
            high[rows[told & (e > 0)]] = middle[told & (e > 0)]
            low[rows[told & (e <= 0)]] = middle[told & (e <= 0)]
            found = told & (high[rows] - low[rows] <= 1)
            f = rows[found]
            self.sign[f], self.radius[f] = candidate[f], high[f]
            decider.asker.best[f] = self._at(f, self.sign[f], torch.full_like(high[f], self.reach))

            doubted = p == DOUBTED
            out = doubted & (e <= -bar)
            o = rows[out]
            self.radius[o] = (self.radius[o] + (self.radius[o] // 16).clamp_min(1)).clamp(max=LEVELS)
            believed = doubted & ~out & ((e >= bar) | (count[rows] >= MEASURED * draws))

            phase[rows[hit]] = NARROW
            phase[f] = DOUBTED
            phase[rows[believed]] = TRY
            reset = rows[hit | miss | told | out | believed]
            llr[reset], count[reset] = 0.0, 0.0
