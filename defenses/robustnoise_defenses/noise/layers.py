"""Noise inside the network, right after each matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import (
    BadParameter,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    LayerWrapper,
    Modular,
    Number,
    SeedStream,
    Split,
    Stage,
    require_modular,
)

CALIBRATION_IMAGES = 1024
MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class LayerNoise(Defense):
    """Adds fresh Gaussian noise to the pre-activations of every linear and convolutional layer, the logits included.

    Site ``pre_activation``: right after the matrix product and bias, before batch norm. Layer l gets a standard
    deviation of ``sqrt(P_l) * 10 ** (-snr_db / 20)``. P_l is the calibrated power: the mean square of the
    layer's pre-activations over up to 1,024 training images with noise off, one number a layer, frozen and part of the
    victim's identity.
    """

    reference = "Qin & Vucinic 2018, arXiv 1811.10649; site as PNI-A (He et al. 2019, arXiv 1811.09310)"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"snr_db": float("inf")})

    snr_db: Annotated[
        Number, Field(ge=-60, description="signal-to-noise power ratio in dB; inf switches the noise off")
    ] = 20.0

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`; needs a network whose layers can be reached, and training images to calibrate on."""
        modular = require_modular(model, "layer-noise")
        if self.snr_db == float("inf"):
            return model
        powers = calibrated_powers(modular.module, ctx.need_train("layer-noise"))
        ratio = 10 ** (-self.snr_db / 20)
        return _Noisy(modular, self, {name: power**0.5 * ratio for name, power in powers.items()})


def calibrated_powers(module: nn.Module, train: Split) -> dict[str, float]:
    """The mean square of each matrix layer's output over the first 1,024 training images, by layer name.

    Raises:
        BadParameter: the network has no linear or convolutional layer.
    """
    layers = matrix_layers(module)
    if not layers:
        raise BadParameter("layer-noise: the network has no Linear, Conv1d or Conv2d layer to put noise on.")
    sums = dict.fromkeys(layers, 0.0)
    counts = dict.fromkeys(layers, 0)

    def measure(name: str, out: Tensor) -> Tensor:
        sums[name] += out.double().square().sum().item()
        counts[name] += out.numel()
        return out

    device = next(module.parameters()).device
    images = train.take(min(CALIBRATION_IMAGES, len(train)))
    with torch.inference_mode(), _after_each(layers, measure):
        for start in range(0, len(images), 128):
            module(torch.from_numpy(images.floats(start, min(start + 128, len(images)))).to(device))
    return {name: sums[name] / counts[name] for name in layers if counts[name]}


def matrix_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The linear and convolutional layers by name, in the order of the network."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, MATRIX_LAYERS)}


@contextmanager
def _after_each(layers: dict[str, nn.Module], function: object) -> Iterator[None]:
    """Call ``function(name, output)`` after each layer's forward and use what it returns; removed at the end."""
    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(_Hook(name, function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Hook:
    def __init__(self, name: str, function: object) -> None:
        self.name, self.function = name, function

    def __call__(self, _layer: nn.Module, _args: object, out: Tensor) -> Tensor:
        result: Tensor = self.function(self.name, out)  # type: ignore[operator]
        return result


class _Noisy(LayerWrapper):
    def __init__(self, inner: Modular, defense: LayerNoise, sigmas: dict[str, float]) -> None:
        super().__init__(inner, defense, stochastic=True, state=sigmas)
        self.sigmas = sigmas

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        # One generator a layer and call: a layer that runs twice in a pass (shared weights) goes on drawing from it.
        generators = {name: noise.generator("layer-noise", name) for name in self.sigmas}

        def add(name: str, out: Tensor) -> Tensor:
            draw = torch.randn(out.shape, generator=generators[name])
            return out + self.sigmas[name] * draw.to(out.device)

        layers = {name: layer for name, layer in matrix_layers(self.module).items() if name in self.sigmas}
        with _after_each(layers, add):
            return self.inner.logits(x, noise=noise.child("inner"))
