"""A network in training, as those see it who craft on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnoise.models.classifier import TorchClassifier
from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream
from robustnoise.training.schedule import Precision


class LiveSource:
    """A network in training, as the loss and crafters see it: logits in its current mode and weights.

    Args:
        module: the network.
        classifier: what it becomes: its shape and classes.
        precision: of products and activations. Logits are float32 in any case.
    """

    stochastic = False
    passes = 1
    digest = "live"

    def __init__(self, module: nn.Module, classifier: TorchClassifier, precision: Precision = "float32") -> None:
        self.module = module
        self.precision = precision
        self.num_classes = classifier.num_classes
        self.input_shape = classifier.input_shape

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        return self.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (n, C, H, W), (n, num_classes) float32, with gradients."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            out: Tensor = self.module(x)
        return out.float()

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        with torch.no_grad():
            return Answer(self.logits(x, noise=noise).argmax(1))
