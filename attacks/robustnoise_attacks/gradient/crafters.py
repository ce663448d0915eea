"""FGSM, PGD and MI-FGSM: settings of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, Crafter, Number, SeedStream, ThreatModel
from robustnoise_attacks.gradient.engine import ascend

Steps = Annotated[int, Field(ge=1, le=100_000, description="gradient steps")]
RelativeStep = Annotated[Number, Field(gt=0, le=4, description="step size as a share of eps")]


@dataclass(frozen=True)
class FGSM(Crafter):
    """One step of the full radius along the sign of the gradient."""

    reference = "Goodfellow, Shlens, Szegedy 2015, arXiv 1412.6572, section 4"

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`."""
        return ascend(source, x, y, threat, seeds, steps=1, relative_step=1.0, random_start=False, momentum=None)


@dataclass(frozen=True)
class PGD(Crafter):
    """Projected gradient ascent on the cross-entropy from a random start."""

    reference = "Madry et al. 2018, arXiv 1706.06083, section 2.1"

    steps: Steps = 40
    relative_step: RelativeStep = 0.0625
    random_start: Annotated[bool, Field(description="start from a uniform point of the ball")] = True

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`."""
        return ascend(
            source, x, y, threat, seeds,
            steps=self.steps, relative_step=self.relative_step, random_start=self.random_start, momentum=None,
        )  # fmt: skip


@dataclass(frozen=True)
class MIFGSM(Crafter):
    """Iterative sign steps along an accumulated, l1-normalised gradient: it transfers better than PGD."""

    reference = "Dong et al. 2018, arXiv 1710.06081, algorithm 1"

    steps: Steps = 10
    relative_step: RelativeStep = 0.1
    momentum: Annotated[Number, Field(ge=0, le=10, description="decay mu of the accumulated gradient")] = 1.0

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`."""
        return ascend(
            source, x, y, threat, seeds,
            steps=self.steps, relative_step=self.relative_step, random_start=False, momentum=self.momentum,
        )  # fmt: skip
