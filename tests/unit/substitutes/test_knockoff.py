"""Learning a victim's answers: scores as soft targets, labels as they are, and nothing of the attacker's own labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from robustnoise.api import (
    Access,
    Answer,
    BadParameter,
    Context,
    Linf,
    Schedule,
    SeedStream,
    build,
    create_model,
    fit,
    predict_blocks,
)
from robustnoise.data import Split
from robustnoise.oracle import CountingOracle
from robustnoise.testing import CoinClassifier, toy_model, toy_split
from robustnoise_attacks import KnockoffSubstitute

DATA = toy_split(40)
X = torch.from_numpy(DATA.floats())
CTX = Context(seed=SeedStream(5))
VICTIM = toy_model(seed=1)


def knockoff(text: str = "", *, epochs: int = 2, name: str = "knockoff") -> KnockoffSubstitute:
    training = f"training=plain-training(epochs={epochs}), model=mlp(hidden=16)"
    found = build(f"{name}({training}{', ' if text else ''}{text})", "substitute")
    assert isinstance(found, KnockoffSubstitute)
    return found


def oracle(victim: object = VICTIM, total: int | None = None, access: Access = Access.SCORES) -> CountingOracle:
    return CountingOracle(victim, Linf(0.1, access), SeedStream(7), total=total)  # type: ignore[arg-type]


class Sure:
    """The same answer to every image."""

    stochastic = False
    passes = 1
    input_shape = (1, 8, 8)
    num_classes = 3
    digest = "sure"

    def __init__(self, *scores: float, abstains: bool = False) -> None:
        self.scores, self.abstains = torch.tensor(scores), abstains

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        scores = self.scores.expand(len(x), -1)
        labels = scores.argmax(1)
        if self.abstains:
            labels = torch.where(x.flatten(1).mean(1) < 0.5, -1, labels)
        return Answer(labels, scores)


def test_scores_are_learned_as_they_are_and_labels_as_certain() -> None:
    victim, found = Sure(0.5, 0.3, 0.2), {}
    for answers in ("scores", "labels"):
        plugin = knockoff(f"answers={answers}", epochs=40)
        source = plugin.source(plugin.fit(oracle(victim), DATA, CTX), DATA, CTX)
        scores = predict_blocks(source, X, SeedStream(0)).scores
        assert scores is not None
        found[answers] = scores.mean(0).tolist()
    assert found["scores"] == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert found["labels"][0] > 0.95


def test_labels_are_learned_as_by_a_plain_training_on_them() -> None:
    fitted = knockoff("answers=labels").fit(oracle(access=Access.LABELS), DATA, CTX)
    fresh = create_model("mlp(hidden=16)", (1, 8, 8), 3, seed=CTX.seeds.child("weights"))
    labels = predict_blocks(VICTIM, X, SeedStream(0)).labels
    twin = fit(fresh, torch.from_numpy(DATA.images.copy()), labels, Schedule(2, 0.003, 100), CTX.seeds)
    assert fitted[0].digest == twin.digest


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_certain_scores_train_as_labels_do(smoothing: float) -> None:
    labels = torch.arange(40) % 3
    schedule = Schedule(3, 0.003, 10, smoothing=smoothing)
    hard = fit(toy_model(), X, labels, schedule, SeedStream(1))
    soft = fit(toy_model(), X, torch.nn.functional.one_hot(labels, 3).float(), schedule, SeedStream(1))
    for a, b in zip(hard.module.parameters(), soft.module.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_input_hooks_see_labels_where_scores_are_learned() -> None:
    seen: list[Tensor] = []

    class Hook:
        def on_inputs(self, source: object, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
            seen.append(y)
            return x

    fit(toy_model(), X[:2], torch.tensor([[0.6, 0.1, 0.3], [0.0, 0.2, 0.8]]), Schedule(1, 0.01, 2), SeedStream(1),
        hooks=[Hook()])  # fmt: skip
    assert sorted(seen[0].tolist()) == [0, 2]


def test_the_attackers_own_labels_do_not_matter() -> None:
    other = Split(DATA.ids, images=DATA.images, labels=np.zeros(40, np.int64), num_classes=3, name="relabelled")
    first, second = (knockoff().fit(oracle(), data, CTX)[0].digest for data in (DATA, other))
    assert first == second


@pytest.mark.parametrize(("total", "spent"), [(3, 3), (50, 48), (90, 90), (1000, 90)])
def test_its_bill_is_exact(total: int, spent: int) -> None:
    asked = oracle(CoinClassifier(0.7, num_classes=3), total, Access.LABELS)
    knockoff("answers=labels, queries=30, repeats=3").fit(asked, DATA, CTX)
    assert asked.spent == spent


def test_images_of_which_the_victim_abstains_are_left_out() -> None:
    kept = X.flatten(1).mean(1) >= 0.5
    rows = kept.nonzero()[:, 0].numpy()
    assert 0 < len(rows) < 40
    part = Split(DATA.ids[rows], images=DATA.images[rows], labels=DATA.labels[rows], num_classes=3, name="part")
    asked = oracle(Sure(0.5, 0.3, 0.2, abstains=True))
    some = knockoff().fit(asked, DATA, CTX)
    all_of_part = knockoff().fit(oracle(Sure(0.5, 0.3, 0.2)), part, CTX)
    assert some[0].digest == all_of_part[0].digest
    assert asked.spent == 40


def test_noise_of_the_attackers_own_goes_around_it() -> None:
    plugin = knockoff("noise=gaussian-input-noise(0.1)")
    assert plugin.source(plugin.fit(oracle(), DATA, CTX), DATA, CTX).stochastic


def test_traits_and_copycat() -> None:
    copycat = knockoff(name="copycat")
    assert copycat == knockoff("answers=labels")
    assert (copycat.traits.access, knockoff().traits.access) == (Access.LABELS, Access.SCORES)
    assert copycat.traits.queries
    both = build("both(copycat, knockoff)", "substitute")
    assert both.traits.access is Access.SCORES


def test_it_refuses() -> None:
    with pytest.raises(BadParameter, match="labels alone"):
        knockoff().fit(oracle(access=Access.LABELS), DATA, CTX)
    with pytest.raises(BadParameter, match="give it an oracle"):
        knockoff().fit(None, DATA, CTX)
    with pytest.raises(BadParameter, match="training stages only"):
        dataclasses.replace(knockoff(), training=build("vote(3)", "defense"))
