"""Training without a defense, and weights that are already trained."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from robustnoise.api import (
    BadData,
    BadParameter,
    Classifier,
    Context,
    Defense,
    DefenseTraits,
    LeadingTraining,
    Stage,
    classifier_from_bytes,
    read_regular,
)


@dataclass(frozen=True)
class PlainTraining(LeadingTraining):
    """Cross-entropy on the training images: the undefended baseline."""

    traits = DefenseTraits(Stage.TRAINING)


@dataclass(frozen=True)
class Pretrained(Defense):
    """Weights from a file of `robustnoise.models.save_classifier`, in place of a training.

    Its identity is the content of the file: `sha256` is filled in where it isn't given, and checked where it is.
    """

    traits = DefenseTraits(Stage.TRAINING, ready=True)

    path: Annotated[str, Field(description="a safetensors file of save_classifier")]
    sha256: Annotated[str, Field(description="hash of the file; empty takes the file as it is")] = ""

    def check(self) -> None:
        """Fill in the hash. Where it is given, as in every row, no file is touched before the weights are asked for."""
        if not self.sha256:
            object.__setattr__(self, "sha256", hashlib.sha256(read_regular(self.path)).hexdigest())
        elif not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise BadParameter(f"pretrained: sha256 = {self.sha256[:80]!r}: expected 64 hexadecimal digits.")

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """The stored classifier, if it takes the same images and classes as `model`."""
        others = [type(s).__name__ for s in stages if s is not self]
        if others:
            raise BadParameter(
                f"pretrained trains nothing, so {', '.join(others)} would have no effect. Expected inference stages "
                "alone behind it; put plain-training or another training in its place."
            )
        content = read_regular(self.path)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise BadData(f"{self.path}: sha256 is {found}, expected {self.sha256}: the file has changed.")
        try:
            loaded = classifier_from_bytes(content)
        except BadData as error:
            raise BadData(f"{self.path}: {error}") from None
        if (loaded.input_shape, loaded.num_classes) != (tuple(model.input_shape), model.num_classes):
            raise BadData(
                f"{self.path}: holds a classifier of {loaded.num_classes} classes for images {loaded.input_shape}; "
                f"the data has {model.num_classes} classes and images {tuple(model.input_shape)}. Give the data "
                "that it is for (--data)."
            )
        return loaded

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `train`."""
        return self.train(model, ctx, (self,))
