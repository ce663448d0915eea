"""Preprocessors of the Adversarial Robustness Toolbox as defenses.

ART's classes take arrays; these adapters take care of what is easily got wrong: images are handed over with channels
first and in [0, 1]; pixels are rounded to a JPEG encoder's 8 bits, where ART truncates and so darkens what isn't on a
level; and pixels that noise has taken out of [0, 1] are clipped, which ART refuses or wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from robustnoise.api import (
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    MissingExtra,
    Stage,
    import_quietly,
)
from robustnoise_defenses.inputs.straight import StraightInput

UNIT = (0.0, 1.0)
"""ART's word for the range of pixels."""
HALF_LEVEL = 0.5 / 255
"""ART truncates ``255 x`` to a whole number; with this much more, that is rounding."""


@dataclass(frozen=True)
class _ArtInput(Defense):
    """A preprocessor that is the same at every query; gradients pass it straight through (`StraightInput`)."""

    traits = DefenseTraits(Stage.INFERENCE)
    packages: ClassVar[tuple[str, ...]] = ("adversarial-robustness-toolbox",)
    """Whose versions are part of the identity."""
    shift: ClassVar[float] = 0.0
    """Added to every pixel first."""

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `Defense.apply`.

        Raises:
            MissingExtra: ART, or what it needs for this, isn't installed.
        """
        if self.traits.off and all(getattr(self, name) == value for name, value in self.traits.off.items()):
            return model
        return _Preprocessed(model, self)

    def make(self, art: Any) -> Any:
        """The preprocessor out of the module ``art.defences.preprocessor``."""
        raise NotImplementedError


class _Preprocessed(StraightInput):
    def __init__(self, inner: Classifier, defense: _ArtInput) -> None:
        who = type(defense).__name__
        super().__init__(inner, defense, stochastic=False, state=[_installed(p, who) for p in defense.packages])
        self.preprocessor = defense.make(_art(who))
        self.shift = defense.shift

    def changed(self, x: Tensor) -> Tensor:
        # A pixel of 1 must not go above 255 / 255 by what rounds the others.
        pixels = (x.float().clamp(0, 1) + self.shift).clamp_max(1).cpu().numpy()
        found, _ = self.preprocessor(np.ascontiguousarray(pixels))
        return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)).to(x.device)


def _art(who: str) -> Any:
    try:
        return import_quietly("art.defences.preprocessor")
    except ImportError as error:
        raise MissingExtra(
            f"{who} needs the package 'art', which can't be imported ({error}). "
            "Install it: pip install adversarial-robustness-toolbox"
        ) from error


def _installed(package: str, who: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        raise MissingExtra(f"{who} needs the package {package!r}. Install it: pip install {package}") from None


@dataclass(frozen=True)
class JPEG(_ArtInput):
    """Compresses every image as a JPEG file and unpacks it again, through ART's ``JpegCompression``.

    Images of three channels are compressed in colour, of any other number channel by channel in grey. Pixels are
    rounded to 8 bits first. Pillow's version is part of the identity, since it brings the encoder.
    """

    reference = (
        "Dziugaite, Ghahramani & Roy 2016, arXiv 1608.00853; Das et al. 2017, arXiv 1705.02900; Guo et al. 2018, "
        "arXiv 1711.00117"
    )
    packages = ("adversarial-robustness-toolbox", "pillow")
    shift = HALF_LEVEL

    quality: Annotated[int, Field(ge=1, le=100, description="of the encoder; lower compresses more")] = 75

    def make(self, art: Any) -> Any:
        """See `_ArtInput.make`."""
        return art.JpegCompression(clip_values=UNIT, quality=self.quality, channels_first=True)


@dataclass(frozen=True)
class BitDepth(_ArtInput):
    """Rounds every pixel to the nearest of ``2 ** bits`` levels from 0 to 1, through ART's ``FeatureSqueezing``."""

    reference = "Xu, Evans & Qi 2018, arXiv 1704.01155 (color bit depth); Guo et al. 2018, arXiv 1711.00117"

    bits: Annotated[int, Field(ge=1, le=16, description="bits of a channel; 8-bit images are left alone from 8 on")] = 3

    def make(self, art: Any) -> Any:
        """See `_ArtInput.make`."""
        return art.FeatureSqueezing(clip_values=UNIT, bit_depth=self.bits)


@dataclass(frozen=True)
class MedianSmoothing(_ArtInput):
    """Replaces every pixel by the median of a square window, channel by channel, through ART's ``SpatialSmoothing``.

    The border is mirrored; in a window of even side the pixel is the lower right one of the middle four.
    """

    reference = "Xu, Evans & Qi 2018, arXiv 1704.01155 (local smoothing)"
    traits = DefenseTraits(Stage.INFERENCE, off={"window": 1})

    window: Annotated[int, Field(ge=1, le=15, description="side of the window in pixels; 1 changes nothing")] = 3

    def make(self, art: Any) -> Any:
        """See `_ArtInput.make`."""
        return art.SpatialSmoothing(window_size=self.window, channels_first=True, clip_values=UNIT)
