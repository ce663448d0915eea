"""Where an ascent starts, and how a gradient becomes a step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Norm, SeedStream, ThreatModel


class Update:
    """The step of one run, with what it remembers of earlier ones.

    Args:
        x: (n, C, H, W) the images before the attack.
        threat: norm and radius.
        step: length of a step, in pixels of [0, 1] (l-infinity) or in the l2 norm of an image.
        momentum: decay of the accumulated gradient; 0 forgets.
        nesterov: look ahead along the accumulated gradient.
        pi: how many times longer a patch-wise step is; 0 is no patch-wise step. l-infinity alone.
    """

    def __init__(
        self, x: Tensor, threat: ThreatModel, step: float, *, momentum: float, nesterov: bool, pi: float
    ) -> None:
        self.threat, self.step = threat, step
        self.momentum, self.nesterov, self.pi = momentum, nesterov, pi
        self.velocity = torch.zeros_like(x)
        self.amplified = torch.zeros_like(x)

    def ahead(self, x: Tensor) -> Tensor:
        """Where the gradient is taken: at `x`, or a step further where momentum leads."""
        if not self.nesterov:
            return x
        if self.threat.norm is Norm.LINF:
            # The paper normalises gradients by their l1 norm, its authors' code by the mean absolute value. With the
            # former a look-ahead would be shorter by the number of pixels, and lead nowhere.
            return x + self.step * self.momentum * self.velocity * x[0].numel()
        return x + self.step * self.momentum * self.velocity / _norm(self.velocity)

    def __call__(self, gradient: Tensor) -> Tensor:
        """The step, of the shape of `gradient`."""
        if self.momentum:
            gradient = self.velocity = self.momentum * self.velocity + gradient / per_image(
                gradient.abs().flatten(1).sum(1)
            )
        if self.threat.norm is Norm.L2:
            return self.step * gradient / _norm(gradient)
        if not self.pi:
            return self.step * gradient.sign()
        return self._patchwise(self.pi * self.step * gradient.sign())

    def _patchwise(self, move: Tensor) -> Tensor:
        """A step too long, and what of it left the ball handed on to the pixels around."""
        self.amplified = self.amplified + move
        # Rounding alone must not look like an excess, since its sign is all that counts below.
        excess = (self.amplified.abs() - self.threat.eps * (1 + 1e-6)).clamp_min(0) * self.amplified.sign()
        handed_on = self.pi * self.step * around(excess).sign()
        self.amplified = self.amplified + handed_on
        return move + handed_on


def around(x: Tensor) -> Tensor:
    """The sum of the eight neighbours of every pixel, channel by channel; beyond the border is 0."""
    kernel = x.new_ones(x.shape[1], 1, 3, 3)
    kernel[:, :, 1, 1] = 0
    return functional.conv2d(x, kernel, padding=1, groups=x.shape[1])


def start(x: Tensor, threat: ThreatModel, seeds: SeedStream, *, random: bool) -> Tensor:
    """`x`, or a uniform point of the ball around it; not clipped to [0, 1]."""
    return x + uniform_in_ball(x, threat, seeds.generator("start")) if random else x.clone()


def uniform_in_ball(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """One perturbation per image, uniform in the ball of radius eps; not clipped to the image bounds.

    Returns:
        the shape and device of `x`, float32.
    """
    if threat.norm is Norm.LINF:
        draw = torch.rand(x.shape, generator=generator) * 2 - 1
        return draw.to(x.device) * threat.eps
    direction = torch.randn(x.shape, generator=generator)
    radius = torch.rand(len(x), generator=generator) ** (1 / x[0].numel())
    return (unit(direction) * radius.view(-1, 1, 1, 1)).to(x.device) * threat.eps


def per_image(values: Tensor) -> Tensor:
    """(n,) positive divisors as (n, 1, 1, 1), kept away from 0."""
    return values.clamp_min(1e-12).view(-1, 1, 1, 1)


def unit(x: Tensor) -> Tensor:
    """`x` (n, C, H, W) with images of l2 norm 1; zeros stay zeros."""
    return x / _norm(x)


def _norm(x: Tensor) -> Tensor:
    return per_image(x.flatten(1).norm(dim=1))
