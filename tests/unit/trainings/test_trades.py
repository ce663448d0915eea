"""TRADES against hand-made numbers, a slow loop and plain training."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import Batch, Schedule, SeedStream, build, fit
from robustnoise.testing import linear_toy
from robustnoise.training import LiveSource
from robustnoise_defenses import TradesTraining
from tests.unit.trainings.nets import (
    IMAGES,
    LABELS,
    STREAM,
    close,
    far,
    fresh,
    same,
    same_statistics,
    slow,
    state,
    trained,
)

SHORT = "epochs=2, batch_size=16, learning_rate=0.02"


def test_the_loss_of_one_image_by_hand() -> None:
    """Logits (0, ln 3) at the image and (0, 0) at the adversarial one: probabilities 1/4, 3/4 and 1/2, 1/2."""
    answers = {0.0: [0.0, math.log(3)], 1.0: [0.0, 0.0]}
    clean, moved = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)

    def forward(x: Tensor) -> Tensor:
        return torch.tensor([answers[float(x)]])

    loss = TradesTraining(beta=2).loss(forward, Batch(clean, moved, torch.tensor([0]), 0.0))
    divergence = 1 / 4 * math.log((1 / 4) / (1 / 2)) + 3 / 4 * math.log((3 / 4) / (1 / 2))
    assert loss.item() == pytest.approx(math.log(4) + 2 * divergence, rel=1e-6)


def test_the_adversary_of_a_linear_net_ends_in_a_corner_of_the_ball() -> None:
    toy = linear_toy((1, 6, 6))
    direction = toy.module.get_parameter("1.weight")[0].view(1, 1, 6, 6)
    x = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    training = TradesTraining(eps=0.1, ramp=0)
    source = LiveSource(toy.module, toy)
    found = training.on_inputs(source, x, torch.zeros(8, dtype=torch.int64), 0.5, SeedStream(1))
    up, down = ((x + way * 0.1 * direction.sign()).clamp(0, 1) for way in (1, -1))
    corners = [torch.isclose(found, corner, atol=1e-6).flatten(1).all(1) for corner in (up, down)]
    assert (corners[0] | corners[1]).all()
    other = training.on_inputs(source, x, torch.ones(8, dtype=torch.int64), 0.5, SeedStream(1))
    assert torch.equal(found, other)  # labels play no part


def _slow_loss(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
    module.eval()
    p = module(x).softmax(1).detach()
    adv = x + 0.001 * torch.randn(x.shape, generator=seeds.child("hook", 0).generator("start"))
    for _ in range(3):
        adv = adv.detach().requires_grad_(True)
        kl = (p * (p.log() - module(adv).log_softmax(1))).sum()
        (slope,) = torch.autograd.grad(kl, adv)
        adv = torch.min(torch.max(adv + 0.05 * slope.sign(), x - 0.1), x + 0.1).clamp(0, 1).detach()
    module.train()
    clean = module(x)
    q = module(adv).log_softmax(1)
    p = clean.softmax(1)
    return functional.nll_loss(clean.log_softmax(1), y) + 3 * (p * (p.log() - q)).sum() / len(x)


def test_a_slow_loop_ends_in_the_same_weights() -> None:
    ours = trained(f"trades-training(eps=0.1, ramp=0, beta=3, steps=3, relative_step=0.5, {SHORT})")
    close(ours, slow(_slow_loss, 2, 16, 0.02))
    assert far(ours, trained(f"plain-training({SHORT})"))


def test_norm_layers_learn_from_images_and_finished_adversarial_images_alone() -> None:
    step = "epochs=1, batch_size=32, learning_rate=0.02"
    net = "norm-cnn(width=2)"
    ours = trained(f"trades-training(eps=0.1, ramp=0, beta=3, steps=3, relative_step=0.5, {step})", net)
    same_statistics(ours, slow(_slow_loss, 1, 32, 0.02, net))
    assert int(state(ours)["1.num_batches_tracked"]) == 2


def test_no_weight_on_the_divergence_is_plain_training() -> None:
    net = "norm-cnn(width=2)"
    plain = trained(f"plain-training({SHORT}, shift=1)", net)
    assert same(trained(f"trades-training(beta=0, {SHORT}, shift=1)", net), plain)


def test_no_radius_is_plain_training() -> None:
    """Up to rounding: the divergence of equal logits is 0, its gradient nearly so."""
    plain = trained(f"plain-training({SHORT})").module.state_dict()
    close(trained(f"trades-training(eps=0, {SHORT})"), plain, atol=1e-4)


class Keeping:
    """A forward hook that keeps the network's logits."""

    while_crafting = False

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def during_forward(
        self, module: nn.Module, progress: float, seeds: SeedStream, *, crafting: bool
    ) -> AbstractContextManager[object]:
        return module.register_forward_hook(lambda _module, _inputs, out: self.seen.append(out.detach().clone()))


def test_noise_is_fresh_in_each_of_the_two_passes() -> None:
    keeping = Keeping()
    stages = build("trades-training(eps=0) | noise-training(layer-noise(0, power=sample))", "defense").stages()
    fit(fresh(), IMAGES, LABELS, Schedule(1, 0.01, 32), STREAM, hooks=[keeping, *stages])
    assert len(keeping.seen) == 2
    assert not torch.allclose(*keeping.seen, atol=1e-3)
