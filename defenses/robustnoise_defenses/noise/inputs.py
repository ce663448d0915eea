"""Noise on the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, Context, Defense, DefenseTraits, InputWrapper, Number, SeedStream, Stage


@dataclass(frozen=True)
class GaussianInputNoise(Defense):
    """Adds fresh Gaussian noise to every image it is asked about; the noisy image is not clipped."""

    reference = "Qin et al. 2021, arXiv 2104.11470 (Random Noise Defense)"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"sigma": 0.0})

    sigma: Annotated[Number, Field(ge=0, le=10, description="standard deviation, pixels in [0, 1]")] = 0.1

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.sigma == 0 else _Noisy(model, self)


class _Noisy(InputWrapper):
    def __init__(self, inner: Classifier, defense: GaussianInputNoise) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.sigma = defense.sigma

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        draw = torch.randn(x.shape, generator=noise.generator("input-noise"))
        return x + self.sigma * draw.to(x.device)
