"""Limited precision: converters and weights of b bits, symmetric around 0, with straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import BadParameter, DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.noise.draws import Draws
from robustnoise_defenses.noise.inside import Effect, InsideDefense, Layers
from robustnoise_defenses.noise.measure import Signals
from robustnoise_defenses.noise.memory import InMemory
from robustnoise_defenses.noise.products import Op, select

DIGITAL_TO_ANALOG, IN_CELLS, ANALOG_TO_DIGITAL = 0, 20, 90
"""Places among the effects of a device."""

Bits = Annotated[int, Field(ge=0, le=24, description="resolution; 0 switches it off")]
FullScale = Annotated[
    Number, Field(gt=0, le=1000, description="largest value, as a multiple of the largest on training images")
]


def quantised(t: Tensor, peak: Tensor | float, bits: int) -> Tensor:
    """t on the nearest of the ``2 ** bits - 1`` levels from -peak to peak.

    The step is ``peak / (2 ** (bits - 1) - 1)``; the error inside the range is spread over a step, a noise power of
    ``step ** 2 / 12``. The gradient is that of clipping to [-peak, peak] (Bengio et al. 2013, arXiv 1308.3432).
    """
    top = torch.as_tensor(peak, dtype=t.dtype, device=t.device).detach()
    clipped = t.clamp(-top, top)
    step = (top / (2 ** (bits - 1) - 1)).clamp_min(torch.finfo(t.dtype).tiny)  # a full scale of 0 leaves 0, not 0 / 0
    rounded = (clipped / step).round() * step
    straight: Tensor = clipped + (rounded - clipped).detach()
    return straight


@dataclass(frozen=True)
class _Quantiser(InsideDefense):
    traits = DefenseTraits(Stage.INFERENCE, off={"bits": 0})

    bits: Bits = 8
    layers: Layers = "*"

    def check(self) -> None:
        """One bit leaves no level but 0."""
        if self.bits == 1:
            raise BadParameter(f"{type(self).__name__}: bits = 1 leaves the level 0 alone. Expected 0 or 2 to 24.")

    def is_off(self) -> bool:
        """At 0 bits."""
        return self.bits == 0


@dataclass(frozen=True)
class _Conversion(_Quantiser):
    at_input: ClassVar[bool]

    full_scale: FullScale = 1.0

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """See `InsideDefense.effect`."""
        who = type(self).__name__
        places = select(names, self.layers, who)
        find = signals().input if self.at_input else signals().output
        return _Converter(self, places, {name: find(name, who).peak * self.full_scale for name in places})

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """See `InsideDefense.training_effect`."""
        return _Converter(self, select(names, self.layers, type(self).__name__), None)


@dataclass(frozen=True)
class DAC(_Conversion):
    """Every product's input goes through a digital-to-analog converter of `bits` bits.

    Full scale: the largest magnitude of the product's input on up to 1,024 training images with noise off, times
    `full_scale`; while training, of the batch.
    """

    at_input = True


@dataclass(frozen=True)
class ADC(_Conversion):
    """Every product's output goes through an analog-to-digital converter of `bits` bits, after all noise.

    Full scale: as for `dac`, of the product's output with noise off. Strong noise needs a `full_scale` above 1.
    """

    at_input = False


@dataclass(frozen=True)
class WeightQuantiser(_Quantiser, InMemory):
    """Weights are stored in cells of `bits` bits; full scale is the largest magnitude of a product's weights."""

    place = IN_CELLS

    def stream(self, turn: int) -> SeedStream:
        """See `InMemory.stream`; rounding draws nothing."""
        return SeedStream(0)

    def stored(self, weight: Tensor, stream: SeedStream) -> Tensor:
        """See `InMemory.stored`."""
        return quantised(weight, weight.detach().abs().max(), self.bits)


class _Converter(Effect):
    def __init__(self, defense: _Conversion, places: list[str], peaks: dict[str, float] | None) -> None:
        super().__init__(places)
        self.bits, self.full_scale, self.peaks = defense.bits, defense.full_scale, peaks
        self.at_input = defense.at_input
        self.order = DIGITAL_TO_ANALOG if self.at_input else ANALOG_TO_DIGITAL

    @property
    def state(self) -> object:
        return self.peaks

    def on_input(self, name: str, a: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        return self._converted(name, a, counted) if self.at_input else a

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:  # fmt: skip
        return out if self.at_input else self._converted(name, out, counted)

    def _converted(self, name: str, t: Tensor, counted: Tensor | None) -> Tensor:
        if self.peaks is not None:
            return quantised(t, self.peaks[name], self.bits)
        real = t.detach() if counted is None else t.detach()[counted]
        return quantised(t, real.abs().amax() * self.full_scale if real.numel() else 0.0, self.bits)
