"""A cheap look whether a classifier that is called deterministic is."""

from __future__ import annotations

from torch import Tensor

from robustnoise.errors import TargetFailed
from robustnoise.models.targets.base import Target
from robustnoise.protocols import Classifier
from robustnoise.seeds import SeedStream

ROWS = 4
TOLERANCE = 1e-3
"""Of scores and logits, relative to the largest: the last bits of a sum may differ."""


def probe(classifier: Classifier, x: Tensor) -> None:
    """Ask about the same rows twice; a classifier that is declared stochastic isn't asked.

    Args:
        classifier: asked about the first `ROWS` rows, twice.
        x: (n, C, H, W) float32 in [0, 1].

    Raises:
        TargetFailed: the two answers differ.
    """
    if classifier.stochastic:
        return
    x, seeds = x[:ROWS], SeedStream(0, ("probe",))
    first = classifier.predict(x, noise=seeds.child(0))
    ask = classifier.again if isinstance(classifier, Target) else classifier.predict
    second = ask(x, noise=seeds.child(1))
    for a, b in zip(first, second, strict=True):
        if a is None or b is None:
            continue
        gap = (a.double() - b.double()).abs().max()
        scale = 1 + a.double().abs().max() if a.is_floating_point() else 1.0
        if not bool(gap <= TOLERANCE * scale):
            raise TargetFailed(
                f"{type(classifier).__name__} is declared deterministic, but answered the same {len(x)} images "
                "in two ways. Declare stochastic = true, so that it is scored in fresh draws; a kind that can't "
                "goes through from_callable."
            )
