"""Each image's own numbers: a function of (seed, id, turn), uniform, normal and without ties between images."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from robustnoise.seeds import SeedStream
from robustnoise_attacks.query.own_numbers import OwnNumbers

GOLDEN = 0x9E3779B97F4A7C15
SEEDS = SeedStream(1, ("numbers",))


def _splitmix(key: int, count: int) -> list[int]:
    """The generator of Steele, Lea and Flood 2014, figure 16, one word at a time."""
    words, state = [], key
    for _ in range(count):
        state = (state + GOLDEN) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(z ^ (z >> 31))
    return words


def test_the_words_are_those_of_splitmix64() -> None:
    numbers = OwnNumbers(SEEDS, torch.tensor([4, 9]))
    two_turns = torch.cat([numbers.uniform(torch.tensor([1]), turn, 3) for turn in (0, 1)], 1)
    assert two_turns[0].tolist() == [(w >> 11) / 2**53 for w in _splitmix(SEEDS.seed(9), 6)]


def test_neighbours_order_and_turns_of_others_change_nothing() -> None:
    many = OwnNumbers(SEEDS, torch.tensor([4, 9, 2]))
    alone = OwnNumbers(SEEDS, torch.tensor([2]))
    for draw in ("uniform", "normal"):
        mixed = getattr(many, draw)(torch.tensor([2, 0]), torch.tensor([5, 1]), 17)
        assert torch.equal(mixed[:1], getattr(alone, draw)(torch.tensor([0]), 5, 17))
        assert not torch.equal(mixed[0], mixed[1])
    other = OwnNumbers(SEEDS.child("other"), torch.tensor([2]))
    assert not torch.equal(other.uniform(torch.tensor([0]), 0, 9), alone.uniform(torch.tensor([0]), 0, 9))


def test_uniform_and_normal_within_and_across_images() -> None:
    numbers = OwnNumbers(SEEDS, torch.arange(200))
    rows = torch.arange(200)
    for draw, cdf in (("uniform", "uniform"), ("normal", "norm")):
        sample = getattr(numbers, draw)(rows, 3, 501).double().numpy()
        assert np.isfinite(sample).all()
        assert stats.kstest(sample.ravel(), cdf).pvalue > 1e-3
        assert stats.kstest(sample[:, 7], cdf).pvalue > 1e-3
        correlations = np.corrcoef(sample)[np.triu_indices(200, 1)]
        assert abs(correlations.std() * np.sqrt(501) - 1) < 0.05
