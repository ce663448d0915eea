"""Ensemble adversarial training: which half is crafted, on what, and what the sources are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustnoise.api import (
    BadParameter,
    Classifier,
    Context,
    Crafter,
    Defense,
    DefenseTraits,
    Linf,
    SeedStream,
    Stage,
    ThreatModel,
    build,
)
from robustnoise.testing import linear_optimum, linear_toy
from robustnoise.training import LiveSource, checkpoints
from robustnoise_defenses import EnsembleTraining
from robustnoise_defenses.adversarial_training.ensemble import _Crafting
from tests.unit.trainings.nets import DATA, IMAGES, LABELS, SHAPE, STREAM, fresh, same, trained

QUICK = "model=mlp(hidden=4), training=plain-training(epochs=2, batch_size=16), epochs=3, batch_size=16"
ASKED: list[Classifier] = []


@dataclass(frozen=True)
class Noting(Crafter):
    """Keeps the source that it is given."""

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        ASKED.append(source)
        return x + 1


def test_the_second_half_is_crafted_as_fgsm_does_on_a_linear_source() -> None:
    toy = linear_toy(SHAPE)
    hook = _Crafting(EnsembleTraining(eps=0.1, ramp=0), [toy, toy])
    x, y = IMAGES[:9], LABELS[:9]
    found = hook.on_inputs(LiveSource(toy.module, toy), x, y, 0.0, SeedStream(0))
    assert torch.equal(found[:4], x[:4])
    assert torch.allclose(found[4:], linear_optimum(toy, x[4:], y[4:], Linf(0.1)))


def test_static_sources_and_the_network_itself_are_equally_likely() -> None:
    ASKED.clear()
    nets = [fresh(), fresh()]
    live = fresh()
    live.module.train()
    source = LiveSource(live.module, live)
    hook = _Crafting(EnsembleTraining(inner=Noting()), nets)
    for number in range(300):
        hook.on_inputs(source, IMAGES[:2], LABELS[:2], 1.0, SeedStream(number))
    for one in (*nets, source):
        assert 70 < sum(asked is one for asked in ASKED) < 130  # 100 expected, standard deviation 8
    assert live.module.training


@dataclass(frozen=True)
class Keeping(Defense):
    """A training that keeps what it is given."""

    traits = DefenseTraits(Stage.TRAINING)

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        GIVEN.append((model, ctx))
        return model

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        return self.train(model, ctx, (self,))


GIVEN: list[tuple[Classifier, Context]] = []


def test_sources_have_weights_and_streams_of_their_own_and_see_no_held_out_image() -> None:
    GIVEN.clear()
    training = replace(
        EnsembleTraining(sources=3, epochs=1, hold_out=8), training=Keeping(), model=build("mlp", "model")
    )
    training.apply(fresh(), Context(train=DATA, seed=5))
    assert len({model.digest for model, _ in GIVEN}) == 3
    assert len({ctx.seeds for _, ctx in GIVEN} | {STREAM}) == 4
    assert all(ctx.train is not None and ctx.train.ids.tolist() == list(range(24)) for _, ctx in GIVEN)


def test_it_depends_on_its_sources_and_on_nothing_else() -> None:
    found = trained(f"ensemble-training({QUICK})")
    assert same(found, trained(f"ensemble-training({QUICK})"))
    assert not same(found, trained(f"ensemble-training({QUICK}, sources=1)"))


def test_no_radius_is_plain_training() -> None:
    short = "epochs=3, batch_size=16"
    assert same(trained(f"ensemble-training({QUICK}, eps=0)"), trained(f"plain-training({short})"))


def test_checkpoints_of_sources_are_kept_while_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "partial"
    trained(f"ensemble-training({QUICK})", ctx=Context(train=DATA, seed=5, checkpoint=path))
    assert [p.name for p in tmp_path.iterdir()] == ["partial"]


def test_sources_that_are_not_trained_are_refused() -> None:
    with pytest.raises(BadParameter, match="expected training stages only"):
        build("ensemble-training(training=vote(3))", "defense")
