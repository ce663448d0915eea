"""Training with the noise that inference will meet."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from robustnoise.api import BadParameter, Classifier, Context, Defense, DefenseTraits, Number, SeedStream, Stage, create
from robustnoise_defenses.joining import must_follow
from robustnoise_defenses.noise.inside import InsideDefense, device


@dataclass(frozen=True)
class NoiseTraining(Defense):
    """Every step of the training runs with `noise` in the layers, fresh each step, gradients through sigma included.

    It takes part in the training of the stage that leads:
    ``plain-training(epochs=30) | noise-training(layer-noise(0))``,
    ``pgd-training(eps=0.3) | noise-training(layer-noise(20), while_crafting=true)``. `noise` is a device as at
    inference: one or several of layer-noise, device-noise, dac, adc, ... composed with ``|``. It ends with the
    training: put the same device behind it to meet it at inference too.
    """

    reference = "Qin & Vucinic 2018, arXiv 1811.10649; Deep Noise Injection, arXiv 1807.06555"
    traits = DefenseTraits(Stage.TRAINING)

    noise: Defense = field(default_factory=lambda: create("defense", "layer-noise", snr_db=0.0))
    spread_db: Annotated[
        Number, Field(ge=0, le=100, description="each step's ratio is drawn from snr_db to snr_db + this, even in dB")
    ] = 0.0
    ramp: Annotated[Number, Field(ge=0, le=1, description="share of the training over which the noise rises")] = 0.0
    ramp_db: Annotated[Number, Field(ge=0, le=100, description="by how much less it starts, dB")] = 20.0
    while_crafting: Annotated[bool, Field(description="adversarial images are crafted under the noise too")] = False

    def check(self) -> None:
        """Refuse a child that isn't inside the network."""
        parts = self.noise.stages()
        wrong = [type(p).__name__ for p in parts if not isinstance(p, InsideDefense)]
        if wrong or not parts:
            raise BadParameter(
                f"NoiseTraining: noise = {', '.join(wrong) or 'nothing'} doesn't act inside the network. Expected "
                "layer-noise, absolute-noise, pni, device-noise, dac, adc, weight-quantiser, conductance-drift, "
                "stuck-cells, or several with |."
            )

    def prepared(self, model: Classifier) -> Classifier:
        """See `robustnoise.compose.Preparing`."""
        for stage in self._acting():
            model = stage.prepared(model)
        return model

    def during_forward(
        self, module: nn.Module, progress: float, seeds: SeedStream, *, crafting: bool
    ) -> AbstractContextManager[object]:
        """See `robustnoise.training.ForwardHook`; adversary and loss of a step meet one ratio and one device."""
        draw = torch.rand((), generator=seeds.generator("snr")).item() if self.spread_db else 0.0
        rising = max(0.0, 1 - progress / self.ramp) if self.ramp else 0.0
        extra = self.spread_db * draw + self.ramp_db * rising
        effects = [
            s.training_effect(s.products(module), extra, seeds.child("device", i)) for i, s in enumerate(self._acting())
        ]
        return device(module, effects, seeds.child("crafting" if crafting else "effect"))

    def _acting(self) -> list[InsideDefense]:
        return [s for s in self.noise.stages() if isinstance(s, InsideDefense) and not s.is_off()]

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """Not alone.

        Raises:
            BadParameter: always: a stage with a schedule must lead.
        """
        raise must_follow("noise-training")
