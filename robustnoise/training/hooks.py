"""What a defense may do in a training that it leads or takes part in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from robustnoise.protocols import Classifier
from robustnoise.seeds import SeedStream

Forward = Callable[[Tensor], Tensor]
"""Images (n, C, H, W) to float32 logits (n, num_classes), in the precision and under the noise of the training."""


@dataclass(frozen=True)
class Batch:
    """The images of a step.

    Args:
        clean: (n, C, H, W) float32 in [0, 1], as the leader of the training was given them.
        x: (n, C, H, W) float32, as the input hooks left them.
        y: (n,) int64 labels, or (n, num_classes) float32 probabilities.
        smoothing: label smoothing, 0 to 1.
    """

    clean: Tensor
    x: Tensor
    y: Tensor
    smoothing: float

    @property
    def labels(self) -> Tensor:
        """(n,) int64; of probabilities the largest."""
        return self.y.argmax(1) if self.y.is_floating_point() else self.y

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The mean cross-entropy of `logits` (n, num_classes), smoothed."""
        return functional.cross_entropy(logits, self.y, label_smoothing=self.smoothing)


@runtime_checkable
class InputHook(Protocol):
    """What a training-stage defense may do with a batch before the loss."""

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """The batch to train on.

        Args:
            source: a view of the network as it is now, with `logits` and `module`.
            x: (n, C, H, W) float32 in [0, 1].
            y: (n,) int64.
            progress: the share of the training that is done, 0 to 1.
            seeds: the stream of this hook and step.
        """
        ...


@runtime_checkable
class ForwardHook(Protocol):
    """What a training-stage defense may do to the network while it computes the loss."""

    @property
    def while_crafting(self) -> bool:
        """Whether it acts while the input hooks run too."""
        ...

    def during_forward(
        self, module: nn.Module, progress: float, seeds: SeedStream, *, crafting: bool
    ) -> AbstractContextManager[object]:
        """Entered around the forward passes of a step; leaves the module as it was.

        Args:
            module: the network in training.
            progress: the share of the training that is done, 0 to 1.
            seeds: the stream of this hook and step, the same while crafting and for the loss.
            crafting: it is entered around the input hooks.
        """
        ...


@runtime_checkable
class LossHook(Protocol):
    """What is minimised, in place of the cross-entropy of the batch; a training has one such hook at most."""

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """A scalar with gradients to the weights.

        Args:
            forward: the network; it may be asked several times, and noise is fresh each time.
            batch: the images as they are and as the input hooks left them.
        """
        ...


@runtime_checkable
class WeightHook(Protocol):
    """What a training-stage defense may do to the weights at which the gradient of a step is taken."""

    def around_loss(
        self, module: nn.Module, loss: Callable[[], Tensor], progress: float, seeds: SeedStream
    ) -> AbstractContextManager[object]:
        """Entered around the forward and backward passes of a step; leaves the weights as they were.

        Args:
            module: the network in training.
            loss: computes the loss of this step, each time with the same noise.
            progress: the share of the training that is done, 0 to 1.
            seeds: the stream of this hook and step.
        """
        ...


@runtime_checkable
class ReplayHook(Protocol):
    """A training that makes several steps on each batch, with a perturbation that goes on from step to step.

    The perturbation has the shape of a whole batch, starts at 0, passes from one batch to the next and is part of
    checkpoints.
    """

    @property
    def replays(self) -> int:
        """Steps on each batch, at least 1."""
        ...

    def perturbed(self, x: Tensor, perturbation: Tensor) -> Tensor:
        """The images to train on, of the shape of both."""
        ...

    def after_step(self, perturbation: Tensor, gradient: Tensor, progress: float) -> Tensor:
        """The perturbation of the next step.

        Args:
            perturbation: (n, C, H, W) that of this step.
            gradient: (n, C, H, W) of the loss at the images of this step.
            progress: the share of the training that is done, 0 to 1.
        """
        ...


Hook = InputHook | ForwardHook | LossHook | WeightHook | ReplayHook
