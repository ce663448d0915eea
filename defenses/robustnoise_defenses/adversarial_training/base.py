"""What trainings on adversarial images share: a radius that rises, and how held-out images are attacked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, LeadingTraining, Linf, Number, SeedStream, create

Eps = Annotated[Number, Field(ge=0, le=1, description="l-infinity radius, pixels in [0, 1]")]
Ramp = Annotated[Number, Field(ge=0, le=1, description="share of the training over which eps rises from 0")]
JUDGES = {"steps": 10, "relative_step": 0.25}
"""PGD on held-out images, as Rice et al. 2020, arXiv 2002.11569, choose the epoch by. Not the training's own adversary:
one of a single step would not see that the network overfits to it."""


class AdversarialTraining(LeadingTraining):
    """Base of trainings on adversarial images; a subclass has the fields `eps` and `ramp`.

    The ramp is for large radii, where the full radius from the first step can keep a small network at chance level.
    """

    eps: float
    ramp: float

    def radius(self, progress: float) -> float:
        """The radius when `progress` (0 to 1) of the training is done."""
        return self.eps * min(1.0, progress / self.ramp) if self.ramp else self.eps

    def withstands(self, source: Classifier, x: Tensor, y: Tensor, seeds: SeedStream) -> Tensor:
        """Which held-out images are right after a short PGD of the whole radius; see `LeadingTraining.withstands`."""
        adversarial = create("crafter", "pgd", **JUDGES).craft(source, x, y, Linf(self.eps), seeds)
        return source.predict(adversarial, noise=seeds).labels == y
