"""Training that looks harder at images which the network gets wrong as they are."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from robustnoise.api import Batch, Classifier, Forward, Number, SeedStream, evaluating, require_modular
from robustnoise_defenses.adversarial_training.pgd import PGDTraining
from robustnoise_defenses.adversarial_training.trades import divergence


@dataclass(frozen=True)
class MartTraining(PGDTraining):
    """Minimise a boosted cross-entropy of adversarial images, plus how far they move the answers to uncertain images.

    With p the probabilities of an image, q those of its adversarial image and y its label, an image's loss is
    ``-log q_y - log(1 - max of the other q) + beta KL(p || q) (1 - p_y)``. Gradients go through all of it. Adversarial
    images raise the cross-entropy, as in pgd-training, but with the network in eval mode, as in the authors' code.
    """

    reference = "Wang et al. 2020, ICLR, 'Improving adversarial robustness requires revisiting misclassified examples'"

    _: KW_ONLY
    beta: Annotated[Number, Field(ge=0, le=1000, description="weight of the divergence, lambda in the paper")] = 6.0

    def on_inputs(self, source: Classifier, x: Tensor, y: Tensor, progress: float, seeds: SeedStream) -> Tensor:
        """Adversarial images of the current radius."""
        with evaluating(require_modular(source, "mart-training").module):
            return super().on_inputs(source, x, y, progress, seeds)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """See `robustnoise.training.LossHook`."""
        clean, moved = forward(batch.clean), forward(batch.x)
        y = batch.labels[:, None]
        sure = clean.softmax(1).gather(1, y)[:, 0]
        weighted = divergence(clean, moved) * (1 - sure)
        return batch.cross_entropy(moved) + margin(moved, y) + self.beta * weighted.mean()


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Minus the mean log of all that isn't the largest probability of a class other than `y` (n, 1).

    From the other logits rather than as log(1 - p), which is minus infinity where p rounds to 1.
    """
    wrong = logits.scatter(1, y, -float("inf")).argmax(1, keepdim=True)
    rest = logits.scatter(1, wrong, -float("inf")).logsumexp(1)
    return (logits.logsumexp(1) - rest).mean()
