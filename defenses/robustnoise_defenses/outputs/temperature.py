"""The temperature at which a classifier is as sure as it is right."""

from __future__ import annotations

import math

import torch
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from robustnoise.api import Classifier, SeedStream, Split, predict_blocks, to_tensor
from robustnoise_defenses.outputs.scores import shown_logits

LEAST, MOST = 0.01, 100.0
"""Temperatures that are looked at."""


def tuned_temperature(classifier: Classifier, images: Split, noise: SeedStream | None = None) -> float:
    """The T at which softmax(z / T) gives the true labels of `images` the highest likelihood, as ``aaa`` wants it.

    Temperature scaling, Guo et al. 2017, arXiv 1706.04599, section 4.2. The likelihood is concave in 1 / T, so there is
    one best T; where all answers are right, none is small enough, and one comes out at which nothing changes any more.

    Args:
        classifier: the one that ``aaa`` is put around; it must show scores.
        images: held out, such as ``data.validation``; training images make it too sure of itself.
        noise: of the answers, where they are random.

    Raises:
        MissingCapability: the classifier shows labels alone.
    """
    answer = predict_blocks(classifier, torch.from_numpy(images.floats()), noise or SeedStream(0, ("temperature",)))
    return best_temperature(shown_logits(answer, "tuned_temperature"), to_tensor(images.labels))


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T of `tuned_temperature` for logits (n, K) and labels (n,)."""
    z = logits.double()

    def loss(log_t: float) -> float:
        return float(functional.cross_entropy(z / math.exp(log_t), labels))

    found = optimize.minimize_scalar(
        loss, bounds=(math.log(LEAST), math.log(MOST)), method="bounded", options={"xatol": 1e-4}
    )
    return math.exp(float(found.x))
