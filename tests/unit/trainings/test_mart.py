"""MART against hand-made numbers and a slow loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustnoise.api import Batch, Linf, SeedStream, TorchClassifier, create
from robustnoise_defenses import MartTraining
from tests.unit.trainings.nets import SHAPE, close, far, same_statistics, slow, trained

SHORT = "epochs=2, batch_size=16, learning_rate=0.02"


def _loss(p: list[float], q: list[float], label: int, beta: float) -> float:
    answers = {0.0: p, 1.0: q}
    clean, moved = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)

    def forward(x: Tensor) -> Tensor:
        return torch.tensor([answers[float(x)]]).log() + 1.5  # softmax takes the shift away again

    found: float = MartTraining(beta=beta).loss(forward, Batch(clean, moved, torch.tensor([label]), 0.0)).item()
    return found


def test_the_loss_of_one_image_by_hand() -> None:
    p, q = [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    for label, rival in ((0, 0.5), (1, 0.3), (2, 0.5)):
        expected = -math.log(q[label]) - math.log(1 - rival) + 4 * divergence * (1 - p[label])
        assert _loss(p, q, label, 4) == pytest.approx(expected, rel=1e-5)


def test_an_image_that_is_surely_right_has_no_divergence_to_lower() -> None:
    p = [1 - 2e-7, 1e-7, 1e-7]
    assert _loss(p, [0.4, 0.3, 0.3], 0, 100) == pytest.approx(_loss(p, [0.4, 0.3, 0.3], 0, 0), rel=1e-4)


def test_logits_far_apart_give_a_finite_loss_and_slope() -> None:
    logits = torch.tensor([[0.0, 200.0, -50.0]], requires_grad=True)
    batch = Batch(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([0]), 0.0)
    loss = MartTraining().loss(lambda _x: logits, batch)
    loss.backward()
    assert loss.item() == pytest.approx(400.0)  # 200 for the label, 200 for what isn't the rival
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def _slow_loss(module: nn.Module, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
    frozen = TorchClassifier(module, SHAPE, 2)
    crafter = create("crafter", "pgd", steps=2, relative_step=0.5)
    adv = crafter.craft(frozen, x, y, Linf(0.1), seeds.child("hook", 0)).detach()
    module.train().requires_grad_(True)
    p, q = module(x).softmax(1), module(adv).softmax(1)
    true = functional.one_hot(y, 2).bool()
    boosted = -q[true].log() - (1 - q[~true]).log()  # of two classes the other one is the rival
    return (boosted + 5 * (p * (p / q).log()).sum(1) * (1 - p[true])).mean()


OURS = "mart-training(eps=0.1, ramp=0, beta=5, inner=pgd(steps=2, relative_step=0.5)"


def test_a_slow_loop_ends_in_the_same_weights() -> None:
    ours = trained(f"{OURS}, {SHORT})")
    close(ours, slow(_slow_loss, 2, 16, 0.02))
    assert far(ours, trained(f"plain-training({SHORT})"))


def test_norm_layers_learn_from_images_and_finished_adversarial_images_alone() -> None:
    net = "norm-cnn(width=2)"
    ours = trained(f"{OURS}, epochs=1, batch_size=32, learning_rate=0.02)", net)
    same_statistics(ours, slow(_slow_loss, 1, 32, 0.02, net))


def test_with_two_classes_and_no_divergence_it_is_adversarial_training() -> None:
    """The loss is then twice the cross-entropy, and AdamW doesn't see a factor."""
    pgd = trained(f"pgd-training(eps=0.1, ramp=0, {SHORT})").module.state_dict()
    close(trained(f"mart-training(eps=0.1, ramp=0, beta=0, {SHORT})"), pgd, atol=1e-4)
