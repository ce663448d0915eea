"""Input defenses without a useful derivative: gradients pass them as if they weren't there."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnoise.api import InputWrapper, SeedStream


class StraightInput(InputWrapper):
    """Base of a wrapper whose change of the image is flat or jumps: a subclass implements `changed`.

    The gradient is that of the identity, which is close since the changed image is: backward pass differentiable
    approximation, Athalye, Carlini & Wagner 2018, arXiv 1802.00420.
    """

    def changed(self, x: Tensor) -> Tensor:
        """The image that the inner classifier sees; nothing of it is differentiated."""
        raise NotImplementedError

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        """See `InputWrapper.change`."""
        with torch.no_grad():
            changed = self.changed(x.detach())
        # An exact zero is added where a gradient is asked for, so both ways see the very same image.
        return changed + (x - x.detach()) if x.requires_grad else changed
