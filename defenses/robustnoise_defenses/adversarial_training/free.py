"""Adversarial training at the price of plain training: one gradient serves weights and images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from robustnoise.api import DefenseTraits, Stage
from robustnoise_defenses.adversarial_training.base import AdversarialTraining, Eps, Ramp


@dataclass(frozen=True)
class FreeTraining(AdversarialTraining):
    """Step `replays` times on each batch, every step moving the weights down and the images up the same gradient.

    The perturbation goes on from step to step, also to the next batch: its first step there is on what was made for the
    one before. `epochs` counts steps, so that the price is that of plain training of as many epochs: with ``epochs=40,
    replays=8`` each image is drawn five times and stepped on forty times. An image that comes back is drawn
    with augmentation of its own; its replays share it. Gradients are taken in train mode, since they are the weights'.
    """

    reference = "Shafahi et al. 2019, arXiv 1904.12843 (Free-m)"
    traits = DefenseTraits(Stage.TRAINING)

    eps: Eps = 0.3
    _: KW_ONLY
    ramp: Ramp = 0.35
    replays: Annotated[int, Field(ge=1, le=1000, description="steps on each batch, m in the paper")] = 8

    def perturbed(self, x: Tensor, perturbation: Tensor) -> Tensor:
        """See `robustnoise.training.ReplayHook`."""
        return (x + perturbation).clamp(0, 1)

    def after_step(self, perturbation: Tensor, gradient: Tensor, progress: float) -> Tensor:
        """A step as long as the radius, clipped to it; see `robustnoise.training.ReplayHook`."""
        radius = self.radius(progress)
        return (perturbation + radius * gradient.sign()).clamp(-radius, radius)
