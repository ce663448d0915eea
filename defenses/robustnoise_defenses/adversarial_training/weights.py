"""Gradients at weights that were moved against the training: a stage that takes part in any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from robustnoise.api import Classifier, Context, Defense, DefenseTraits, Number, SeedStream, Stage
from robustnoise_defenses.joining import must_follow


@dataclass(frozen=True)
class WeightPerturbation(Defense):
    """Take every gradient where the loss of the step is higher: each weight matrix or kernel moved up its own slope.

    It takes part in the training of the stage that leads, whatever its loss: ``pgd-training(eps=0.3) |
    weight-perturbation``. Each parameter with two axes or more moves by `gamma` times its norm along its gradient;
    biases and norm layers stay. Adversarial images are crafted before, at the weights as they are. After the backward
    pass the weights are what they were, to the bit, and the optimizer steps from there.
    """

    reference = "Wu et al. 2020, arXiv 2004.05884"
    traits = DefenseTraits(Stage.TRAINING)

    gamma: Annotated[Number, Field(ge=0, le=1, description="length of the move over the norm of the weight")] = 0.01
    _: KW_ONLY
    warmup: Annotated[Number, Field(ge=0, le=1, description="share of the training before it begins")] = 0.0

    @contextmanager
    def around_loss(
        self, module: nn.Module, loss: Callable[[], Tensor], progress: float, seeds: SeedStream
    ) -> Iterator[None]:
        """See `robustnoise.training.WeightHook`."""
        if self.gamma == 0 or progress < self.warmup:
            yield
            return
        weights = [p for p in module.parameters() if p.dim() > 1]
        with _same_buffers(module):
            slopes = torch.autograd.grad(loss(), weights, allow_unused=True)
        before = [w.detach().clone() for w in weights]
        try:
            with torch.no_grad():
                for weight, slope in zip(weights, slopes, strict=True):
                    length = 0.0 if slope is None else float(slope.norm())
                    if slope is not None and length > 0:
                        weight.add_(slope, alpha=self.gamma * float(weight.norm()) / length)
            yield
        finally:
            with torch.no_grad():
                for weight, kept in zip(weights, before, strict=True):
                    weight.copy_(kept)

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """Not alone.

        Raises:
            BadParameter: always: a stage with a schedule must lead.
        """
        raise must_follow("weight-perturbation")


@contextmanager
def _same_buffers(module: nn.Module) -> Iterator[None]:
    """Norm layers learn from the pass of the training alone, not from the one that finds the slope."""
    before = [(b, b.clone()) for b in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in before:
                buffer.copy_(kept)
