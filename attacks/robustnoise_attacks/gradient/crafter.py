"""The transfer attacks of the literature as settings of one ascent."""

from __future__ import annotations

import functools
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    BadParameter,
    Classifier,
    Crafter,
    MissingCapability,
    Norm,
    Number,
    SeedStream,
    Split,
    ThreatModel,
)
from robustnoise_attacks.gradient.engine import Update, start, uniform_in_ball
from robustnoise_attacks.gradient.objective import Objective, Targeted, View, best_of
from robustnoise_attacks.gradient.transforms import Pool, resize_and_pad, smooth


@dataclass(frozen=True)
class Gradient(Crafter):
    """Projected ascent with four slots: loss, input transform, gradient and update. Any combination works.

    The gradient of the loss is taken at transformed copies of the image and over draws of the source's noise; it may be
    smoothed and corrected by its variance. The update makes a step of it: its sign under l-infinity, unit length
    under l2. Every iterate is projected into the ball and [0, 1], except for the random start, which the first gradient
    sees as it is. The named attacks are recipes of this: see docs/attacks.md.
    """

    reference = (
        "Goodfellow, Shlens & Szegedy 2015, arXiv 1412.6572; Kurakin, Goodfellow & Bengio 2017, arXiv 1607.02533; "
        "Madry et al. 2018, arXiv 1706.06083; the slots: see the recipes"
    )

    steps: Annotated[int, Field(ge=1, le=100_000, description="gradient steps")] = 40
    relative_step: Annotated[Number, Field(gt=0, le=4, description="step size as a share of eps")] = 0.0625
    _: KW_ONLY
    random_start: Annotated[bool, Field(description="start from a uniform point of the ball")] = True
    restarts: Annotated[int, Field(ge=1, le=1000, description="runs, of which each image keeps its best")] = 1
    loss: Annotated[
        Literal["ce", "cw", "logit"],
        Field(description="cross-entropy, margin of the logits, or the logit of the label alone"),
    ] = "ce"
    targeted: Annotated[
        Targeted, Field(description="leave the true label, or reach another: drawn per image, or the least likely")
    ] = "off"
    di: Annotated[Number, Field(ge=0, le=1, description="probability that a copy is resized and padded")] = 0.0
    di_scale: Annotated[Number, Field(gt=0, le=1, description="least side of a resized copy, as a share")] = 0.9
    ti: Annotated[
        int, Field(ge=1, le=99, description="side of the Gaussian that smooths the gradient, odd; 1: off")
    ] = 1
    si: Annotated[int, Field(ge=1, le=20, description="copies x, x/2, x/4, ...; 1: x alone")] = 1
    admix: Annotated[int, Field(ge=0, le=100, description="copies with an image of another class; 0: off")] = 0
    admix_share: Annotated[Number, Field(ge=0, le=1, description="weight of the other image in a copy")] = 0.2
    vt: Annotated[int, Field(ge=0, le=1000, description="neighbours that tune the gradient; 0: off")] = 0
    vt_reach: Annotated[Number, Field(gt=0, le=10, description="radius of the neighbourhood, as a share of eps")] = 1.5
    eot: Annotated[
        int, Field(ge=1, le=10_000, description="draws of the source's noise per gradient; a noise-free source: 1")
    ] = 1
    momentum: Annotated[Number, Field(ge=0, le=10, description="decay mu of the accumulated gradient; 0: off")] = 0.0
    nesterov: Annotated[bool, Field(description="take the gradient where momentum leads")] = False
    pi: Annotated[Number, Field(ge=0, le=1000, description="patch-wise: how many times longer steps are; 0: off")] = 0.0

    def check(self) -> None:
        """Refuse what can't be combined."""
        if self.ti % 2 == 0:
            raise BadParameter(f"gradient: ti = {self.ti}: expected an odd number, 1 to 99: the kernel has a middle.")
        if self.nesterov and not self.momentum:
            raise BadParameter("gradient: nesterov = true: looks ahead along the momentum; expected momentum above 0.")
        if self.restarts > 1 and not self.random_start:
            raise BadParameter(
                f"gradient: restarts = {self.restarts}: without a random start all runs are alike; expected "
                "random_start = true."
            )

    def informed(self, seed_data: Split) -> Crafter:
        """See `Crafter.informed`; admix takes its images from there."""
        return _Informed(self, Pool.of(seed_data)) if self.admix else self

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        """See `Crafter.craft`.

        Raises:
            MissingCapability: the source has no gradients; or admix is on and the crafter was never `informed`.
            BadParameter: pi is on and the norm is not l-infinity.
        """
        return self.climb(source, x, y, threat, seeds, None)

    def climb(
        self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream, pool: Pool | None
    ) -> Tensor:
        """`craft` with the images that admix mixes in."""
        if self.pi and threat.norm is not Norm.LINF:
            raise BadParameter(f"gradient: pi = {self.pi:g}: patch-wise steps are for l-infinity, not {threat.norm}.")
        if self.admix and pool is None:
            raise MissingCapability(
                f"gradient: admix = {self.admix} mixes in images of the attacker's, and there are none. Use it in "
                "transfer(...), or call crafter.informed(split) before crafting."
            )
        if threat.eps == 0:
            return x.clone()
        objective = Objective(source, self.loss, x, y, seeds, targeted=self.targeted, draws=self.eot)

        def run(seeds: SeedStream) -> Tensor:
            return _Run(self, objective, x, y, threat, seeds, pool).climb()

        return best_of(self.restarts, run, objective, seeds)


class _Informed(Crafter):
    """A `Gradient` that has the attacker's images."""

    def __init__(self, gradient: Gradient, pool: Pool) -> None:
        self.gradient, self.pool = gradient, pool

    def craft(self, source: Classifier, x: Tensor, y: Tensor, threat: ThreatModel, seeds: SeedStream) -> Tensor:
        return self.gradient.climb(source, x, y, threat, seeds, self.pool)


class _Run:
    """One ascent from one start."""

    def __init__(
        self,
        how: Gradient,
        objective: Objective,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        seeds: SeedStream,
        pool: Pool | None,
    ) -> None:
        self.how, self.objective, self.pool = how, objective, pool
        self.x, self.y, self.threat, self.seeds = x, y, threat, seeds

    def climb(self) -> Tensor:
        how, x, threat = self.how, self.x, self.threat
        update = Update(
            x, threat, how.relative_step * threat.eps, momentum=how.momentum, nesterov=how.nesterov, pi=how.pi
        )
        projected = threat.projection(x)
        adv = start(x, threat, self.seeds, random=how.random_start)
        variance: Tensor | None = None
        for number in range(how.steps):
            point = update.ahead(adv)
            gradient = self._gradient(point, number)
            tuned = gradient if variance is None else gradient + variance
            if how.vt and number + 1 < how.steps:
                variance = self._around(point, number) - gradient
            if how.ti > 1:
                tuned = smooth(tuned, how.ti)
            adv = projected(adv + update(tuned))
        return adv.detach()

    def _around(self, point: Tensor, number: int) -> Tensor:
        """The mean gradient at random neighbours of `point`."""
        total = torch.zeros_like(point)
        for near in range(1, self.how.vt + 1):
            away = uniform_in_ball(point, self.threat, self.seeds.generator("near", number, near))
            total = total + self._gradient(point + self.how.vt_reach * away, number, near)
        return total / self.how.vt

    def _gradient(self, point: Tensor, number: int, near: int = 0) -> Tensor:
        noise = self.seeds.child("noise", number)
        noise = noise.child("near", near) if near else noise
        return self.objective.gradient(point, noise, self._views(number, near))

    def _views(self, number: int, near: int) -> list[View]:
        """The copies of the image at which the gradient is averaged."""
        how = self.how
        views: list[View] = []
        for mixed in range(max(1, how.admix)):
            other = None
            if self.pool is not None:
                other = self.pool.partners(self.y, self.seeds.generator("admix", number, near, mixed))
            for halvings in range(how.si):
                # A generator takes as long to make as a step of a small net's own arithmetic: none where none is used.
                generator = self.seeds.generator("di", number, near, mixed, halvings) if how.di else None
                views.append(functools.partial(self._view, other=other, halvings=halvings, generator=generator))
        return views

    def _view(self, x: Tensor, *, other: Tensor | None, halvings: int, generator: torch.Generator | None) -> Tensor:
        how = self.how
        if other is not None:
            x = x + how.admix_share * other
        if halvings:
            x = x / 2**halvings
        if generator is not None and torch.rand(1, generator=generator).item() < how.di:
            x = resize_and_pad(x, how.di_scale, generator)
        return x
