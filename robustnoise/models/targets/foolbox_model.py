"""A PyTorch model of Foolbox as a classifier of ours."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import nn

from robustnoise.errors import BadParameter
from robustnoise.models.classifier import evaluating
from robustnoise.models.targets.base import Array, Target, named


class FoolboxTarget(Target):
    """See `from_foolbox`."""

    def __init__(
        self, model: Any, *, name: str, input_shape: tuple[int, int, int], num_classes: int, stochastic: bool
    ) -> None:
        super().__init__(
            identity=named(name),
            input_shape=input_shape,
            num_classes=num_classes,
            output="logits",
            stochastic=stochastic,
        )
        self.model = model
        # Foolbox keeps the network in the closure of a function alone.
        cells = [cell.cell_contents for cell in model._model.__closure__ or ()]
        self._network = next(c for c in cells if isinstance(c, nn.Module))

    def ask(self, x: Array) -> Array:
        """The model's logits, its preprocessing included."""
        low, high = self.model.bounds
        images = torch.from_numpy(x * np.float32(high - low) + np.float32(low)).to(self.model.device)
        with evaluating(self._network):
            return self.model(images).cpu().numpy()  # type: ignore[no-any-return]


def from_foolbox(
    model: Any, *, name: str, input_shape: tuple[int, int, int], num_classes: int, stochastic: bool = False
) -> FoolboxTarget:
    """A classifier from a ``foolbox.PyTorchModel`` with its preprocessing; it answers logits.

    Args:
        model: its bounds are taken for black and white.
        name: stands for it in records and caches; take another whenever its answers change.
        input_shape: (C, H, W), which Foolbox doesn't know.
        num_classes: at least 2.
        stochastic: two answers to the same image may differ.

    Raises:
        BadParameter: it is no ``foolbox.PyTorchModel``, or a value is outside its range.
    """
    foolbox = sys.modules.get("foolbox")
    if foolbox is None or not isinstance(model, foolbox.PyTorchModel):
        raise BadParameter(
            f"{type(model).__name__} is no foolbox.PyTorchModel. For models of other frameworks use from_callable."
        )
    return FoolboxTarget(
        model, name=name, input_shape=input_shape, num_classes=num_classes, stochastic=stochastic
    )  # fmt: skip
