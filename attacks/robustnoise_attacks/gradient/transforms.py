"""Changes to the image or to its gradient that keep an attack from fitting one source too closely."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Split, to_tensor


def resize_and_pad(x: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """`x` shrunk to a random size and put at a random place on black, as large as before.

    One geometry for the whole batch, so that an image's result doesn't depend on its neighbours.

    Args:
        x: (n, C, H, W).
        smallest: the least that a side may shrink to, as a share of it.
        generator: of size and place.
    """
    share = smallest + (1 - smallest) * torch.rand(1, generator=generator).item()
    pads: list[int] = []
    for dim, place in zip((2, 3), torch.rand(2, generator=generator).tolist(), strict=True):
        old = x.shape[dim]
        new = max(1, round(share * old))
        # The nearest pixel; none is taken twice, so that gradients add up in one order on any device.
        x = x.index_select(dim, torch.arange(new, device=x.device) * old // new)
        before = int(place * (old - new + 1))
        pads = [before, old - new - before, *pads]  # the last dimension comes first
    return functional.pad(x, pads)


def gaussian_kernel(side: int) -> Tensor:
    """(side, side) float32 weights that sum to 1 and reach three standard deviations to each side."""
    at = torch.linspace(-3, 3, side, dtype=torch.float64) if side > 1 else torch.zeros(1, dtype=torch.float64)
    line = (-at.square() / 2).exp()
    line = line / line.sum()
    return (line[:, None] * line[None, :]).float()


def smooth(gradient: Tensor, side: int) -> Tensor:
    """`gradient` (n, C, H, W) convolved with `gaussian_kernel`: the gradient over small translations of the image."""
    channels = gradient.shape[1]
    kernel = gaussian_kernel(side).to(gradient).expand(channels, 1, side, side)
    return functional.conv2d(gradient, kernel, padding=side // 2, groups=channels)


class Pool(NamedTuple):
    """The attacker's images in the order of their labels."""

    images: Tensor
    """(m, C, H, W) uint8."""
    labels: Tensor
    """(m,) int64, rising."""

    @classmethod
    def of(cls, split: Split) -> Pool:
        """All images of `split`."""
        labels, order = to_tensor(split.labels).sort(stable=True)
        return cls(to_tensor(split.images)[order], labels)

    def partners(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """For each label of `y` (n,) an image of another class, drawn evenly; of any where there is no other.

        Returns:
            (n, C, H, W) float32 in [0, 1].
        """
        labels = y.cpu()
        first = torch.searchsorted(self.labels, labels)
        own = torch.searchsorted(self.labels, labels, right=True) - first
        own = torch.where(own == len(self.labels), 0, own)
        drawn = torch.rand(len(y), generator=generator, dtype=torch.float64) * (len(self.labels) - own)
        chosen = drawn.long()
        return self.images[torch.where(chosen < first, chosen, chosen + own)].to(y.device).float() / 255
