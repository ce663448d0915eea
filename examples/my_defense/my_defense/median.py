"""A median filter in front of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from robustnoise.api import BadParameter, Classifier, Context, Defense, DefenseTraits, InputWrapper, SeedStream, Stage


@dataclass(frozen=True)
class MedianFilter(Defense):
    """Replaces every pixel by the median of the square around it, channel by channel; the border is repeated."""

    reference = "Xu, Evans, Qi 2018, arXiv 1704.01155 (median smoothing)"
    traits = DefenseTraits(Stage.INFERENCE, off={"size": 1})

    size: Annotated[int, Field(ge=1, le=15, description="side of the square in pixels, odd; 1 changes nothing")] = 3

    def check(self) -> None:
        """Refuse an even side: its square has no middle."""
        if self.size % 2 == 0:
            raise BadParameter(f"median-filter: size = {self.size}: expected an odd number, 1 to 15.")

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`."""
        return model if self.size == 1 else _Filtered(model, self)


class _Filtered(InputWrapper):
    def __init__(self, inner: Classifier, defense: MedianFilter) -> None:
        super().__init__(inner, defense, stochastic=False)
        self.size = defense.size

    def change(self, x: Tensor, noise: SeedStream) -> Tensor:
        padded = functional.pad(x, (self.size // 2,) * 4, mode="replicate")
        squares = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return squares.median(dim=4).values
