"""A classifier whose gradients come out of products in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.protocols import Answer, Classifier, Differentiable, Ensembled, require_differentiable
from robustnoise.seeds import SeedStream


def lowered(source: Classifier, device: str) -> Differentiable:
    """`source` with logits, and gradients, out of products in bfloat16; its answers stay those of float32.

    Raises:
        MissingCapability: it has no gradients.
    """
    whole = require_differentiable(source, "a gradient crafter")
    return LoweredEnsemble(whole, device) if isinstance(whole, Ensembled) else Lowered(whole, device)


class Lowered:
    """What `lowered` returns.

    Args:
        whole: the classifier in float32.
        device: such as ``"cpu"``, whose products are meant.
    """

    def __init__(self, whole: Differentiable, device: str) -> None:
        self.whole, self.device = whole, torch.device(device).type
        self.num_classes, self.input_shape = whole.num_classes, whole.input_shape
        self.stochastic, self.passes = whole.stochastic, whole.passes

    @property
    def digest(self) -> str:
        """That of the whole."""
        return self.whole.digest

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `robustnoise.protocols.Classifier.predict`."""
        return self.whole.predict(x, noise=noise)

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        # The network alone: what an attack computes around it, such as a projection, keeps every bit.
        with torch.autocast(self.device, torch.bfloat16):
            return self.whole.logits(x, noise=noise).float()


class LoweredEnsemble(Lowered):
    """The same of several networks, of which each is lowered, too."""

    def __init__(self, whole: Differentiable, device: str) -> None:
        assert isinstance(whole, Ensembled)
        super().__init__(whole, device)
        self.combine = whole.combine
        self.members = tuple(lowered(member, device) for member in whole.members)
