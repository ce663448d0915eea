"""Passes that several votes share are asked once, and the answers are the same as without memory."""

from __future__ import annotations

import torch

from robustnoise.harness import memory
from robustnoise.harness.memory import Memory
from robustnoise.protocols import Answer, Classifier, Context
from robustnoise.registry import build
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
    for vote in votes:
        remembering.attach(vote)
    found = [v.predict(X, noise=SeedStream(1)).labels for v in votes]
    assert Counting.asked == 8
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_other_noise_other_images_and_other_nets_are_asked_again() -> None:
    remembering = Memory()
    Counting.asked = 0
    for p, x, seed in ((0.6, X, 1), (0.6, X, 2), (0.6, X.flip(0), 1), (0.7, X, 1)):
        vote = _voting("vote(2)", Counting(p, SHAPE, CLASSES))
        remembering.attach(vote)
        vote.predict(x, noise=SeedStream(seed))
    assert Counting.asked == 8


def test_a_full_memory_forgets_and_answers_the_same() -> None:
    coin, remembering = Counting(0.6, SHAPE, CLASSES), Memory()
    vote = _voting("vote(5)", coin)
    expected = vote.predict(X, noise=SeedStream(1)).labels
    memory_limit, memory.LIMIT = memory.LIMIT, 300
    try:
        remembering.attach(vote)
        assert torch.equal(vote.predict(X, noise=SeedStream(1)).labels, expected)
        assert torch.equal(vote.predict(X, noise=SeedStream(1)).labels, expected)
    finally:
        memory.LIMIT = memory_limit


def test_a_classifier_with_layers_or_without_noise_is_left_alone() -> None:
    model = toy_model()
    noisy = build("layer-noise(10, power=sample)", "defense").apply(model, Context())
    inner = noisy.inner
    for classifier in (model, noisy, _voting("vote(3)", model)):
        Memory().attach(classifier)
    assert noisy.inner is inner
