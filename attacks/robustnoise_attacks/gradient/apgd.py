"""Auto-PGD: no step size to choose."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, Crafter, Norm, SeedStream, ThreatModel
from robustnoise_attacks.gradient.engine import per_image, unit
from robustnoise_attacks.gradient.objective import Objective, Standing, best_of

PUSH = 0.75
"""Alpha: weight of the new step; the rest goes on along the last one."""
RISES = 0.75
"""Rho: the share of steps in a window that must raise the loss, or the step is halved."""


@dataclass(frozen=True)
class APGD(Crafter):
    """Projected ascent with momentum that halves its step, image by image, wherever the loss stops rising.

    It starts with steps of ``2 eps``, and after a halving goes on from the image of the highest loss so far. It returns
    that image, or on a noise-free source, where there are any, the one of the highest loss that is misclassified. On a
    stochastic source loss and gradient are means over `eot` draws of its noise.
    """

    reference = "Croce & Hein 2020, arXiv 2003.01690 (APGD); EOT: Athalye et al. 2018, arXiv 1802.00420"

    steps: Annotated[int, Field(ge=1, le=100_000, description="gradient steps")] = 100
    _: KW_ONLY
    loss: Annotated[
        Literal["ce", "dlr"],
        Field(description="cross-entropy, or difference of logits ratio (3 classes or more)"),
    ] = "ce"
    restarts: Annotated[int, Field(ge=1, le=1000, description="runs, of which each image keeps its best")] = 1
    eot: Annotated[
        int, Field(ge=1, le=10_000, description="draws of the source's noise per gradient; a noise-free source: 1")
    ] = 16

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`.

        Raises:
            MissingCapability: the source has no gradients.
            BadParameter: loss = dlr and fewer than three classes.
        """
        if threat.eps == 0:
            return x.clone()
        objective = Objective(source, self.loss, x, y, seeds, draws=self.eot)

        def run(seeds: SeedStream) -> Tensor:
            return _climb(objective, x, threat, self.steps, seeds)

        return best_of(self.restarts, run, objective, seeds)


def _climb(objective: Objective, x: Tensor, threat: ThreatModel, steps: int, seeds: SeedStream) -> Tensor:
    def measured(point: Tensor, number: int) -> tuple[Tensor, Tensor, Standing]:
        slope = objective.slope(point, seeds.child("noise", number))
        # With noise the share of few draws is luck, and the mean loss less so.
        fooled = torch.zeros_like(slope.fooled) if objective.stochastic else slope.fooled
        return slope.gradient, slope.value, Standing(fooled, slope.value)

    projected = threat.projection(x)
    adv = previous = projected(x + _on_the_sphere(x, threat, seeds.generator("start")))
    gradient, value, standing = measured(adv, 0)
    best, best_gradient, best_value = adv, gradient, value
    kept, kept_standing = adv, standing
    schedule = _Schedule(steps, value)
    size = torch.full_like(value, 2 * threat.eps)
    for number in range(1, steps + 1):
        length = size[:, None, None, None]
        way = gradient.sign() if threat.norm is Norm.LINF else unit(gradient)
        stepped = projected(adv + length * way)
        push = PUSH if number > 1 else 1.0
        moved = adv + push * (stepped - adv) + (1 - push) * (adv - previous)
        previous, adv = adv, projected(moved)
        gradient, value, standing = measured(adv, number)
        above = standing.above(kept_standing)
        kept, kept_standing = torch.where(above[:, None, None, None], adv, kept), standing.where(above, kept_standing)
        better = value > best_value
        wide = better[:, None, None, None]
        best, best_gradient = torch.where(wide, adv, best), torch.where(wide, gradient, best_gradient)
        best_value = torch.where(better, value, best_value)
        halved = schedule.halves(value, best_value)
        if halved is not None:
            wide = halved[:, None, None, None]
            size = torch.where(halved, size / 2, size)
            adv, gradient = torch.where(wide, best, adv), torch.where(wide, best_gradient, gradient)
    return kept


class _Schedule:
    """Which images halve their step, asked after every step and answered at the checkpoints.

    Checkpoints are 22 % of all steps apart at first, then 3 % closer each time, down to 6 %.
    """

    def __init__(self, steps: int, value: Tensor) -> None:
        self.window, self.closer, self.shortest = (max(1, int(share * steps)) for share in (0.22, 0.03, 0.06))
        self.waited = 0
        self.last = value
        self.rises = torch.zeros_like(value)
        self.best_before = value
        self.halved_before = torch.ones_like(value, dtype=torch.bool)

    def halves(self, value: Tensor, best: Tensor) -> Tensor | None:
        """(n,) bool at a checkpoint, else None."""
        self.rises = self.rises + (value > self.last)
        self.last = value
        self.waited += 1
        if self.waited < self.window:
            return None
        few = self.rises <= RISES * self.window
        stuck = ~self.halved_before & (self.best_before >= best)
        self.halved_before, self.best_before = few | stuck, best
        self.rises, self.waited = torch.zeros_like(self.rises), 0
        self.window = max(self.window - self.closer, self.shortest)
        return self.halved_before


def _on_the_sphere(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """One perturbation per image of norm eps."""
    if threat.norm is Norm.LINF:
        draw = torch.rand(x.shape, generator=generator) * 2 - 1
        scaled = draw / per_image(draw.abs().flatten(1).amax(1))
    else:
        draw = torch.randn(x.shape, generator=generator)
        scaled = unit(draw)
    return scaled.to(x.device) * threat.eps
