"""The toys are what their descriptions say."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from robustnoise.api import L2, Linf, SeedStream, ThreatModel, create
from robustnoise.testing import CoinClassifier, linear_optimum, linear_toy, toy_dataset, toy_split


def test_the_coin_lands_as_it_is_weighted_and_does_not_look() -> None:
    coin = CoinClassifier(0.3, (1, 2, 2), num_classes=4)
    black, white = torch.zeros(20_000, 1, 2, 2), torch.ones(20_000, 1, 2, 2)
    labels = coin.predict(black, noise=SeedStream(0)).labels
    shares = torch.bincount(labels, minlength=4) / len(labels)
    # Five standard errors: 5 * sqrt(0.25 / 20000) = 0.018.
    assert shares.tolist() == pytest.approx([0.3, 0.7 / 3, 0.7 / 3, 0.7 / 3], abs=0.018)
    assert torch.equal(labels, coin.predict(white, noise=SeedStream(0)).labels)
    assert not torch.equal(labels, coin.predict(black, noise=SeedStream(1)).labels)
    assert coin.digest != CoinClassifier(0.31, (1, 2, 2), num_classes=4).digest


@pytest.mark.parametrize("threat", [Linf(0.1), L2(1.0)], ids=lambda t: t.norm.value)
def test_no_point_of_the_ball_beats_the_optimum_of_the_linear_toy(threat: ThreatModel) -> None:
    toy, split = linear_toy(), toy_split(20, num_classes=2)
    # Away from 0 and 1, so that nothing is clipped and the l2 optimum is exact as well.
    x, y = 0.45 + 0.1 * torch.from_numpy(split.floats()), torch.from_numpy(split.labels.copy())

    def losses(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return functional.cross_entropy(toy.logits(images, noise=SeedStream(0)), y, reduction="none")

    best = losses(linear_optimum(toy, x, y, threat))
    assert bool((best > losses(x)).all())
    # 200 steps: under l2 the part of the random start across the gradient only shrinks by 1/17 a step.
    found = create("crafter", "pgd", steps=200).craft(toy, x, y, threat, SeedStream(0))
    assert bool((losses(found) <= best + 1e-5).all())
    assert losses(found).mean().item() == pytest.approx(best.mean().item(), rel=1e-3)


def test_the_splits_are_disjoint_and_repeatable() -> None:
    data = toy_dataset(8)
    assert len({i for s in (data.train, data.attacker, data.validation, data.evaluation) for i in s.ids.tolist()}) == 32
    assert data.digest == toy_dataset(8).digest != toy_dataset(8, seed=1).digest
