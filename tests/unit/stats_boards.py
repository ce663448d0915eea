"""Simulated boards whose true difference is known: two victims on images drawn from a population."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from robustnoise import stats
from robustnoise.report.ranking import Worst, ranks
from tests.unit.stats_helpers import Ints

DRAWS = 10


@dataclass(frozen=True)
class Population:
    """Images on which two victims are drawn apart with a known probability.

    Args:
        kind: ``"deterministic"`` pairs; ``"noisy pair"`` of which both answer at random on undecided images;
            ``"noise added"`` to a deterministic net, whose answers mostly stay; ``"vote added"``, where they nearly
            always stay.
        discordance: chance that one is right and the other wrong, each asked once.
        lean: from -1 to 1, how far discordant pairs favour the first victim; the truth is discordance * lean.
    """

    kind: str
    discordance: float
    lean: float

    @property
    def truth(self) -> float:
        """The expected difference of accuracy."""
        return self.discordance * self.lean

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, int, Ints, int]:
        """The arguments of `paired_delta` for n images."""
        p, q = self._chances(n, rng)
        if self.kind == "deterministic":
            return p.astype(int), 1, q.astype(int), 1
        q_draws = DRAWS if self.kind == "noisy pair" else 1
        return rng.binomial(DRAWS, p), DRAWS, rng.binomial(q_draws, q), q_draws

    def _chances(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(n,) chances of either victim to be right; an image is undecided at random, else both are right."""
        s, lean = self.discordance, self.lean
        first = rng.random(n) < (1 + lean) / 2  # whom a discordant pair would favour
        if self.kind == "deterministic":
            apart = rng.random(n) < s
            return np.where(apart, first, 1.0), np.where(apart, ~first, 1.0)
        if self.kind == "noisy pair":
            # p and q are u or 1 - u with u of mean 2/3: apart with chance u^2 + (1-u)^2 if they differ, leaning 2u - 1.
            u = rng.beta(2, 1, n)
            apart = rng.random(n) < s / (1 / 2 + 1 / 6)  # E u^2 + E (1 - u)^2
            first = rng.random(n) < (1 + 2 * lean) / 2  # E (2u - 1) = 1/3, half of 2/3
            return np.where(apart, np.where(first, u, 1 - u), 1.0), np.where(apart, np.where(first, 1 - u, u), 1.0)
        # The net's own answer is q; noise turns it with chance u.
        u = rng.beta(*((0.3, 0.3) if self.kind == "noise added" else (0.2, 1.8)), n)
        apart = rng.random(n) < s / (0.5 if self.kind == "noise added" else 0.1)
        return np.where(apart, np.where(first, u, 1 - u), 1.0), np.where(apart, ~first, 1.0)


def coverage(population: Population, n: int, boards: int, rng: np.random.Generator) -> float:
    """The share of simulated boards whose 95 % interval holds the truth."""
    held = 0
    for _ in range(boards):
        found = stats.paired_delta(*population.draw(n, rng), rng)
        held += found.low <= population.truth <= found.high
    return held / boards


def equal_victims(k: int, n: int, draws: int, rng: np.random.Generator, share: float) -> list[Worst]:
    """k victims of the same expected accuracy; undecided images, that share of all, each answers in its own way."""
    row: Any = SimpleNamespace(digest="row")
    undecided = rng.random(n) < share
    found = []
    for _ in range(k):
        chances = rng.beta(2, 2, n) if draws > 1 else rng.integers(0, 2, n).astype(float)
        right = rng.binomial(draws, np.where(undecided, chances, 1.0)).astype(np.float64)
        found.append(Worst(right, right, draws, row))
    return found


def false_splits(k: int, n: int, draws: int, boards: int, undecided: float = 0.2) -> float:
    """The share of boards on which equal victims get more than one rank."""
    rng = np.random.default_rng(1)
    parted = (any(r.place > 1 for r in ranks(equal_victims(k, n, draws, rng, undecided))) for _ in range(boards))
    return sum(parted) / boards
