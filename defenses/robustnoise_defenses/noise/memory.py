"""Weights as a device holds them: what happens to them once, in storage. Drift and stuck cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.noise.draws import Draws, normals
from robustnoise_defenses.noise.inside import Effect, InsideDefense, Layers
from robustnoise_defenses.noise.measure import Signals
from robustnoise_defenses.noise.products import select

DRIFTED, STUCK = 40, 45
"""Places among the effects of a device: cells are programmed, drift, and some are stuck whatever was programmed."""

Device = Annotated[int, Field(ge=0, description="which device")]


class InMemory(InsideDefense):
    """Base of the defenses that change weights in storage: a subclass says when, how, and from which stream."""

    layers: str
    place: ClassVar[int]
    """See `Effect.order`."""

    def stream(self, turn: int) -> SeedStream:
        """Of what is drawn for the device; see `InsideDefense.effect` for `turn`."""
        raise NotImplementedError

    def stored(self, weight: Tensor, stream: SeedStream) -> Tensor:
        """What becomes of `weight`."""
        raise NotImplementedError

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """See `InsideDefense.effect`."""
        return _Stored(self, names, self.stream(turn))

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """See `InsideDefense.training_effect`."""
        return _Stored(self, names, stream)


@dataclass(frozen=True)
class ConductanceDrift(InMemory):
    """Weights decay with the time since they were programmed: ``w(t) = w (t / reference_seconds) ** -nu``.

    Each cell has an exponent of its own, Gaussian around `exponent` with standard deviation `spread`, cut off at 0.
    Times up to `reference_seconds` leave the weights as they are.
    """

    reference = "power law as in aihwkit's PCMLikeNoiseModel (Nandakumar et al., ICECS 2019), nu alike at all weights"
    traits = DefenseTraits(Stage.INFERENCE, off={"seconds": 0.0})
    place = DRIFTED

    seconds: Annotated[Number, Field(ge=0, description="time since programming, s; 0 switches it off")] = 3600.0
    exponent: Annotated[Number, Field(ge=0, le=1, description="mean drift exponent nu")] = 0.05
    spread: Annotated[Number, Field(ge=0, le=1, description="standard deviation of nu over the cells")] = 0.0
    reference_seconds: Annotated[Number, Field(gt=0, description="time of the first reading, s")] = 20.0
    device_seed: Device = 0
    layers: Layers = "*"

    def is_off(self) -> bool:
        """Up to the reference time."""
        return self.seconds <= self.reference_seconds or (self.exponent == 0 and self.spread == 0)

    def stream(self, turn: int) -> SeedStream:
        """See `InMemory.stream`."""
        return SeedStream(self.device_seed, ("device", "drift", turn))

    def stored(self, weight: Tensor, stream: SeedStream) -> Tensor:
        """See `InMemory.stored`."""
        nu = self.exponent + self.spread * normals(weight.numel(), stream).view(weight.shape)
        decay = (self.seconds / self.reference_seconds) ** -nu.clamp_min(0)
        return weight * decay.to(weight.device, weight.dtype)


@dataclass(frozen=True)
class StuckCells(InMemory):
    """A share of the cells can't be programmed: their weights are 0, or plus or minus the product's largest weight."""

    traits = DefenseTraits(Stage.INFERENCE, off={"share": 0.0})
    place = STUCK

    share: Annotated[Number, Field(ge=0, le=1, description="share of the cells that are stuck")] = 0.01
    at: Annotated[Literal["zero", "peak"], Field(description="where a stuck cell stays")] = "zero"
    device_seed: Device = 0
    layers: Layers = "*"

    def is_off(self) -> bool:
        """At a share of 0."""
        return self.share == 0

    def stream(self, turn: int) -> SeedStream:
        """See `InMemory.stream`."""
        return SeedStream(self.device_seed, ("device", "stuck", turn))

    def stored(self, weight: Tensor, stream: SeedStream) -> Tensor:
        """See `InMemory.stored`."""
        draw = torch.rand(weight.shape, generator=stream.generator("which")).to(weight.device)
        value = torch.zeros_like(weight)
        if self.at == "peak":
            sign = torch.rand(weight.shape, generator=stream.generator("sign")).to(weight.device) - 0.5
            value = sign.sign().to(weight.dtype) * weight.detach().abs().max()
        return torch.where(draw < self.share, value, weight)


class _Stored(Effect):
    changes_weights = True

    def __init__(self, defense: InMemory, names: list[str], stream: SeedStream) -> None:
        super().__init__(select(names, defense.layers, type(defense).__name__))
        self.order, self.defense, self.stream = defense.place, defense, stream

    def on_weight(self, name: str, weight: Tensor, draws: Draws) -> Tensor:
        return self.defense.stored(weight, self.stream.child(name))
