"""A scikit-learn estimator as a classifier of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustnoise.errors import BadParameter
from robustnoise.foreign import seeded_globals
from robustnoise.models.targets.base import Array, Output, Target, checked, named
from robustnoise.protocols import Answer
from robustnoise.seeds import SeedStream


class SklearnTarget(Target):
    """See `from_sklearn`."""

    def __init__(
        self, estimator: Any, *, name: str, input_shape: tuple[int, int, int], num_classes: int, output: Output
    ) -> None:
        # The rule is part of it: cells of a former one, the largest probability, hold other labels.
        identity = named(name) if output == "labels" else [named(name), "labels of predict"]
        super().__init__(identity=identity, input_shape=input_shape, num_classes=num_classes, output=output)
        self.estimator = estimator
        self._classes = np.asarray(estimator.classes_)

    def ask(self, x: Array) -> Array:
        """What the estimator says of the flattened images."""
        if self.output == "labels":
            return self._labels(x)
        full = np.zeros((len(x), self.num_classes))
        full[:, self._classes] = self.estimator.predict_proba(x.reshape(len(x), -1))
        return full

    def predict(self, x: Tensor, *, noise: SeedStream) -> Answer:
        """See `Target.predict`; the labels are the estimator's own, which needn't be the most probable ones."""
        answer = super().predict(x, noise=noise)
        if self.output == "labels":
            return answer
        with seeded_globals(noise.seed("labels")):
            said = self._labels(np.array(x.detach().cpu().numpy()))
        labels = checked(said, "labels", len(x), self.num_classes, type(self).__name__)
        return answer._replace(labels=torch.from_numpy(labels))

    def _labels(self, x: Array) -> Array:
        return np.asarray(self.estimator.predict(x.reshape(len(x), -1)))


def from_sklearn(estimator: Any, *, name: str, input_shape: tuple[int, int, int], num_classes: int) -> SklearnTarget:
    """A classifier from a fitted estimator; it answers probabilities where it has ``predict_proba``, else labels.

    Labels are those of its ``predict``: an ``SVC(probability=True)``, for one, finds its probabilities in another
    way, and may hold another class for the most probable.

    Only the object itself is taken: a pickle runs code when it is loaded.

    Args:
        estimator: fitted on (n, C * H * W) pixels in [0, 1], rows of an image after one another; its classes are whole
            numbers from 0.
        name: stands for the estimator in records and caches; take another whenever it is fitted anew.
        input_shape: (C, H, W).
        num_classes: at least 2; classes that the estimator has not seen get probability 0.

    Raises:
        BadParameter: it isn't fitted, or on other images or classes.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None or not hasattr(estimator, "predict"):
        raise BadParameter(f"{type(estimator).__name__} has no classes_: expected a fitted scikit-learn classifier.")
    found = np.asarray(classes)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= num_classes:
        raise BadParameter(
            f"{type(estimator).__name__} was fitted on the classes {found.tolist()}; expected whole numbers from 0 to "
            f"{num_classes - 1}."
        )
    features, pixels = getattr(estimator, "n_features_in_", None), math.prod(input_shape)
    if features is not None and features != pixels:
        raise BadParameter(
            f"{type(estimator).__name__} takes {features} features, but images {tuple(input_shape)} have "
            f"{pixels} pixels."
        )
    output: Output = "probabilities" if hasattr(estimator, "predict_proba") else "labels"
    return SklearnTarget(estimator, name=name, input_shape=input_shape, num_classes=num_classes, output=output)
