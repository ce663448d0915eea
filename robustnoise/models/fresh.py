"""Fresh networks whose initial weights come from a named stream."""

from __future__ import annotations

import math

import torch
from torch import nn

from robustnoise import building
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
    architecture = building.build(model, "model") if isinstance(model, str) else model
    seeds = seed if isinstance(seed, SeedStream) else SeedStream(seed, ("fresh",))
    # Built without storage first: the layers' own initialisation would draw from torch's global generator.
    with torch.device("meta"):
        module = architecture.build(input_shape, num_classes)
    give_storage(module)
    initialise(module, seeds.generator("weights"))
    return TorchClassifier(module, input_shape, num_classes, architecture)


def give_storage(module: nn.Module) -> None:
    """Memory on the CPU, not yet filled, for a module that was built on the device "meta".

    What `to_empty` does, which loads sympy for it: torch answers ``empty_like`` of tensors without storage in python.
    """
    module._apply(lambda t: torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device="cpu"))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Set every weight in place as torch's layers do by default, but from `generator`, and with open forget gates.

    Linear and convolutional layers: uniform of bound 1 / sqrt(fan in). Recurrent layers and cells: uniform of bound
    1 / sqrt(hidden), but for the forget gate of an LSTM, whose two biases are 1 and 0, so that it remembers from the
    start (Jozefowicz et al. 2015, "An empirical exploration of recurrent network architectures"). Attention: Xavier
    uniform for the inputs' projections, like a linear layer for the output's, biases 0. Norm layers: scale 1, shift 0,
    fresh statistics. A layer with ``starts_constant = True``: by its ``reset_parameters``, which draws nothing.

    Raises:
        BadParameter: a layer with weights is of another type.
    """
    for name, layer in module.named_modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            _uniform(layer, 1 / math.sqrt(layer.weight[0].numel()), generator)
        elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            _uniform(layer, 1 / math.sqrt(layer.hidden_size), generator)
            if isinstance(layer, nn.LSTM | nn.LSTMCell):
                _open_forget_gates(layer)
        elif isinstance(layer, nn.MultiheadAttention):
            _attention(layer, generator)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            layer.reset_parameters()  # constants: draws nothing
        elif getattr(layer, "starts_constant", False):
            layer.reset_parameters()
        elif own:
            raise BadParameter(
                f"layer {name!r} ({type(layer).__name__}) has weights that can't be initialised from a named stream; "
                "known are Linear, Conv1d, Conv2d, RNN, LSTM, GRU and their cells, MultiheadAttention, BatchNorm, "
                "GroupNorm and LayerNorm."
            )
    for layer in module.modules():
        # Only now: the output's projection is a linear layer, and the loop above comes to it after its attention.
        if isinstance(layer, nn.MultiheadAttention) and layer.out_proj.bias is not None:
            nn.init.zeros_(layer.out_proj.bias)


def _uniform(layer: nn.Module, bound: float, generator: torch.Generator) -> None:
    for parameter in layer.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def _open_forget_gates(layer: nn.LSTM | nn.LSTMCell) -> None:
    forget = slice(layer.hidden_size, 2 * layer.hidden_size)  # torch's order: input, forget, cell, output
    for name, parameter in layer.named_parameters(recurse=False):
        if name.startswith("bias"):
            nn.init.constant_(parameter[forget], 1.0 if name.startswith("bias_ih") else 0.0)


def _attention(layer: nn.MultiheadAttention, generator: torch.Generator) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        if name == "in_proj_bias":
            nn.init.zeros_(parameter)
        elif name in ("bias_k", "bias_v"):
            nn.init.xavier_normal_(parameter, generator=generator)
        else:
            nn.init.xavier_uniform_(parameter, generator=generator)
