"""Random resizing and padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import Classifier, Context, Defense, DefenseTraits, InputWrapper, Number, SeedStream, Stage


@dataclass(frozen=True)
class RandomResize(Defense):
    """Shrinks every image to a random size and puts it at a random place on a black ground of the old size.

    The side of an image of side s is a whole number drawn evenly from ``smallest s``, rounded, to s, for height and
    width alike by the same share; the place is drawn evenly from those where the image fits. Every image and every
    query has draws of its own. Interpolation is bilinear, without antialiasing, and differentiable.

    The paper enlarges 299 pixels to 299..330 on a ground of 331, for networks that take any size. The networks here
    have one size, so the ground keeps it and the image shrinks by the same shares: 299/331 = 0.903 is the default.
    """

    reference = "Xie, Wang, Zhang, Ren & Yuille 2018, arXiv 1711.01991"
    traits = DefenseTraits(Stage.INFERENCE, stochastic=True, off={"smallest": 1.0})

    smallest: Annotated[Number, Field(gt=0, le=1, description="the least size of the image, as a share of its own")] = (
        299 / 331
    )

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.smallest == 1 else _Resized(model, self)


class _Resized(InputWrapper):
    def __init__(self, inner: Classifier, defense: RandomResize) -> None:
        super().__init__(inner, defense, stochastic=True)
        self.smallest = defense.smallest

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        n, (height, width) = len(x), x.shape[2:]
        # Three numbers a row, drawn row by row, so that a row's draws don't depend on how many follow.
        draws = torch.rand(n, 3, generator=noise.generator("random-resize"), dtype=torch.float64)
        least = max(1, round(self.smallest * height))
        tall = least + (draws[:, 0] * (height - least + 1)).long()
        wide = (tall * width / height).round().long().clamp_min(1)
        top, left = (
            (draws[:, i] * (side - size + 1)).long() for i, side, size in ((1, height, tall), (2, width, wide))
        )
        rows, columns = (
            shrinking(side, size, start).to(x.device, x.dtype)[:, None]
            for side, size, start in ((height, tall, top), (width, wide, left))
        )
        return rows @ x @ columns.transpose(2, 3)


def shrinking(side: int, size: Tensor, start: Tensor) -> Tensor:
    """(n, side, side) float64 matrices that shrink `side` numbers to `size` (n,) of them, put at `start` (n,), else 0.

    Linear interpolation between the centres of the pixels, the last ones repeated beyond the border: row i of matrix b
    weighs the numbers around ``(i - start + 1/2) side / size - 1/2``.
    """
    place = torch.arange(side, dtype=torch.float64)
    offset = place - start[:, None]
    source = ((offset + 0.5) * side / size[:, None] - 0.5).clamp(0, side - 1)
    inside = (offset >= 0) & (offset < size[:, None])
    return (1 - (source[:, :, None] - place).abs()).clamp_min(0) * inside[:, :, None]
