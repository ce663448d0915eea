"""Training on images with Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, Context, Defense, DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.joining import must_follow


@dataclass(frozen=True)
class GaussianAugmentation(Defense):
    """Add Gaussian noise to the images of every step, not clipped to [0, 1].

    It takes part in the training of the stage that leads, in the order of the stack: ``plain-training |
    gaussian-augmentation(0.25)`` is how networks for randomised smoothing are trained. Behind a training that makes
    adversarial images the noise is put on these; before it they are made from noisy images.
    """

    reference = "Cohen, Rosenfeld, Kolter 2019, arXiv 1902.02918, section 3.3; Lecuyer et al. 2019, arXiv 1802.03471"
    traits = DefenseTraits(Stage.TRAINING)

    sigma: Annotated[Number, Field(ge=0, le=10, description="standard deviation, pixels in [0, 1]")] = 0.25

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """The images with noise of their own."""
        return x + self.sigma * torch.randn(x.shape, generator=seeds.generator("noise")).to(x.device)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """Not alone.

        Raises:
            BadParameter: always: a stage with a schedule must lead.
        """
        raise must_follow("gaussian-augmentation")
