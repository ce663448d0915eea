"""Gaussian noise in the layers of a network: fresh at every query, or drawn once for a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import BadParameter, DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.noise.draws import Draws, Once, normals
from robustnoise_defenses.noise.inside import Effect, InsideDefense, Layers
from robustnoise_defenses.noise.measure import INPUT, LOGITS, Signal, Signals
from robustnoise_defenses.noise.power import TINY, Statistic, add_relative, add_scaled, signal_power
from robustnoise_defenses.noise.products import Op, select, square_norms, squared

Site = Literal["input", "layer_input", "pre_activation", "weight", "logits"]
Power = Literal["calibrated", "channel", "sample", "batch"]
Mode = Literal["additive", "multiplicative", "both"]

ENDS = {"input": INPUT, "logits": LOGITS}
"""The sites that are no product."""

ON_INPUT, ON_STORED_WEIGHT, ON_OUTPUT = 10, 30, 50
"""Places among the effects of a device; converters and memory are around them."""


@dataclass(frozen=True)
class LayerNoise(InsideDefense):
    """Adds fresh Gaussian noise at every matrix product: linear, convolutional, recurrent and attention layers.

    The standard deviation is ``sigma = sqrt(P) * 10 ** (-snr_db / 20)``: at 0 dB the noise is as strong as the signal.

    Site, the signal t:
        input: the image. layer_input: what goes into a product. pre_activation: its output with bias, before any norm
        layer or activation, the logits included. logits: the network's answer alone. weight: the weights, read
        afresh for every single product of a vector and a matrix; that is Gaussian noise of standard deviation
        ``sigma * |vector|`` at the output, which is how it is drawn.
    Power P:
        calibrated: over up to 1,024 training images with noise off, one number a product, frozen and part of the
        victim's identity. channel: the same, one number a channel (unit). sample: of each image on its own, over all
        units and places of the product; in recurrent layers at each time step. batch: over the batch, for training
        only. While training, where signals move, calibrated and channel are taken over the batch.
    Mode:
        additive ``t + sigma n``; multiplicative ``t (1 + 10 ** (-snr_db / 20) n)``, for which power and statistic
        don't matter; both, each with half of the noise's power.
    """

    version = 2
    reference = "Qin & Vucinic 2018, arXiv 1811.10649; pre_activation as PNI-A (He et al. 2019, arXiv 1811.09310)"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"snr_db": float("inf")})

    snr_db: Annotated[
        Number, Field(ge=-60, description="signal-to-noise power ratio in dB; inf switches the noise off")
    ] = 20.0
    site: Annotated[Site, Field(description="where the noise comes in")] = "pre_activation"
    power: Annotated[Power, Field(description="how the signal power is estimated")] = "calibrated"
    statistic: Annotated[Statistic, Field(description="E[t^2] or the variance of t")] = "second_moment"
    mode: Annotated[Mode, Field(description="added to the signal, in proportion to it, or both")] = "additive"
    layers: Layers = "*"

    def check(self) -> None:
        """Refuse combinations that mean nothing."""
        who = type(self).__name__
        if self.site == "weight" and self.power in ("sample", "batch"):
            raise BadParameter(
                f"{who}: power = {self.power!r} can't be the power of weights, which no image changes. "
                "Expected calibrated (one number a product) or channel (one a unit)."
            )
        if self.site in ENDS and self.layers != "*":
            raise BadParameter(
                f"{who}: layers = {self.layers!r} has no meaning at site {self.site!r}, which is no layer. "
                "Leave it out."
            )

    def is_off(self) -> bool:
        """At an infinite ratio."""
        return self.snr_db == float("inf")

    def effect(self, names: list[str], signals: Callable[[], Signals], turn: int) -> Effect:
        """See `InsideDefense.effect`."""
        if self.power == "batch":
            raise BadParameter(
                f"{type(self).__name__}: power = 'batch' lets the images of a batch change each other's noise: for "
                "training only. Score with sample, calibrated or channel."
            )
        places = self._places(names)
        powers: dict[str, list[float]] | None = None
        if self.power != "sample" and self.site != "weight" and self.mode != "multiplicative":
            who = type(self).__name__
            find = signals().input if self.site in ("input", "layer_input") else signals().output
            powers = {name: self._powers(find(name, who)) for name in places}
        return Noise(self, places, self.snr_db, powers, self._drawn_once(turn, None))

    def training_effect(self, names: list[str], extra_db: float, stream: SeedStream) -> Effect:
        """See `InsideDefense.training_effect`; the powers are those of the batch, gradients through them included."""
        return Noise(self, self._places(names), self.snr_db + extra_db, None, self._drawn_once(0, stream))

    def _drawn_once(self, turn: int, step: SeedStream | None) -> SeedStream | None:
        """The stream of the one draw of a device, in training that of the step; None draws afresh."""
        return None

    def _places(self, names: list[str]) -> list[str]:
        return [ENDS[self.site]] if self.site in ENDS else select(names, self.layers, type(self).__name__)

    def _powers(self, signal: Signal) -> list[float]:
        return signal.channel_power(self.statistic) if self.power == "channel" else [signal.power(self.statistic)]


@dataclass(frozen=True)
class DeviceNoise(LayerNoise):
    """Gaussian noise that is drawn once for a device and stays: the errors of programming its cells, its offsets.

    As `layer-noise`, but every image meets the same draw, which `device_seed` decides. At site weight the stored
    weights themselves are wrong by it. Report it over several devices.
    """

    version = 1
    reference = "Joshi et al. 2020, arXiv 1906.03138 (programming noise of phase-change memory)"
    traits = DefenseTraits(Stage.INFERENCE, off={"snr_db": float("inf")})

    site: Annotated[Site, Field(description="where the noise comes in")] = "weight"
    device_seed: Annotated[int, Field(ge=0, description="which device")] = 0

    def _drawn_once(self, turn: int, step: SeedStream | None) -> SeedStream | None:
        return step or SeedStream(self.device_seed, ("device", self.site, turn))


class Noise(Effect):
    """The effect of `LayerNoise` and `DeviceNoise`.

    Args:
        defense: site, mode, power, statistic.
        places: where it acts.
        snr_db: at this ratio.
        powers: calibrated signal powers by place, one number or one a channel; None takes those of the signal at hand.
        device: the stream of the device's one draw; None draws afresh.
    """

    def __init__(
        self,
        defense: LayerNoise,
        places: list[str],
        snr_db: float,
        powers: dict[str, list[float]] | None,
        device: SeedStream | None,
    ) -> None:
        super().__init__(places)
        self.site, self.mode, self.power = defense.site, defense.mode, defense.power
        self.statistic = defense.statistic
        self.ratio: float = 10 ** (-snr_db / 20)
        self.powers, self.device = powers, device
        self.changes_weights = self.site == "weight" and device is not None
        self.order = {"layer_input": ON_INPUT, "input": ON_INPUT, "weight": ON_STORED_WEIGHT}.get(self.site, ON_OUTPUT)
        self._once = Once()

    @property
    def state(self) -> object:
        """The calibrated powers."""
        return self.powers

    def on_input(self, name: str, a: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        """Noise on the image, a product's input or the logits."""
        if self.site in ("pre_activation", "weight"):
            return a
        return self._noisy(name, a, axis, counted, draws)

    def on_weight(self, name: str, weight: Tensor, draws: Draws) -> Tensor:
        """The wrongly stored weights of a device."""
        if not self.changes_weights or self.device is None:
            return weight
        sigma = self.ratio * (self._mixed(weight.square(), self._weight_power(weight)) + TINY).sqrt()
        draw = normals(weight.numel(), self.device.child(name)).view(weight.shape)
        return torch.addcmul(weight, draw.to(weight.device, weight.dtype), sigma.to(weight.dtype))

    def on_output(
        self, name: str, out: Tensor, a: Tensor, weight: Tensor, op: Op, axis: int, counted: Tensor | None, draws: Draws
    ) -> Tensor:  # fmt: skip
        """Noise on a product's output, and what noise of reading the weights adds up to there."""
        if self.site == "pre_activation":
            return self._noisy(name, out, axis, counted, draws)
        if self.site != "weight" or self.changes_weights:
            return out
        own = squared(op, a, weight) if self.mode != "additive" else out.new_zeros(())
        common = out.new_zeros(())
        if self.mode != "multiplicative":
            power = self._weight_power(weight)
            units = power.view(-1, *(1,) * (out.dim() - 2)) if axis == 1 else power.view(-1)
            common = square_norms(op, a, weight) * units
        sigma = self.ratio * (self._mixed(own, common) + TINY).sqrt()
        return add_scaled(out, self._draw(name, out, draws), sigma)

    def _noisy(self, name: str, t: Tensor, axis: int, counted: Tensor | None, draws: Draws) -> Tensor:
        draw = self._draw(name, t, draws)
        if self.mode == "multiplicative":
            return add_scaled(t, draw, t * self.ratio)
        if self.powers is not None and self.mode == "additive" and len(self.powers[name]) == 1:
            return add_scaled(t, draw, self.ratio * self.powers[name][0] ** 0.5)
        axes = self._axes(t, axis)
        plain = self.statistic == "second_moment" and (counted is None or 0 not in axes)
        if self.powers is None and self.mode == "additive" and plain:
            return add_relative(t, draw, self.ratio, axes)
        power = self._frozen(name, t, axis) if self.powers else signal_power(t, axes, self.statistic, counted)
        return add_scaled(t, draw, self.ratio * (self._mixed(t.square(), power) + TINY).sqrt())

    def _mixed(self, own: Tensor, common: Tensor) -> Tensor:
        """The power that the noise follows: each element's `own`, the `common` one, or half of both."""
        return {"additive": common, "multiplicative": own}.get(self.mode, (own + common) / 2)

    def _axes(self, t: Tensor, axis: int) -> tuple[int, ...]:
        """What the power at hand is averaged over; calibrated and channel powers move while training."""
        every = tuple(range(t.dim()))
        if self.power == "sample":
            return every[1:]
        return tuple(a for a in every if a != axis % t.dim()) if self.power == "channel" else every

    def _frozen(self, name: str, t: Tensor, axis: int) -> Tensor:
        def make() -> Tensor:
            assert self.powers is not None
            shape = [1] * t.dim()
            shape[axis] = -1
            return torch.tensor(self.powers[name], device=t.device).view(shape)

        return self._once.get("power", name, t.dim(), t.device, make=make)

    def _weight_power(self, weight: Tensor) -> Tensor:
        """(1,) or (units,) power of a weight matrix, shaped to multiply it."""
        axes = tuple(range(0 if self.power == "calibrated" else 1, weight.dim()))
        return signal_power(weight, axes, self.statistic)

    def _draw(self, name: str, t: Tensor, draws: Draws) -> Tensor:
        device = self.device
        if device is None:
            return draws.normal_like(name, t)
        shape = t.shape[1:]

        def make() -> Tensor:
            return normals(shape.numel(), device.child(name)).view(1, *shape).to(t.device, t.dtype)

        # In the layout of t: where the sum is written into the draw, what follows must not meet another layout.
        return torch.empty_like(t).copy_(self._once.get("draw", name, shape, t.device, t.dtype, make=make))
