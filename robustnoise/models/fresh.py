"""Fresh networks whose initial weights come from a named stream."""

from __future__ import annotations

import math

import torch
from torch import nn

from robustnoise import registry
from robustnoise.errors import BadParameter
from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Model
from robustnoise.seeds import SeedStream


def create(
    model: str | Model,
    input_shape: tuple[int, int, int] = (1, 28, 28),
    num_classes: int = 10,
    *,
    seed: int | SeedStream = 0,
) -> TorchClassifier:
    """A classifier with fresh weights.

    Args:
        model: a registered architecture as text (``"small-cnn(width=32)"``) or object.
        input_shape: (C, H, W) of the images.
        num_classes: at least 2.
        seed: of the initial weights.
    """
    architecture = registry.build(model, "model") if isinstance(model, str) else model
    seeds = seed if isinstance(seed, SeedStream) else SeedStream(seed, ("fresh",))
    # Built without storage first: the layers' own initialisation would draw from torch's global generator.
    with torch.device("meta"):
        module = architecture.build(input_shape, num_classes)
    module = module.to_empty(device="cpu")
    initialise(module, seeds.generator("weights"))
    return TorchClassifier(module, input_shape, num_classes, architecture)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Set every weight in place as torch's layers do by default, but from `generator`.

    Linear and convolutional layers: uniform of bound 1 / sqrt(fan in). Norm layers: scale 1, shift 0, fresh statistics.

    Raises:
        BadParameter: a layer with weights is of another type.
    """
    for name, layer in module.named_modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in layer.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            layer.reset_parameters()  # constants: draws nothing
        elif own:
            raise BadParameter(
                f"layer {name!r} ({type(layer).__name__}) has weights that can't be initialised from a named stream; "
                "known are Linear, Conv1d, Conv2d, BatchNorm, GroupNorm and LayerNorm."
            )
