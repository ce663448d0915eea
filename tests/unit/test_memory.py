"""Passes that several votes share are asked once, and the answers are the same as without memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from robustnoise.building import build
from robustnoise.harness.memory import Memory
from robustnoise.models.classifier import Wrapper
from robustnoise.protocols import Answer, Classifier, Context
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


def test_writing_to_an_answer_spoils_no_later_one() -> None:
    coin, remembering = CoinClassifier(0.6, SHAPE, CLASSES), Memory()
    expected = coin.predict(X, noise=SeedStream(1)).labels
    for _ in range(3):
        labels = remembering.recall(coin, X, SeedStream(1)).labels
        assert torch.equal(labels, expected)
        labels.fill_(-1)


def test_what_else_a_remembered_classifier_has_is_still_there() -> None:
    vote = Memory().attach(_voting("vote(3)", CoinClassifier(0.6, SHAPE, CLASSES)))
    assert isinstance(vote, Wrapper)
    inner: Any = copy.copy(vote.inner)
    assert inner.p == 0.6
    with pytest.raises(AttributeError, match="nothing"):
        _ = inner.nothing
