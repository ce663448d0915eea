"""What is drawn once for a device: the same for every image and query, another for another device."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnoise.compose import Defense
from robustnoise.models import create
from robustnoise.models.classifier import LayerWrapper
from robustnoise.protocols import Context
from robustnoise.seeds import SeedStream
from robustnoise.testing.toys import toy_split
from robustnoise_defenses import (
    ConductanceDrift,
    DeviceNoise,
    GaussianInputNoise,
    LayerNoise,
    StuckCells,
    WeightQuantiser,
)
from robustnoise_defenses.noise.draws import Draws
from robustnoise_defenses.noise.inside import device
from tests.unit.noise.nets import CTX, NOISE, PRODUCTS, classifier, every_kind, floats, split

WIDE = (1, 20, 20)


def cells() -> Any:
    """A layer of 200,000 cells."""
    return classifier(nn.Sequential(nn.Flatten(), nn.Linear(400, 500)), WIDE, 500)


def stored(defense: Defense, plain: Any) -> Tensor:
    """The weights as the victim has them: its answers to one pixel after another, less the bias."""
    victim: Any = defense.apply(plain, Context())
    layer = plain.module[1]
    found: Tensor = victim.logits(torch.eye(400).view(400, *WIDE), noise=NOISE) - layer.bias
    return found.T


STATIC = [
    DeviceNoise(0),
    DeviceNoise(0, "pre_activation", "sample"),
    DeviceNoise(0, "layer_input"),
    DeviceNoise(0, "input"),
    DeviceNoise(0, "logits"),
    StuckCells(0.3),
    StuckCells(0.3, "peak"),
    ConductanceDrift(1e6, spread=0.1),
]


@pytest.mark.parametrize("defense", STATIC, ids=str)
def test_a_device_is_a_device(defense: Any) -> None:
    net, x = every_kind(), floats(6)
    victim = defense.apply(net, CTX)
    assert victim.stochastic is False
    first = victim.predict(x, noise=SeedStream(1)).logits  # in inference mode first: gradients must still flow later
    assert torch.equal(first, victim.predict(x, noise=SeedStream(2)).logits)
    torch.testing.assert_close(victim.predict(x.flip(0), noise=NOISE).logits.flip(0), first, atol=1e-5, rtol=1e-5)
    leaf = x.clone().requires_grad_()
    victim.logits(leaf, noise=NOISE).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    again = defense.apply(every_kind(), Context(train=CTX.train, seed=99))
    assert torch.equal(again.predict(x, noise=NOISE).logits, first), "the seed of the context decides no device"
    other = dataclasses.replace(defense, device_seed=1).apply(net, CTX)
    assert not torch.equal(other.predict(x, noise=SeedStream(1)).logits, first)
    assert other.digest != victim.digest


@pytest.mark.parametrize("site", ["pre_activation", "logits"])
def test_the_offset_is_the_same_for_every_image(site: str) -> None:
    plain, x = cells(), floats(5, WIDE)
    victim: Any = DeviceNoise(0, site, "calibrated").apply(plain, Context(train=split(64, WIDE)))  # type: ignore[arg-type]
    offsets = victim.logits(x, noise=NOISE) - plain.logits(x, noise=NOISE)
    torch.testing.assert_close(offsets, offsets[:1].expand_as(offsets), atol=1e-5, rtol=1e-4)
    assert offsets.std().item() > 0.1


@pytest.mark.parametrize("mode", ["additive", "multiplicative", "both"])
def test_wrong_weights_have_the_asked_ratio(mode: str) -> None:
    plain = cells()
    weight = plain.module[1].weight.double()
    wrong = stored(DeviceNoise(3, mode=mode), plain).double() - weight  # type: ignore[arg-type]
    assert (weight.square().mean() / wrong.square().mean()).item() == pytest.approx(10**0.3, rel=0.01)
    assert abs(wrong.mean().item()) < 5 * wrong.std().item() / weight.numel() ** 0.5


@pytest.mark.parametrize("between", [None, GaussianInputNoise(1e-9)], ids=["next to each other", "apart"])
def test_two_of_a_kind_are_independent_and_the_first_is_not_moved(between: Defense | None) -> None:
    plain = cells()
    weight = plain.module[1].weight
    first = DeviceNoise(0) if between is None else DeviceNoise(0) | between
    one = stored(first, plain) - weight
    two = stored(first | DeviceNoise(0), plain) - weight
    assert abs(torch.corrcoef(torch.stack([one.flatten(), (two - one).flatten()]))[0, 1].item()) < 0.01
    assert (two - one).square().mean().item() == pytest.approx(2 * one.square().mean().item(), rel=0.02)


def test_a_choice_of_layers_leaves_the_others_their_draw() -> None:
    net = every_kind()
    effects = [DeviceNoise(0, layers=p).effect(PRODUCTS, lambda: None, 0) for p in ("*", "last")]  # type: ignore[arg-type, return-value]
    weight = net.module.get_parameter("last.weight")
    first, second = (e.on_weight("last", weight, Draws(NOISE)) for e in effects)
    assert torch.equal(first, second)


@pytest.mark.parametrize("share", [0.003, 0.2, 1.0])
def test_a_share_of_the_cells_is_stuck(share: float) -> None:
    plain = cells()
    weight = plain.module[1].weight
    zero, peak = stored(StuckCells(share), plain), stored(StuckCells(share, "peak"), plain)
    count = weight.numel()
    error = 5 * (share * (1 - share) / count) ** 0.5
    assert (zero == 0).float().mean().item() == pytest.approx(share, abs=error + 1e-6)
    top = weight.abs().max()
    at_top = (peak.abs() - top).abs() < 1e-5
    assert at_top.float().mean().item() == pytest.approx(share, abs=error + 1e-5)
    assert (peak[at_top] > 0).float().mean().item() == pytest.approx(0.5, abs=2.5 / (share * count) ** 0.5)
    torch.testing.assert_close(peak[~at_top], weight[~at_top])
    torch.testing.assert_close(zero[zero != 0], weight[zero != 0])


def test_drift_is_a_power_of_time() -> None:
    plain = cells()
    weight = plain.module[1].weight
    plainly = stored(ConductanceDrift(2000.0, exponent=0.06), plain)
    torch.testing.assert_close(plainly, weight * 100**-0.06, atol=1e-6, rtol=1e-5)
    spread = stored(ConductanceDrift(2000.0, exponent=0.06, spread=0.01), plain)
    there = weight.abs() > 0.01
    nu = -torch.log(spread[there] / weight[there]).double() / torch.log(torch.tensor(100.0)).item()
    assert nu.mean().item() == pytest.approx(0.06, abs=1e-4)
    assert nu.std().item() == pytest.approx(0.01, rel=0.01)
    wide = stored(ConductanceDrift(2000.0, exponent=0.0, spread=0.1), plain)
    assert (wide.abs() <= weight.abs() + 1e-6).all(), "no cell grows"


@pytest.mark.parametrize("defense", STATIC, ids=str)
def test_in_training_every_stream_is_another_device(defense: Any) -> None:
    net, x = every_kind(), floats(4)

    def logits(stream: int, noise: int) -> Tensor:
        effect = defense.training_effect(PRODUCTS, 0.0, SeedStream(stream))
        with torch.no_grad(), device(net.module, [effect], SeedStream(noise)):
            return net.logits(x, noise=NOISE)

    assert torch.equal(logits(1, 1), logits(1, 2))
    assert not torch.equal(logits(1, 1), logits(2, 1))


WEIGHTS = [StuckCells(0.3), WeightQuantiser(3), DeviceNoise(0), ConductanceDrift(1e6, spread=0.1)]


@pytest.mark.parametrize("later", WEIGHTS, ids=str)
@pytest.mark.parametrize("earlier", WEIGHTS, ids=str)
@pytest.mark.parametrize("between", [None, GaussianInputNoise(0.1)], ids=str)
def test_who_is_asked_first_changes_no_answer(earlier: Defense, later: Defense, between: Defense | None) -> None:
    """A stack and the classifier below it share their effects, but not the weights that these make together."""
    net, x = every_kind(), floats(4)

    def logits(classifier: Any) -> Tensor:
        with torch.no_grad():
            return classifier.logits(x, noise=NOISE)

    def stack() -> tuple[Any, Any]:
        below = earlier.apply(net, CTX)
        return below, later.apply(below if between is None else between.apply(below, CTX), CTX)

    below, whole = stack()
    first = [logits(below), logits(whole)]
    below, whole = stack()
    second = [logits(whole), logits(below)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    idempotent = earlier == later == WeightQuantiser(3) and between is None
    assert torch.equal(*first) == idempotent


def test_a_recurrent_layer_makes_its_weights_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, made = every_kind(), floats(4), []
    stored = StuckCells.stored
    monkeypatch.setattr(StuckCells, "stored", lambda *args: made.append(1) or stored(*args))
    effect = StuckCells(0.1, layers="lstm*").training_effect(PRODUCTS, 0.0, SeedStream(0))
    for passes in (1, 2):
        with device(net.module, [effect], SeedStream(passes)):
            net.logits(x, noise=NOISE)
    assert len(made) == 2 * len(effect.names)


@pytest.mark.parametrize("site", ["pre_activation", "layer_input"])
@pytest.mark.parametrize("power", ["sample", "calibrated"])
def test_logits_and_predictions_meet_the_same_noise(site: str, power: str) -> None:
    """A draw that is kept must not change the layout of the signal, by which later draws are laid down."""
    net = create("norm-cnn(width=4)", (1, 8, 8), 3)
    context = Context(train=toy_split(64))
    noisy: Any = (DeviceNoise(0, site, power) | LayerNoise(0, power="sample")).apply(net, context)  # type: ignore[arg-type]
    x = torch.from_numpy(toy_split(16).floats()).requires_grad_()
    answer = noisy.predict(x, noise=NOISE)
    torch.testing.assert_close(noisy.logits(x, noise=NOISE).detach(), answer.logits, atol=1e-4, rtol=1e-4)


class MovesWeights(LayerWrapper):
    """Somebody's own noise on the weights, put back after every pass."""

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        weights = [p for p in self.module.parameters() if p.dim() > 1]
        before = [p.clone() for p in weights]
        try:
            for number, p in enumerate(weights):
                p.data.add_(torch.randn(p.shape, generator=noise.generator(number)))
            return self.inner.logits(x, noise=noise.child("inner"))
        finally:
            for p, kept in zip(weights, before, strict=True):
                p.data.copy_(kept)


@pytest.mark.parametrize("device", [StuckCells(0.1), DeviceNoise(10), WeightQuantiser(6)], ids=str)
@pytest.mark.parametrize("above", [False, True])
def test_a_device_holds_the_weights_that_the_network_has(device: Any, above: bool) -> None:
    net, x = every_kind(), floats(4)

    def fresh() -> Any:
        if above:
            return MovesWeights(device.apply(net, CTX), device, stochastic=True)
        return device.apply(MovesWeights(net, device, stochastic=True), CTX)

    victim = fresh()
    for number in range(3):
        found = victim.logits(x, noise=SeedStream(number))
        assert torch.equal(found, fresh().logits(x, noise=SeedStream(number)))
