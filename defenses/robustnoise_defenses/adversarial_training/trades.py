"""Training that weighs accuracy on images as they are against how little answers move around them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import (
    Batch,
    Classifier,
    DefenseTraits,
    Differentiable,
    Forward,
    Linf,
    Number,
    SeedStream,
    Stage,
    evaluating,
    require_differentiable,
    require_modular,
)
from robustnoise_defenses.adversarial_training.base import AdversarialTraining, Eps, Ramp

START = 0.001
"""Standard deviation of the start in pixels of [0, 1]: at the image itself the divergence is 0, and so is its slope."""


@dataclass(frozen=True)
class TradesTraining(AdversarialTraining):
    """Minimise the cross-entropy of the images plus `beta` times KL(answers there || answers at adversarial images).

    The adversary climbs the same divergence from a small Gaussian start, with the network in eval mode, as the authors'
    code does: norm layers then don't learn from half-made images. The loss is taken in train mode, the two kinds of
    images one after the other, with gradients through both. ``beta=0`` is plain training.
    """

    reference = "Zhang et al. 2019, arXiv 1901.08573"
    traits = DefenseTraits(Stage.TRAINING)

    eps: Eps = 0.3
    _: KW_ONLY
    ramp: Ramp = 0.35
    beta: Annotated[Number, Field(ge=0, le=1000, description="weight of the divergence, 1 / lambda in the paper")] = 6.0
    steps: Annotated[int, Field(ge=1, le=1000, description="gradient steps of the adversary")] = 10
    relative_step: Annotated[Number, Field(gt=0, le=4, description="step size as a share of eps")] = 0.25

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """Images of the current radius at which the network answers as differently as possible."""
        radius = self.radius(progress)
        if not self.beta or not radius:
            return x
        with evaluating(require_modular(source, "trades-training").module):
            return self._climb(require_differentiable(source, "trades-training"), x, radius, seeds)

    def _climb(self, source: Differentiable, x: Tensor, radius: float, seeds: SeedStream) -> Tensor:
        threat = Linf(radius)
        with torch.no_grad():
            clean = source.logits(x, noise=seeds.child("clean"))
        start = torch.randn(x.shape, generator=seeds.generator("start"))
        adversarial = x + START * start.to(x.device)
        for number in range(self.steps):
            with torch.enable_grad():
                leaf = adversarial.detach().requires_grad_(True)
                moved = divergence(clean, source.logits(leaf, noise=seeds.child("noise", number)))
                (gradient,) = torch.autograd.grad(moved.sum(), leaf)
            adversarial = threat.project(x, leaf.detach() + self.relative_step * radius * gradient.sign())
        return adversarial

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """See `robustnoise.training.LossHook`."""
        clean = forward(batch.clean)
        if not self.beta:
            return batch.cross_entropy(clean)
        return batch.cross_entropy(clean) + self.beta * divergence(clean, forward(batch.x)).mean()


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """(n,) KL(softmax(first) || softmax(second)) of logits (n, num_classes), in nats."""
    pointwise = functional.kl_div(second.log_softmax(1), first.log_softmax(1), reduction="none", log_target=True)
    return pointwise.sum(1)
