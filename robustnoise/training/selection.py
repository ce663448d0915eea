"""Early stopping: the weights of the epoch that did best on images which were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from robustnoise.blocks import BLOCK
from robustnoise.models.classifier import evaluating, memory_layout
from robustnoise.protocols import Classifier
from robustnoise.seeds import SeedStream
from robustnoise.training.images import as_floats
from robustnoise.training.source import LiveSource


class HeldOut(NamedTuple):
    """Images that a training is judged by after every epoch."""

    images: Tensor
    """(n, C, H, W) uint8, or float32 in [0, 1]."""
    labels: Tensor
    """(n,) int64."""
    withstands: Callable[[Classifier, Tensor, Tensor, SeedStream], Tensor]
    """(network in eval mode, images, labels, stream) to (n,) bool: which images it gets right, under attack or not."""


class Selection:
    """Keeps the weights of the best epoch so far; of equal ones the later, which has trained longer.

    Args:
        held_out: what decides.
        source: the network in training.
        seeds: of the attack on the held-out images, the same after every epoch.
    """

    def __init__(self, held_out: HeldOut, source: LiveSource, seeds: SeedStream) -> None:
        self.held_out, self.source, self.seeds = held_out, source, seeds
        self.right = -1
        """Held-out images that the best epoch's weights get right; -1 before the first epoch."""
        self.weights: dict[str, Tensor] = {}

    def after_epoch(self) -> None:
        """Judge the network as it is now."""
        right = self._right()
        if right >= self.right:
            self.right = right
            self.weights = {k: v.detach().clone() for k, v in self.source.module.state_dict().items()}

    def _right(self) -> int:
        module = self.source.module
        device, layout = next(module.parameters()).device, memory_layout(module)
        total = 0
        with evaluating(module):
            parts = zip(self.held_out.images.split(BLOCK), self.held_out.labels.split(BLOCK), strict=True)
            for number, (images, labels) in enumerate(parts):
                x = as_floats(images).to(device, memory_format=layout)
                right = self.held_out.withstands(self.source, x, labels.to(device), self.seeds.child(number))
                total += int(right.sum())
        return total

    def resume(self, right: int, weights: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint kept."""
        self.right, self.weights = right, dict(weights)

    def finish(self) -> None:
        """Put the best weights into the network."""
        self.source.module.load_state_dict(self.weights)
