"""Ensembles: their means in closed form, their draws, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustnoise.api import BadParameter, Ensemble, Ensembled, SeedStream, build
from robustnoise.protocols import Answer, Context, Differentiable
from robustnoise.testing import linear_toy, toy_model, toy_split

X = torch.from_numpy(toy_split(6).floats())
NOISE = SeedStream(3)


class Fixed:
    """The same logits for every image, whose gradient to it is 0."""

    stochastic = False
    passes = 2
    input_shape = (1, 8, 8)

    def __init__(self, *logits: float) -> None:
        self.values, self.num_classes, self.digest = torch.tensor(logits), len(logits), repr(logits)

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        return self.values.expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        return Answer(self.logits(x, noise=noise).argmax(1))


def test_means_of_two_fixed_models() -> None:
    low, high = Fixed(0.0, 0.0), Fixed(4.0, 0.0)
    share = 1 / (1 + math.exp(-4))
    assert torch.allclose(Ensemble((low, high), "logits").logits(X, noise=NOISE)[0], torch.tensor([2.0, 0.0]))
    for combine in ("probabilities", "losses"):
        answer = Ensemble((low, high), combine).predict(X, noise=NOISE)  # type: ignore[arg-type]
        assert answer.scores is not None
        assert answer.scores[0].tolist() == pytest.approx([(0.5 + share) / 2, (1.5 - share) / 2])


def test_what_it_says_of_itself() -> None:
    noisy = build("gaussian-input-noise(0.1)", "defense").apply(toy_model(), Context())
    a, b = toy_model(seed=1), toy_model(seed=2)
    whole = Ensemble((a, noisy), "losses")
    assert isinstance(whole, Ensembled)
    assert isinstance(whole, Differentiable)
    assert (whole.stochastic, whole.passes) == (True, 2)
    assert not Ensemble((a, b), "losses").stochastic
    assert Ensemble((Fixed(1, 0), Fixed(0, 1)), "logits").passes == 4
    assert len({Ensemble(m, c).digest for m in ((a, b), (b, a)) for c in ("logits", "losses")}) == 4  # type: ignore[arg-type]


def test_members_draw_apart() -> None:
    noisy = build("gaussian-input-noise(0.1)", "defense").apply(toy_model(), Context())
    first = noisy.logits(X, noise=NOISE.child("member", 0))
    second = noisy.logits(X, noise=NOISE.child("member", 1))
    assert not torch.equal(first, second)
    assert torch.equal(Ensemble((noisy, noisy), "logits").logits(X, noise=NOISE), torch.stack([first, second]).mean(0))


def test_ensembles_of_ensembles_weigh_every_network_alike() -> None:
    a, b, c = (toy_model(seed=s) for s in range(3))
    nested = Ensemble((Ensemble((a, b), "logits"), c), "logits")
    assert nested.members == (a, b, c)
    assert len(Ensemble((Ensemble((a, b), "logits"), c), "losses").members) == 2


def test_order_of_members_does_not_matter_without_noise() -> None:
    a, b = toy_model(seed=1), toy_model(seed=2)
    for combine in ("logits", "probabilities"):
        there, back = (Ensemble(m, combine).logits(X, noise=NOISE) for m in ((a, b), (b, a)))  # type: ignore[arg-type]
        assert torch.allclose(there, back, atol=1e-6)


@pytest.mark.parametrize("members", [(), (linear_toy(), toy_model())], ids=["none", "other classes"])
def test_it_refuses(members: tuple[Differentiable, ...]) -> None:
    with pytest.raises(BadParameter, match="expected at least one, all alike"):
        Ensemble(members, "logits")
