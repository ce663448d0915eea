"""RayS: a search among the corners' directions for the one in which the boundary is nearest."""

from __future__ import annotations

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
from robustnoise_attacks.query.rays_moves import NONE, Directions
from robustnoise_attacks.query.rays_noisy import NoisySearch


@dataclass(frozen=True)
class RayS(BlackBoxAttack):
    """Flips the signs of ever smaller blocks of a direction, and keeps a flip that still fools the victim nearer by.

    Distances are whole 8-bit levels, as the images handed in are. What a noisy victim's answers are trusted for is said
    at `NoisySearch`; see `Decider` for the rest.
    """

    version = 2
    reference = "Chen & Gu 2020, arXiv 2006.12792"

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
            directions = Directions(targets, threat)
            (NoisySearch if decider.noisy else Search)(decider, directions).run()
        return AttackResult(decider.asker.best, decider.asker.queries, decider.claimed, decider.asker.trace)


class Search:
    """Of a deterministic victim: whoever fools it once always does.

    Args:
        decider: what is asked, and what is handed in.
        directions: those of its targets.
    """

    def __init__(self, decider: Decider, directions: Directions) -> None:
        self._decider, self._directions = decider, directions

    def run(self) -> None:
        """Flip blocks until every image is done or has spent its queries."""
        found, best = self._directions, self._decider.asker.best
        while len(rows := self._decider.live()):
            candidate = found.flipped(rows)
            radius = found.radius[rows].clamp(max=LEVELS)
            hit = self._decider.fooled(found.at(rows, candidate, radius), rows)
            lost = rows[~hit & (found.radius[rows] == NONE)]
            best[lost] = found.at(lost, found.sign[lost], found.reach)
            if bool(hit.any()):
                self._narrow(rows[hit], candidate[hit], radius[hit])

    def _narrow(self, rows: Tensor, sign: Tensor, high: Tensor) -> None:
        """Find the radius at which the new directions start to fool, from above; 0 doesn't."""
        found, low = self._directions, torch.zeros_like(high)
        while True:
            enough = (high - low <= 1) | (high <= found.reach)  # in the ball already
            open_ = (~enough & self._decider.asker.can_pay(1)[rows]).nonzero()[:, 0]
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) // 2
            # The ball's own radius first: all that is to be known is on which side of it the boundary lies.
            middle = torch.where(low[open_] < found.reach, found.reach, middle)
            fooled = self._decider.fooled(found.at(rows[open_], sign[open_], middle), rows[open_])
            high[open_] = torch.where(fooled, middle, high[open_])
            low[open_] = torch.where(fooled, low[open_], middle)
        found.sign[rows], found.radius[rows] = sign, high
        self._decider.asker.best[rows] = found.at(rows, sign, high.clamp(max=found.reach))
        self._decider.settle(rows, high <= found.reach)
