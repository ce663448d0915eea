"""Adversarial training: each batch is replaced by adversarial images for the network as it is at that moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from robustnoise.api import Classifier, Crafter, DefenseTraits, Linf, SeedStream, Stage, create
from robustnoise_defenses.adversarial_training.base import AdversarialTraining, Eps, Ramp


@dataclass(frozen=True)
class PGDTraining(AdversarialTraining):
    """Train on PGD adversarial images alone, l-infinity, the radius ramped up from 0.

    The ramp is for large radii, where the full radius from the first step can keep a small network at chance level.
    """

    reference = "Madry et al. 2018, arXiv 1706.06083"
    traits = DefenseTraits(Stage.TRAINING)

    eps: Eps = 0.3
    ramp: Ramp = 0.35
    inner: Crafter = field(default_factory=lambda: create("crafter", "pgd", steps=7, relative_step=0.3))

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """Adversarial images of the current radius."""
        return self.inner.craft(source, x, y, Linf(self.radius(progress)), seeds)


@dataclass(frozen=True)
class FastTraining(PGDTraining):
    """Adversarial training with one step from an unclipped random start: several times cheaper than PGD training."""

    reference = "Wong, Rice, Kolter 2020, arXiv 2001.03994"

    inner: Crafter = field(default_factory=lambda: create("crafter", "pgd", steps=1, relative_step=1.25))
