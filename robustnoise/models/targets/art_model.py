"""A classifier of the Adversarial Robustness Toolbox as one of ours."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from torch import nn

from robustnoise.errors import BadParameter
from robustnoise.models.classifier import evaluating
from robustnoise.models.targets.base import Array, Output, Target, named


class ArtTarget(Target):
    """See `from_art`."""

    def __init__(
        self,
        classifier: Any,
        *,
        name: str,
        input_shape: tuple[int, int, int],
        num_classes: int,
        output: Output,
        stochastic: bool,
    ) -> None:
        super().__init__(
            identity=named(name), input_shape=input_shape, num_classes=num_classes, output=output, stochastic=stochastic
        )
        self.classifier = classifier
        clip = classifier.clip_values
        low, high = (np.asarray(v, np.float32) for v in ((0, 1) if clip is None else clip))
        self._low, self._span = low, high - low

    def ask(self, x: Array) -> Array:
        """What ART's predict says, its preprocessing and postprocessing included."""
        x = x * self._span + self._low
        if not getattr(self.classifier, "channels_first", True):
            x = x.transpose(0, 2, 3, 1)
        module = getattr(self.classifier, "model", None)
        # ART's predict puts the network into eval mode and leaves it there.
        with evaluating(module) if isinstance(module, nn.Module) else nullcontext():
            said = self.classifier.predict(np.ascontiguousarray(x, dtype=np.float32), batch_size=len(x))
        return np.asarray(said).argmax(1) if self.output == "labels" else said  # type: ignore[no-any-return]


def from_art(classifier: Any, *, name: str, output: Output, stochastic: bool = False) -> ArtTarget:
    """A classifier from one of ART's, with its preprocessing and its defenses.

    Args:
        classifier: of ``art.estimators.classification``; its clip values are taken for black and white.
        name: stands for it in records and caches; take another whenever its answers change.
        output: what its ``predict`` returns, which ART doesn't know: ``"logits"`` or ``"probabilities"``; ``"labels"``
            shows only the largest.
        stochastic: two answers to the same image may differ.

    Raises:
        BadParameter: it is no ART classifier of images.
    """
    shape, classes = getattr(classifier, "input_shape", None), getattr(classifier, "nb_classes", None)
    if shape is None or classes is None or not hasattr(classifier, "predict"):
        raise BadParameter(f"{type(classifier).__name__} is no classifier of art.estimators.classification.")
    if len(shape) != 3:
        raise BadParameter(f"{type(classifier).__name__} takes input of shape {tuple(shape)}; expected images.")
    first = getattr(classifier, "channels_first", True)
    ours = tuple(int(n) for n in (shape if first else (shape[2], shape[0], shape[1])))
    return ArtTarget(
        classifier, name=name, input_shape=(ours[0], ours[1], ours[2]), num_classes=int(classes), output=output,
        stochastic=stochastic,
    )  # fmt: skip
