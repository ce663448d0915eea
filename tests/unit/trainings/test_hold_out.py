"""Early stopping on images that are not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustnoise.api import BadParameter, Classifier, Context, Linf, Schedule, SeedStream, build, fit
from robustnoise.building import from_json, spec_of
from robustnoise.testing import linear_optimum, linear_toy
from robustnoise.training import HeldOut, LiveSource, checkpoints
from robustnoise_defenses import PGDTraining, PlainTraining
from tests.unit.trainings.nets import DATA, IMAGES, LABELS, SHAPE, STREAM, fresh, same, split, state, trained


class Script:
    """Says after each epoch how many of the held-out images are right, and keeps the weights of that moment."""

    def __init__(self, *right: int) -> None:
        self.right, self.weights, self.modes = list(right), [], []  # type: ignore[var-annotated]

    def __call__(self, source: Classifier, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
        assert isinstance(source, LiveSource)
        self.weights.append({k: v.clone() for k, v in source.module.state_dict().items()})
        self.modes.append(any(m.training for m in source.module.modules()))
        return torch.arange(len(x)) < self.right[len(self.weights) - 1]


SCHEDULE = Schedule(epochs=4, learning_rate=0.02, batch_size=8)


def _fit(script: Script, ctx: Context | None = None, model: str = "norm-cnn(width=2)") -> dict[str, Tensor]:
    held_out = HeldOut(IMAGES[24:], LABELS[24:], script)
    return state(fit(fresh(model), IMAGES[:24], LABELS[:24], SCHEDULE, STREAM, held_out=held_out, ctx=ctx))


@pytest.mark.parametrize(
    ("right", "best"), [((3, 5, 4, 2), 1), ((5, 5, 3, 3), 1), ((0, 0, 0, 0), 3), ((8, 1, 1, 1), 0)]
)
def test_the_best_epoch_is_kept_and_of_equals_the_later(right: tuple[int, ...], best: int) -> None:
    script = Script(*right)
    found = _fit(script)
    assert all(torch.equal(found[k], v) for k, v in script.weights[best].items())
    assert not torch.equal(found["0.weight"], script.weights[(best + 1) % 4]["0.weight"])
    assert script.modes == [False] * 4


def test_judging_leaves_the_training_as_it_is() -> None:
    plain = fit(fresh("norm-cnn(width=2)"), IMAGES[:24], LABELS[:24], SCHEDULE, STREAM)
    assert all(torch.equal(v, state(plain)[k]) for k, v in _fit(Script(0, 1, 2, 3)).items())


class Interrupting:
    """Progress that stops a training after so many steps."""

    def __init__(self, after: int) -> None:
        self.after, self.done = after, 0

    def start(self, label: str, total: int) -> Interrupting:
        return self

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        if self.done >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [4, 7, 10])
def test_the_best_epoch_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "partial"
    right = (2, 6, 1, 3)
    whole = _fit(Script(*right))
    with pytest.raises(KeyboardInterrupt):
        _fit(Script(*right), Context(checkpoint=path, progress=Interrupting(after)))
    finished = (after - 1) // 3
    resumed = _fit(Script(*right[finished:]), Context(checkpoint=path))
    assert all(torch.equal(v, whole[k]) for k, v in resumed.items())


def test_held_out_images_are_the_last_and_are_not_trained_on() -> None:
    changed = split()
    images = changed.images.copy()
    images[24:] = 255 - images[24:]
    labels = changed.labels.copy()
    labels[24:] = 1 - labels[24:]  # inverted images of the other class: as hard as before
    other = type(changed)(changed.ids, images=images, labels=labels, num_classes=2, name="train")
    text = "plain-training(epochs=1, batch_size=8, hold_out=8)"
    assert same(trained(text), trained(text, ctx=Context(train=other, seed=5)))
    assert same(
        trained(text), trained("plain-training(epochs=1, batch_size=8)", ctx=Context(train=DATA.take(24), seed=5))
    )


def test_soft_labels_are_judged_by_the_largest() -> None:
    soft = torch.nn.functional.one_hot(LABELS, 2).float() * 0.8 + 0.1
    ctx = Context(train=DATA, seed=5, targets=soft)
    assert not same(trained("plain-training(epochs=2, hold_out=8)", ctx=ctx), fresh())


def test_plain_training_judges_images_as_they_are_and_adversarial_training_under_attack() -> None:
    toy = linear_toy(SHAPE)
    x = torch.rand(200, *SHAPE, generator=torch.Generator().manual_seed(0))
    y = toy.predict(x, noise=STREAM).labels
    source = LiveSource(toy.module, toy)
    assert PlainTraining().withstands(source, x, y, STREAM).all()
    found = PGDTraining(eps=0.05, ramp=0.5).withstands(source, x, y, STREAM)
    worst = toy.predict(linear_optimum(toy, x, y, Linf(0.05)), noise=STREAM).labels == y
    assert 20 < int(worst.sum()) < 180
    assert torch.equal(found, worst)


# ------------------------------------------------------------------------------------------------------------- identity

SPECS = {
    "plain-training": "510ca80f8772ebcb338f356d7e63a039f7be3be466222d45701e655442a83e81",
    "pgd-training": "ebccf5135aa20fd56fdddafc1c8f29981f15e4caca974b670d641a6b0351d57a",
    "fast-training": "29584d26f3ea233611f530dd6d68b299e4f91b8c76c4e28376c45b95133ddffe",
}
"""What these were before trainings could hold out images."""


@pytest.mark.parametrize("text", SPECS)
def test_specs_without_it_are_what_they_were(text: str) -> None:
    assert spec_of(build(text, "defense")).digest() == SPECS[text]


def test_with_it_the_spec_says_so_and_comes_back() -> None:
    plugin: Any = build("pgd-training(hold_out=100)", "defense")
    spec = spec_of(plugin)
    assert spec.params["hold_out"] == 100
    assert spec.digest() != SPECS["pgd-training"]
    assert from_json(spec.to_json()) == plugin
    assert from_json(spec_of(PGDTraining()).to_json()) == PGDTraining()


def test_checkpoints_of_before_are_still_known() -> None:
    """They name their training by the repr of its stages."""
    assert "hold_out" not in repr(PlainTraining())


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(
        BadParameter, match=r"hold_out = 32: leaves none of the 32 training images. Expected at most 31"
    ):
        trained("plain-training(hold_out=32)")
