"""Training without a defense, and weights that are already trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
    load_classifier,
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

    traits = DefenseTraits(Stage.TRAINING)

    path: Annotated[str, Field(description="a safetensors file of save_classifier")]
    sha256: Annotated[str, Field(description="hash of the file; empty takes the file as it is")] = ""

    def check(self) -> None:
        """Read the file's hash."""
        found = self._hash()
        if self.sha256 and found != self.sha256:
            raise BadData(f"{self.path}: sha256 is {found}, expected {self.sha256}: the file has changed.")
        object.__setattr__(self, "sha256", found)

    def _hash(self) -> str:
        try:
            return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        except OSError as error:
            raise BadData(
                f"pretrained: {self.path}: {error.strerror}. Expected a file of robustnoise.models.save_classifier."
            ) from None

    def train(self, model: Classifier, ctx: Context, stages: Sequence[Defense]) -> Classifier:
        """The stored classifier, if it takes the same images and classes as `model`."""
        others = [type(s).__name__ for s in stages if s is not self]
        if others:
            raise BadParameter(
                f"pretrained trains nothing, so {', '.join(others)} would have no effect. Expected inference stages "
                "alone behind it; put plain-training or another training in its place."
            )
        self.check()
        loaded = load_classifier(self.path)
        if (loaded.input_shape, loaded.num_classes) != (tuple(model.input_shape), model.num_classes):
            raise BadData(
                f"{self.path}: holds a classifier of {loaded.num_classes} classes for images {loaded.input_shape}; "
                f"the data has {model.num_classes} classes and images {tuple(model.input_shape)}."
            )
        return loaded

    def apply(self, model: Classifier, ctx: Context) -> Classifier:
        """See `train`."""
        return self.train(model, ctx, (self,))
