"""Training under noise: what each step meets, what it composes with, and that it can be interrupted."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise import building
from robustnoise.compose import Defense, Identity
from robustnoise.errors import BadParameter, BadSpec
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise.training import checkpoints
from robustnoise_attacks import PGD
from robustnoise_defenses import (
    ADC,
    DAC,
    ConductanceDrift,
    DeviceNoise,
    GaussianInputNoise,
    LayerNoise,
    NoiseTraining,
    PGDTraining,
    PlainTraining,
    StuckCells,
    WeightQuantiser,
)
from robustnoise_defenses.noise.inside import Effect, InsideDefense
from tests.unit.noise.nets import EveryKind, classifier, replaced_forwards, split

DATA = split(48)
PLAIN = PlainTraining(epochs=3, batch_size=16)
PGD_STEPS = 2


@dataclasses.dataclass
class Seen:
    """What the noise of a training was asked for."""

    extra: list[float] = dataclasses.field(default_factory=list)
    devices: list[SeedStream] = dataclasses.field(default_factory=list)
    forwards: int = 0
    added: list[Tensor] = dataclasses.field(default_factory=list)


SEEN = Seen()


@pytest.fixture(autouse=True)
def _reset() -> None:
    SEEN.__init__()  # type: ignore[misc]


class Counting(Effect):
    def on_input(self, name: str, a: Tensor, *rest: Any) -> Tensor:
        SEEN.forwards += 1
        return a

    def on_output(self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Any, *rest: Any) -> Tensor:
        added = (out - op(a, weight, None)).detach()
        SEEN.added.append(added - added.mean(0))
        return out


@dataclasses.dataclass(frozen=True)
class Spy(InsideDefense):
    traits = LayerNoise.traits

    def is_off(self) -> bool:
        return False

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        SEEN.extra.append(extra_db)
        SEEN.devices.append(stream)
        effect = Counting(names[-1:])
        effect.order = 99
        return effect


def net() -> Any:
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, 3)))


def train(defense: Defense, **ctx: Any) -> Any:
    return defense.apply(net(), Context(train=DATA, seed=5, **ctx))


# ---------------------------------------------------------------------------------------------------- what a step meets


def test_every_step_meets_the_noise_once() -> None:
    train(PLAIN | NoiseTraining(Spy()))
    assert SEEN.forwards == 9
    assert SEEN.extra == [0.0] * 9


@pytest.mark.parametrize(("while_crafting", "extra"), [(False, 0), (True, PGD_STEPS)])
def test_adversarial_images_are_crafted_with_or_without_it(while_crafting: bool, extra: int) -> None:
    leader = PGDTraining(epochs=1, batch_size=16, ramp=0.0, inner=PGD(steps=PGD_STEPS))
    train(leader | NoiseTraining(Spy(), while_crafting=while_crafting))
    assert SEEN.forwards == 3 * (1 + extra)


def test_adversary_and_loss_of_a_step_meet_one_ratio_and_one_device() -> None:
    leader = PGDTraining(epochs=1, batch_size=16, ramp=0.0, inner=PGD(steps=1))
    train(leader | NoiseTraining(Spy(), while_crafting=True, spread_db=10.0))
    assert len(SEEN.extra) == 6
    assert SEEN.extra[::2] == SEEN.extra[1::2]
    assert SEEN.devices[::2] == SEEN.devices[1::2]
    assert len(set(SEEN.devices)) == 3
    assert not torch.equal(SEEN.added[0], SEEN.added[1])


@pytest.mark.parametrize("while_crafting", [False, True])
def test_it_changes_what_adversarial_training_ends_in(while_crafting: bool) -> None:
    leader = PGDTraining(epochs=1, batch_size=16, inner=PGD(steps=1))
    victims = [
        train(leader),
        train(leader | NoiseTraining(LayerNoise(0), while_crafting=while_crafting)),
        train(leader | NoiseTraining(LayerNoise(0), while_crafting=not while_crafting)),
    ]
    assert len({v.digest for v in victims}) == 3


def test_the_ratio_is_drawn_evenly_from_its_spread() -> None:
    train(PlainTraining(epochs=40, batch_size=8) | NoiseTraining(Spy(), spread_db=10.0))
    extra = torch.tensor(SEEN.extra)
    assert len(extra) == 240
    assert extra.min() >= 0
    assert extra.max() <= 10
    assert extra.mean().item() == pytest.approx(5, abs=4 * 10 / math.sqrt(12 * 240))
    assert len(extra.unique()) == 240
    assert (extra < 1).sum() > 5
    assert (extra > 9).sum() > 5


def test_the_noise_rises_over_the_ramp() -> None:
    train(PLAIN | NoiseTraining(Spy(), ramp=0.5, ramp_db=30.0))
    expected = [max(0.0, 30 * (1 - (step / 9) / 0.5)) for step in range(9)]
    assert SEEN.extra == pytest.approx(expected)


@pytest.mark.parametrize("extra_db", [0.0, 6.0])
def test_extra_decibels_are_less_noise(extra_db: float) -> None:
    effect: Any = LayerNoise(3).training_effect(["a"], extra_db, SeedStream(0))
    assert effect.ratio == pytest.approx(10 ** (-(3 + extra_db) / 20))


def test_steps_and_epochs_see_different_noise() -> None:
    train(PLAIN | NoiseTraining(LayerNoise(0, power="sample") | Spy()))
    assert len(SEEN.added) == 9
    for a in range(9):
        for b in range(a):  # 16 x 3 numbers of the last layer: noise and its bias, at the same power or so
            both = torch.stack([SEEN.added[a].flatten(), SEEN.added[b].flatten()])
            assert abs(torch.corrcoef(both)[0, 1].item()) < 0.6


# ------------------------------------------------------------------------------------------------ what it composes with


DEVICE = DAC(6) | LayerNoise(0, "layer_input") | WeightQuantiser(4) | LayerNoise(0) | ADC(6)
CHILDREN = [
    LayerNoise(0),
    LayerNoise(0, power="batch"),
    LayerNoise(3, mode="both", statistic="variance"),
    DeviceNoise(10),
    DEVICE,
    StuckCells(0.1) | ConductanceDrift(1e4, spread=0.02),
]


@pytest.mark.parametrize("noise", CHILDREN, ids=str)
def test_every_device_trains_every_kind_of_layer(noise: Defense) -> None:
    start = classifier(EveryKind(), classes=128)
    ctx = Context(train=split(32), seed=5)
    trained: Any = (PlainTraining(epochs=1, batch_size=16) | NoiseTraining(noise)).apply(start, ctx)
    assert all(p.isfinite().all() for p in trained.module.parameters())
    moved = [n for n, p in trained.module.named_parameters() if not torch.equal(p, start.module.get_parameter(n))]
    assert len(moved) >= len(list(start.module.parameters())) - 1  # the bias of the keys has no effect
    assert replaced_forwards(trained.module) == []
    assert trained.digest != PlainTraining(epochs=1, batch_size=16).apply(start, ctx).digest


def test_noise_that_is_off_trains_as_without() -> None:
    assert train(PLAIN | NoiseTraining(LayerNoise(math.inf))).digest == train(PLAIN).digest


def test_resuming_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        done = 0

        def start(self, label: str, total: int) -> Interrupting:
            return self

        def advance(self, steps: int = 1) -> None:
            self.done += steps
            if self.done >= 8:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    defense = PLAIN | NoiseTraining(DEVICE, spread_db=5.0, ramp=0.4)
    path = tmp_path / "partial.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(defense, checkpoint=path, progress=Interrupting())
    assert path.exists()
    assert train(defense, checkpoint=path).digest == train(defense).digest


def test_alone_it_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"no schedule of its own: write plain-training\(\.\.\.\) \| noise-training"):
        NoiseTraining().apply(net(), Context(train=DATA))
    with pytest.raises(BadSpec, match="0 stages lead a training run"):
        _ = NoiseTraining() | LayerNoise(0)


@pytest.mark.parametrize(
    ("child", "words"),
    [
        (GaussianInputNoise(0.1), "noise = GaussianInputNoise doesn't act inside the network. Expected layer-noise"),
        (LayerNoise(0) | GaussianInputNoise(0.1), "noise = GaussianInputNoise doesn't"),
        (Identity(), "noise = nothing doesn't act"),
        (PLAIN, "noise = PlainTraining doesn't"),
    ],
    ids=str,
)
def test_a_child_outside_the_network_is_refused(child: Defense, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        NoiseTraining(child)


# ------------------------------------------------------------------------------------------------------------- its spec

TEXT = 'plain-training(epochs=2) | noise-training(noise=dac(6) | layer-noise(0, layers="*, !head"), ramp=0.2)'
TOML = """
first = 'plain-training(epochs=2) | noise-training(dac(6) | layer-noise(0, layers="*, !head"), ramp=0.2)'
[second]
name = "noise-training"
noise = 'dac(6) | layer-noise(0, layers="*, !head")'
ramp = 0.2
"""
BUILT = PlainTraining(epochs=2) | NoiseTraining(DAC(6) | LayerNoise(0, layers="*, !head"), ramp=0.2)


def test_a_device_as_a_child_survives_text_json_and_toml() -> None:
    assert building.build(TEXT, "defense") == BUILT
    assert building.build(building.describe(BUILT), "defense") == BUILT
    plain = json.loads(json.dumps(building.spec_of(BUILT).to_json()))
    assert building.from_json(plain) == BUILT
    table = tomllib.loads(TOML)
    assert building.build(table["first"], "defense") == BUILT
    assert building.build(table["second"], "defense") == BUILT.stages()[1]
    other = PlainTraining(epochs=2) | NoiseTraining(LayerNoise(0, layers="*, !head") | DAC(6), ramp=0.2)
    assert building.spec_of(other).digest() != building.spec_of(BUILT).digest()
