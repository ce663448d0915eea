"""What attacks with gradients get where a defense changes nothing but the numbers that are shown."""

from __future__ import annotations

from torch import Tensor

from robustnoise.api import SeedStream, Wrapper, require_differentiable


class Beneath:
    """The stand-in of a wrapper that keeps labels and masks scores: its answers, and the logits beneath the mask.

    Whoever has gradients sees through such a mask, so an attack that follows these logits is the strong one.

    Args:
        wrapper: it asks its inner classifier with the noise ``noise.child("inner")``.

    Raises:
        MissingCapability: the inner classifier has no gradients.
    """

    def __init__(self, wrapper: Wrapper) -> None:
        self.inner = require_differentiable(wrapper.inner, "an attack")
        self.predict = wrapper.predict
        self.num_classes, self.input_shape = wrapper.num_classes, wrapper.input_shape
        self.stochastic, self.passes, self.digest = wrapper.stochastic, wrapper.passes, wrapper.digest

    def logits(self, x: Tensor, *, noise: SeedStream) -> Tensor:
        """See `robustnoise.protocols.Differentiable.logits`."""
        return self.inner.logits(x, noise=noise.child("inner"))
