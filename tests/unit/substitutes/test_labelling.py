"""Majority relabelling: its error rate as the binomial says, its ties, and its bill to the row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustnoise.api import Access, Answer, Linf, SeedStream
from robustnoise.oracle import CountingOracle
from robustnoise.testing import CoinClassifier, toy_model
from robustnoise_attacks.substitutes.labelling import affordable, label, majority

SHAPE = (1, 8, 8)


def oracle(victim: object, total: int | None = None, access: Access = Access.LABELS) -> CountingOracle:
    return CountingOracle(victim, Linf(0.1, access), SeedStream(7), total=total)  # type: ignore[arg-type]


def images(n: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(n, *SHAPE), torch.arange(n)


@pytest.mark.parametrize("repeats", [1, 5, 21])
def test_errors_of_a_coins_majority_are_binomial(repeats: int) -> None:
    n, p = 4000, 0.7
    found = label(oracle(CoinClassifier(p, SHAPE, 2)), *images(n), repeats)
    wrong = sum(math.comb(repeats, k) * p**k * (1 - p) ** (repeats - k) for k in range(repeats // 2 + 1))
    deviation = math.sqrt(wrong * (1 - wrong) / n)
    assert (found.labels != 0).float().mean().item() == pytest.approx(wrong, abs=4 * deviation)


def test_majority_ties_and_abstentions() -> None:
    votes = torch.tensor([[2, 2, 1], [1, 1, 2], [-1, -1, 0], [-1, -1, -1], [2, 2, 2], [0, 1, 2], [-1, 2, 1]])
    assert majority(votes.T, 3).tolist() == [2, 1, 0, -1, 2, 0, 1]


@pytest.mark.parametrize(("total", "rows"), [(0, 0), (4, 0), (5, 1), (52, 10), (100, 20), (1000, 20)])
def test_it_labels_what_the_budget_pays_for(total: int, rows: int) -> None:
    asked = oracle(CoinClassifier(0.7, SHAPE), total)
    assert affordable(asked, 20, 5) == rows
    found = label(asked, *images(20), 5)
    assert len(found.labels) == rows
    assert asked.spent == 5 * rows
    assert set(asked.counts.values()) <= {5}


def test_a_victim_without_noise_is_asked_once() -> None:
    asked = oracle(toy_model(), 20)
    assert len(label(asked, *images(20), 5).labels) == asked.spent == 20


class Counter:
    """Says how often it was asked, as a score; two images in turn get 0.2 and 0.6 more."""

    stochastic = True
    passes = 1
    input_shape = SHAPE
    num_classes = 2
    digest = "counter"

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        first = torch.full((len(x),), 0.1 * self.calls)
        self.calls += 1
        scores = torch.stack([first, 1 - first], 1)
        return Answer(scores.argmax(1), scores)


def test_scores_are_the_mean_and_labels_the_majority() -> None:
    found = label(oracle(Counter(), access=Access.SCORES), *images(3), 7)  # 0, 0.1, ... 0.6
    assert found.scores is not None
    assert found.scores.shape == (3, 2)
    assert found.scores[:, 0].tolist() == pytest.approx([0.3] * 3)
    assert found.labels.tolist() == [1, 1, 1]  # 0.6 alone says 0
    assert label(oracle(Counter()), *images(3), 7).scores is None


def test_more_draws_never_depend_on_how_many_images_come_after() -> None:
    victim = CoinClassifier(0.7, SHAPE, 2)
    few, many = (label(oracle(victim), *images(n), 5).labels for n in (30, 60))
    assert torch.equal(few, many[:30])
