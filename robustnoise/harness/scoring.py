"""Ask a classifier about many images, block by block, and count what it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from robustnoise.blocks import block_ranges, predict_blocks
from robustnoise.models.classifier import repeating
from robustnoise.protocols import Classifier, Meter
from robustnoise.seeds import SeedStream

Array = npt.NDArray[Any]


class Labelled(NamedTuple):
    """What a classifier says of n images in one draw."""

    labels: npt.NDArray[np.int64]
    """(n,); -1 is an abstention."""
    passes: int | None
    """Forward passes that the n answers cost together; None where each costs `Classifier.passes`."""


class Counted(NamedTuple):
    """What a classifier says of n images in repeated draws."""

    right: npt.NDArray[np.uint16]
    """(n,) draws in which the answer was right."""
    abstained: npt.NDArray[np.uint16]
    """(n,) draws in which there was none."""
    passes: int | None
    """Forward passes over all images and draws; None where each answer costs `Classifier.passes`."""


def label_images(classifier: Classifier, images: Array, noise: SeedStream, first_block: int = 0) -> Labelled:
    """The answers to `images`, uint8 (n, C, H, W); block b draws from ``noise.child(first_block + b)``."""
    found, passes, counted = [], 0, False
    for number, start, stop in block_ranges(len(images)):
        x = torch.from_numpy(images[start:stop].astype(np.float32) / np.float32(255))
        answer = predict_blocks(classifier, x, noise.child(first_block + number))
        found.append(answer.labels.numpy())
        passes += (stop - start) * classifier.passes if answer.passes is None else int(answer.passes.sum())
        counted |= answer.passes is not None
    return Labelled(np.concatenate(found), passes if counted else None)


def most_frequent(classifier: Classifier, images: Array, draws: int, noise: SeedStream) -> npt.NDArray[np.int64]:
    """(n,) each image's most frequent answer in `draws` draws, of equals the smallest label; one draw without noise.

    Args:
        classifier: what is asked.
        images: uint8 (n, C, H, W).
        draws: how often every image is asked where answers are random.
        noise: draw r draws from ``noise.child(r)``.
    """
    rows, abstained = np.arange(len(images)), classifier.num_classes
    counts = np.zeros((len(images), classifier.num_classes + 1), np.uint16)
    for repeat in range(draws if classifier.stochastic else 1):
        said = label_images(classifier, images, noise.child(repeat)).labels
        counts[rows, np.where(said < 0, abstained, said)] += 1
    best = counts.argmax(1)
    return np.where(best == abstained, -1, best)


def count_draws(
    classifier: Classifier, images: Array, labels: Array, draws: int, noise: SeedStream, *, meter: Meter
) -> Counted:
    """Score `draws` fresh draws.

    Args:
        classifier: what is asked.
        images: uint8 (n, C, H, W).
        labels: (n,) the true ones.
        draws: how often every image is asked.
        noise: draw r draws from ``noise.child(r)``.
        meter: told of every image and draw.
    """
    right, abstained = np.zeros((2, len(images)), np.uint16)
    passes, counted = 0, False
    for number, start, stop in block_ranges(len(images)):
        with repeating(classifier):
            for repeat in range(draws):
                said = label_images(classifier, images[start:stop], noise.child(repeat), first_block=number)
                right[start:stop] += said.labels == labels[start:stop]
                abstained[start:stop] += said.labels < 0
                passes += (stop - start) * classifier.passes if said.passes is None else said.passes
                counted |= said.passes is not None
                meter.advance(stop - start)
    return Counted(right, abstained, passes if counted else None)
