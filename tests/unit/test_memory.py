"""Passes that several votes share are asked once, and the answers are the same as without memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from robustnoise.building import build
from robustnoise.harness.memory import Answers, Memory
from robustnoise.harness.scoring import most_frequent
from robustnoise.models.classifier import TorchClassifier, Wrapper
from robustnoise.protocols import Answer, Classifier, Context, require_modular
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import CLASSES, SHAPE, CoinClassifier, toy_model, toy_split

X = torch.from_numpy(toy_split(16).floats())


class Counting(CoinClassifier):
    asked = 0

    def predict(self, x: torch.Tensor, *, noise: SeedStream) -> Answer:
        type(self).asked += 1
        return super().predict(x, noise=noise)


def _voting(text: str, inner: Classifier) -> Classifier:
    return build(text, "defense").apply(inner, Context())


def test_votes_of_one_net_share_their_passes() -> None:
    coin, remembering = Counting(0.6, SHAPE, CLASSES), Memory()
    votes = [_voting(text, coin) for text in ("vote(8)", "vote(3)", "adaptive-vote(8)", "vote(8)")]
    expected = [v.predict(X, noise=SeedStream(1)).labels for v in votes]
    Counting.asked = 0
    votes = [remembering.attach(v) for v in votes]
    found = [v.predict(X, noise=SeedStream(1)).labels for v in votes]
    assert Counting.asked == 8
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_other_noise_other_images_and_other_nets_are_asked_again() -> None:
    remembering = Memory()
    Counting.asked = 0
    for p, x, seed in ((0.6, X, 1), (0.6, X, 2), (0.6, X.flip(0), 1), (0.7, X, 1)):
        vote = remembering.attach(_voting("vote(2)", Counting(p, SHAPE, CLASSES)))
        vote.predict(x, noise=SeedStream(seed))
    assert Counting.asked == 8


def test_a_full_memory_forgets_and_answers_the_same() -> None:
    coin = Counting(0.6, SHAPE, CLASSES)
    vote = _voting("vote(5)", coin)
    expected = vote.predict(X, noise=SeedStream(1)).labels
    for limit in (0, 300):
        remembering = Memory(limit).attach(vote)
        assert torch.equal(remembering.predict(X, noise=SeedStream(1)).labels, expected)
        assert torch.equal(remembering.predict(X, noise=SeedStream(1)).labels, expected)


def test_a_classifier_with_layers_or_without_noise_is_left_alone() -> None:
    model = toy_model()
    noisy = build("layer-noise(10, power=sample)", "defense").apply(model, Context())
    for classifier in (model, noisy, _voting("vote(3)", model)):
        assert Memory().attach(classifier) is classifier


def test_the_callers_own_classifier_is_not_changed() -> None:
    coin = Counting(0.6, SHAPE, CLASSES)
    vote = _voting("vote(3)", coin)
    assert isinstance(vote, Wrapper)
    Memory().attach(vote)
    assert vote.inner is coin


class Steady(TorchClassifier):
    """A net that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(toy_model().module, SHAPE, CLASSES)
        self.asked = 0

    def predict(self, x: torch.Tensor, *, noise: SeedStream) -> Answer:
        self.asked += 1
        return super().predict(x, noise=noise)


def _draws(classifier: Classifier, x: torch.Tensor = X) -> list[torch.Tensor]:
    return [classifier.predict(x, noise=SeedStream(draw)).labels for draw in range(4)]


@pytest.mark.parametrize(
    "text", ["output-noise(1.0)", "output-noise(1.0) | vote(3)", "output-noise(2.0) | output-noise(1.0)"]
)
def test_a_net_under_noisy_answers_is_asked_once_for_all_draws_and_victims(text: str) -> None:
    net, memory = Steady(), Memory()
    victims = [_voting(text, net), _voting("output-noise(0.5)", net)]
    expected = [_draws(v) for v in victims]
    net.asked = 0
    found = [_draws(memory.redrawn(v)) for v in victims]
    assert net.asked == 1
    assert all(torch.equal(a, b) for v, w in zip(expected, found, strict=True) for a, b in zip(v, w, strict=True))
    assert not torch.equal(expected[0][0], expected[0][1]), "noise is drawn anew"
    _draws(memory.redrawn(victims[0]), X.flip(0))
    assert net.asked == 2


def test_noise_that_changes_the_image_or_the_net_is_left_alone() -> None:
    model = toy_model()
    for text in ("gaussian-input-noise(0.1)", "layer-noise(10, power=sample)", "gaussian-input-noise(0.1) | vote(2)"):
        victim = _voting(text, model)
        assert Memory().redrawn(victim) is victim
    assert Memory().redrawn(model) is model


def test_a_most_frequent_answer_is_found_once_and_is_that_of_fresh_draws() -> None:
    coin, split = CoinClassifier(0.6, SHAPE, CLASSES), toy_split(16)
    loads: list[str] = []

    def load() -> Classifier:
        loads.append("loaded")
        return coin

    answers = Answers(Memory())
    for seed, images, draws in ((1, split, 5), (1, split, 5), (2, split, 5), (1, split.take(8), 5), (1, split, 3)):
        found = answers.most_frequent(coin.digest, load, images, draws, SeedStream(seed))
        assert (found == most_frequent(coin, images.images, draws, SeedStream(seed))).all()
    assert len(loads) == 4


def test_writing_to_an_answer_spoils_no_later_one() -> None:
    coin, remembering = CoinClassifier(0.6, SHAPE, CLASSES), Memory()
    expected = coin.predict(X, noise=SeedStream(1)).labels
    for _ in range(3):
        labels = remembering.recall(coin, coin.digest, X, SeedStream(1)).labels
        assert torch.equal(labels, expected)
        labels.fill_(-1)


def test_what_else_a_remembered_classifier_has_is_still_there() -> None:
    vote = Memory().attach(_voting("vote(3)", CoinClassifier(0.6, SHAPE, CLASSES)))
    assert isinstance(vote, Wrapper)
    inner: Any = copy.copy(vote.inner)
    assert inner.p == 0.6
    with pytest.raises(AttributeError, match="nothing"):
        _ = inner.nothing


class Reaching(Wrapper):
    """A stranger's, which moves the output layer each time before it asks."""

    def __init__(self, inner: Classifier, size: float) -> None:
        super().__init__(inner, build("output-noise", "defense"), stochastic=True, state=size)
        self.size = size

    def predict(self, x: torch.Tensor, *, noise: SeedStream) -> Answer:
        bias = list(require_modular(self.inner, "a test").module.parameters())[-1]
        before = bias.clone()
        try:
            bias.data.add_(self.size * torch.randn(bias.shape, generator=noise.generator("bias")))
            return self.inner.predict(x, noise=noise.child("inner"))
        finally:
            bias.data.copy_(before)


def test_what_a_stranger_does_to_the_network_is_done_in_every_draw_and_for_no_other_victim() -> None:
    noisy = build("layer-noise(10, power=sample)", "defense").apply(toy_model(), Context())
    for inner in (toy_model(), noisy):
        remembering = Memory()
        for size in (1.0, 5.0):
            victim = Reaching(inner, size)
            asked = remembering.redrawn(remembering.attach(victim))
            for draw in range(3):
                expected = victim.predict(X, noise=SeedStream(draw)).logits
                found = asked.predict(X, noise=SeedStream(draw)).logits
                assert expected is not None
                assert found is not None
                assert torch.equal(found, expected)
